"""`echocart check`: everything that would stop the box, found before it starts, with what to do."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from appliance import catalogues, tls
from appliance.config import (
    Destination,
    DicomPeer,
    DicomWebPeer,
    FhirPeer,
    Folder,
    Location,
    Settings,
    called,
    examine,
    line_of,
)
from appliance.errors import ApplianceError

_ANSWER_S = 3.0  # somebody waits at the keyboard
_VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, whether it is fine, and what to do if not.

    Attributes
    ----------
    attention
        It isn't fine now, and doesn't keep the box from its work: deliveries wait.
    """

    subject: str
    ok: bool
    text: str
    attention: bool = False

    @property
    def word(self) -> str:
        """How it stands, in one word."""
        return "attention" if self.attention else "ok" if self.ok else "broken"


def check(path: Path) -> list[Finding]:
    """Look at a configuration file and at what it names on this machine.

    What is broken begins with the line to change, where the file has one.
    """
    settings, mistakes = examine(path)
    if settings is None:
        return [Finding(str(path), False, mistake) for mistake in mistakes]
    findings = [Finding(str(path), True, "understood")]
    text = path.read_text(encoding="utf-8")
    for location, finding in _on_this_machine(settings):
        findings.append(finding if finding.ok else _with_line(text, location, finding))
    return findings


def _on_this_machine(settings: Settings) -> Iterator[tuple[Location, Finding]]:
    box, scp, webui = settings.box, settings.scp, settings.webui
    yield ("box", "state_dir"), _directory("box.state_dir", box.state_dir, make=True)
    yield ("scp", "space_floor_mb"), _room(box.state_dir, scp.space_floor_mb)
    yield _port("scp", scp.host, scp.port)
    if scp.tls_port:
        yield _port("scp", scp.host, scp.tls_port, "tls_port")
        yield from _certificates("scp", scp.tls_certificate, tls.problems(scp))
    yield _port("webui", webui.host, webui.port)
    yield from _page_certificates(settings)
    yield from _translations(webui.locale_dir)
    if scp.port == webui.port:
        words = "is the DICOM port too. Give the page another one"
        yield ("webui", "port"), Finding("webui.port", False, words)
    for number, item in enumerate(settings.destination):
        location: Location = ("destination", number)
        if isinstance(item, Folder):
            location = (*location, "path")
        yield location, _destination(called(location, settings.model_dump()), item, settings)
    yield from _models(settings)


def _with_line(text: str, location: Location, finding: Finding) -> Finding:
    line = line_of(text, location)
    return replace(finding, text=f"line {line}: {finding.text}") if line else finding


def _directory(name: str, path: Path, *, make: bool) -> Finding:
    existing = path
    while make and not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        return Finding(name, False, f"{path} is not a directory. Mount or create it")
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = "Give the service's user the right to write, or name another directory"
        return Finding(name, False, f"{existing} is not writable. {hint}")
    return Finding(name, True, f"{path} is writable")


