"""What runs: services, the ports that machines and people reach, certificates."""

import fcntl
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from appliance import dimse, tls
from appliance.doctor.probe import Asked, Finding, Probe, attention, broken, ok, output
from appliance.supervisor import SERVICES

_ANSWER_S = 3.0
_VERIFICATION = "1.2.840.10008.1.1"
_MANY_RESTARTS = 5


def held(state_dir: Path) -> list[str]:
    """Return the services that run, told by the locks that they hold."""
    return [name for name in SERVICES if _is_held(state_dir / f"{name}.lock")]


def _is_held(path: Path) -> bool:
    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _services(asked: Asked) -> Finding:
    there = held(asked.state_dir)
    missing = [name for name in SERVICES if name not in there]
    todo = "`systemctl start echocart.target`; each service's own message says why it ended."
    if not there:
        return attention("services", "the box is stopped", todo, running=there)
    if missing:
        text = f"not running: {', '.join(missing)}"
        return broken("services", text, todo, running=there)
    return ok("services", f"{', '.join(there)} run", running=there)


def _units(_: Asked) -> Finding:
    told = output(
        *("systemctl", "show", "--property=Id,ActiveState,NRestarts,Result"),
        *(f"echocart-{name}.service" for name in SERVICES),
    )
    units = [
        dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
        for part in (told or "").split("\n\n")
        if part.strip()
    ]
    if not units or all(unit.get("ActiveState") == "inactive" for unit in units):
        return ok("units", "systemd doesn't run the box here")
    failed = [unit["Id"] for unit in units if unit.get("ActiveState") == "failed"]
    facts = {unit["Id"]: int(unit.get("NRestarts") or 0) for unit in units if "Id" in unit}
    if failed:
        todo = f"`journalctl -u {failed[0]} -n 50` says why; `systemctl reset-failed` after that."
        return broken("units", f"failed: {', '.join(failed)}", todo, restarts=facts)
    often = [f"{name} {count} times" for name, count in facts.items() if count >= _MANY_RESTARTS]
    if often:
        todo = "`journalctl` says why; send the file of --bundle to support."
        return attention("units", f"started again: {', '.join(often)}", todo, restarts=facts)
    return ok("units", "all are in order", restarts=facts)


def _dicom(asked: Asked) -> Finding:
    """C-ECHO the box itself (PS3.4 A.4)."""
    settings, name = asked.settings, "DICOM port"
    if "scp" not in held(asked.state_dir):
        return attention(name, "reception is stopped", "Start the box.")
    from pynetdicom.presentation import build_context

    host = "127.0.0.1" if settings.scp.host == "0.0.0.0" else settings.scp.host  # noqa: S104
    title = settings.box.ae_title
    peer = dimse.Peer(host, settings.scp.port, title, title)
    where = f"{host}:{settings.scp.port}"
    try:
        ae = dimse.entity(title, _ANSWER_S, _ANSWER_S)
        association = dimse.associate(ae, peer, [build_context(_VERIFICATION)], "look")
        answered = "Status" in association.send_c_echo()
        association.release()
    except dimse.AssociationError as error:
        return broken(name, f"{where}: {error.subject}", "Restart reception; see its messages.")
    if not answered:
        return broken(name, f"{where} doesn't answer C-ECHO", "Restart reception.")
    return ok(name, f"{title} answers C-ECHO at {where}")


def _page(asked: Asked) -> Finding:
    settings, name = asked.settings, "page"
    if "webui" not in held(asked.state_dir):
        return attention(name, "it is stopped", "Start the box.")
    host = "127.0.0.1" if settings.webui.host in ("0.0.0.0", "127.0.0.1") else settings.webui.host  # noqa: S104
    secure = bool(settings.webui.tls_certificate)
    address = f"{'https' if secure else 'http'}://{host}:{settings.webui.port}/sign-in"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # we know who it is
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(address, timeout=_ANSWER_S) as answer:
            status = answer.status
    except (OSError, urllib.error.URLError) as error:
        status = getattr(error, "code", 0)
    if status != 200:
        return broken(name, f"{address} doesn't answer as it should", "Restart the page's service.")
    return ok(name, f"{settings.webui.url} answers")


def _certificates(asked: Asked) -> Sequence[Finding]:
    scp, webui = asked.settings.scp, asked.settings.webui
    files = {"scp.tls_certificate": scp.tls_certificate, "scp.tls_ca": scp.tls_ca}
    files["webui.tls_certificate"] = webui.tls_certificate
    found = [_certificate(name, path) for name, path in files.items() if path]
    return found or [ok("certificates", "none is configured")]


def _certificate(name: str, path: Path) -> Finding:
    try:
        end = tls.expiry(path)
    except (OSError, ValueError, tls.TlsError):
        return broken(name, f"{path} can't be read", "`echocart tls init` makes new ones.")
    left = end - datetime.now(timezone.utc)
    text = f"valid until {end:%Y-%m-%d}"
    if left.total_seconds() < 0:
        return broken(name, f"expired on {end:%Y-%m-%d}", tls.RENEW, days=left.days)
    if left < tls.RENEW_BEFORE:
        return attention(name, text, tls.RENEW, days=left.days)
    return ok(name, text, days=left.days)


PROBES = (
    Probe("services", _services),
    Probe("units", _units),
    Probe("DICOM port", _dicom),
    Probe("page", _page),
    Probe("certificates", _certificates),
)