def _room(path: Path, floor_mb: int) -> Finding:
    """Tell whether images would be taken, and whether that is soon to end."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    subject, has = "scp.space_floor_mb", f"{free_mb} MB are free below {path}"
    if free_mb < floor_mb:
        words = f"{has}, fewer than {floor_mb}: images are refused (A700). Free some space"
        return Finding(subject, False, words)
    if free_mb < 2 * floor_mb:
        words = f"{has}: below {floor_mb} MB, images are refused (A700). Free some space soon"
        return Finding(subject, True, words, attention=True)
    return Finding(subject, True, has)


def destination(item: Destination, settings: Settings) -> Finding:
    """Look whether a destination can be reached and answers; nothing is sent to it."""
    return _destination(item.name, item, settings)


def _destination(name: str, item: Destination, settings: Settings) -> Finding:
    if isinstance(item, Folder):
        return _directory(name, item.path, make=False)
    if isinstance(item, FhirPeer):
        from appliance.preflight_fhir import problem_of

        problem = problem_of(item)
    else:
        problem = _echo(item, settings) if isinstance(item, DicomPeer) else _query(item)
    if problem is None:
        return Finding(name, True, "answers")
    return Finding(name, True, f"{problem}. Until then, deliveries wait", attention=True)


def _echo(item: DicomPeer, settings: Settings) -> str | None:
    """Say what is wrong with a PACS, by C-ECHO (PS3.4 A.4)."""
    from pynetdicom.presentation import build_context

    from appliance import dimse

    peer = dimse.Peer(item.host, item.port, item.called_ae, settings.box.ae_title)
    ae = dimse.entity(peer.calling_ae, _ANSWER_S, _ANSWER_S)
    try:
        secure = tls.client_context(settings.scp) if item.tls else None
        contexts = [build_context(_VERIFICATION)]
        association = dimse.associate(ae, peer, contexts, "check", secure=secure)
    except dimse.NothingAccepted:
        return None  # it knows us, and has no C-ECHO
    except (dimse.AssociationError, tls.TlsError) as error:
        return f"{error.subject}. {error.hint.rstrip('.')}"
    answer = association.send_c_echo()
    association.release()
    if "Status" not in answer:
        return f"{peer.called_ae} at {peer.host}:{peer.port} doesn't answer C-ECHO. Check it"
    return None


def _query(item: DicomWebPeer) -> str | None:
    """Say what is wrong with a DICOMweb server, by asking for one study (QIDO-RS)."""
    import requests

    from appliance.dicomweb import Client, SecretError

    try:
        client = Client(item.url, item.user, item.password_file, _ANSWER_S, _ANSWER_S)
        client.search_for_studies(limit=1)
    except SecretError as error:
        return f"{error.subject}. {error.hint.rstrip('.')}"
    except requests.exceptions.SSLError:
        words = "shows a certificate that isn't trusted here, or speaks no TLS on this port"
        return f"{item.url} {words}. Install the authority's certificate on the box"
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        return f"{item.url} answers {status}. Check url, user and password_file"
    except Exception as error:  # noqa: BLE001
        # No network, no certificate, no DICOMweb: the kind says enough, the text may be long.
        return f"{item.url} gives no answer ({type(error).__name__}). Check that it runs"
    return None


def _page_certificates(settings: Settings) -> Iterator[tuple[Location, Finding]]:
    webui = settings.webui
    if not (webui.tls_certificate and webui.tls_key):
        return
    broken = list(tls.page_problems(webui.tls_certificate, webui.tls_key))
    yield from _certificates("webui", webui.tls_certificate, iter(broken))
    if not broken and (strange := tls.unnamed(webui.tls_certificate, webui.names)):
        words = f"{webui.tls_certificate} isn't for {', '.join(strange)}: browsers will refuse it"
        hint = "Make one with `echocart tls init --name`"
        yield ("webui", "names"), Finding("webui.names", False, f"{words}. {hint}")


def _certificates(
    section: str, certificate: Path | None, problems: Iterator[tuple[str, str]]
) -> Iterator[tuple[Location, Finding]]:
    broken = list(problems)
    for name, words in broken:
        yield (section, name), Finding(f"{section}.{name}", False, words)
    if not broken and certificate:
        end = tls.expiry(certificate)
        location, subject = (section, "tls_certificate"), f"{section}.tls_certificate"
        if end - datetime.now(timezone.utc) < tls.RENEW_BEFORE:
            words = f"{certificate} expires on {end:%Y-%m-%d}. {tls.RENEW}"
            yield location, Finding(subject, True, words, attention=True)
        else:
            yield location, Finding(subject, True, f"valid until {end:%Y-%m-%d}")


def _translations(folder: Path | None) -> Iterator[tuple[Location, Finding]]:
    """The page goes on without any of them, in English."""
    if folder is None:
        return
    location, subject = ("webui", "locale_dir"), "webui.locale_dir"
    wrong = list(catalogues.problems(folder))
    for words in wrong:
        yield location, Finding(subject, True, words, attention=True)
    if not wrong:
        words = f"{', '.join(catalogues.languages(folder))} can be read"
        yield location, Finding(subject, True, words)


def _port(section: str, host: str, port: int, name: str = "port") -> tuple[Location, Finding]:
    """Try to listen at a section's host and port; tell which of the two is wrong."""
    location: Location = (section, name)
    try:
        problem = _listening(host, port)
    except (socket.gaierror, UnicodeError):
        location = (section, "host")
        problem = f"{host!r} is not a known host name. Write an address of this machine"
    return location, Finding(
        ".".join(map(str, location)), not problem, problem or f"{host}:{port} is free"
    )


def _listening(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise  # its number isn't one of the operating system's
        except OSError as error:
            hint = {
                errno.EADDRINUSE: "Something listens there already (this box, perhaps): stop it,"
                " or choose another port",
                errno.EACCES: "Ports below 1024 need a privilege: choose a higher one",
                errno.EADDRNOTAVAIL: "This machine has no such address: correct the host",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            return f"{host}:{port} can't be used. {hint}"
    return None


def _models(settings: Settings) -> Iterator[tuple[Location, Finding]]:
    """Each broken one under the name of the setting that asks for it; else all in one line."""
    from appliance.releases import model_store

    found, broken = [], False
    for number, name in enumerate(model_store.configured(settings)):
        where = "beside" if number else "model"
        try:
            manifest = model_store.load(settings.box.state_dir, name)
            model_store.must_fit(manifest)
        except ApplianceError as error:
            broken = True
            yield ("engine", where), Finding(f"engine.{where}", False, str(error))
        else:
            found.append(f"{manifest.name} {manifest.version} is whole")
    if not broken:
        yield ("engine", "model"), Finding("engine.model", True, ", ".join(found))
