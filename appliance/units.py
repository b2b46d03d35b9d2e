"""What systemd's units take from the TOML file: ports, the state directory, folders, keys.

Run by systemd as a generator (systemd.generator(7)) at boot and at `systemctl daemon-reload`, so
that a site writes one file only.
"""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from appliance import credentials
from appliance.config import Folder, Settings, examine

SERVICES = ("scp", "engine", "webui", "sync")
_DROP_IN = "50-echocart.conf"


def drop_ins(settings: Settings) -> dict[str, str]:
    """Return what the units need beyond what they say themselves, by unit.

    Parameters
    ----------
    settings
        The box's.

    Returns
    -------
    dict
        Content of one drop-in for each unit that needs one. A port at a host name that nobody
        can look up at boot is left out: the service listens there itself.
    """
    scp, webui = settings.scp, settings.webui
    ports = [scp.port, *([scp.tls_port] if scp.tls_port else [])]
    sockets = {
        "echocart-scp.socket": _listening(scp.host, ports),
        "echocart-webui.socket": _listening(webui.host, [webui.port]),
    }
    services = {
        f"echocart-{name}.service": _lines("Service", _service(settings, name)) for name in SERVICES
    }
    state = [f"ReadWritePaths=-{_escaped(settings.box.state_dir)}"]
    others = {
        f"echocart-{name}.service": _lines("Service", state) for name in ("purge", "selftest")
    }
    return {unit: text for unit, text in {**sockets, **services, **others}.items() if text}


def write(settings: Settings, folder: Path) -> None:
    """Write the drop-ins below a generator's directory.

    Raises
    ------
    OSError
        When it can't be written.
    """
    for unit, text in drop_ins(settings).items():
        below = folder / f"{unit}.d"
        below.mkdir(parents=True, exist_ok=True)
        (below / _DROP_IN).write_text(text)


def _service(settings: Settings, name: str) -> Iterator[str]:
    yield f"ReadWritePaths=-{_escaped(settings.box.state_dir)}"
    if name == "sync":
        for item in settings.destination:
            if isinstance(item, Folder):
                yield f"ReadWritePaths=-{_escaped(item.path)}"
    for path in dict.fromkeys(credentials.files(settings, name)):
        # A credential whose file is missing would keep the whole service from its start.
        if path.exists():
            yield f"LoadCredential={credentials.name_of(path)}:{_escaped(path)}"


def _listening(host: str, ports: Sequence[int]) -> str:
    address = _numeric(host)
    if address is None:
        return ""
    bracketed = f"[{address}]" if ":" in address else address
    # An empty one first: what the unit itself says doesn't count then.
    streams = ["ListenStream=", *(f"ListenStream={bracketed}:{port}" for port in ports)]
    return _lines("Socket", streams)


def _numeric(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        pass  # a name, then: /etc/hosts may know it
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    except (OSError, UnicodeError):
        return None


def _lines(section: str, lines: Iterator[str] | Sequence[str]) -> str:
    body = "\n".join(lines)
    return f"[{section}]\n{body}\n" if body else ""


def _escaped(path: Path) -> str:
    """Return a path as a unit takes it: `%` begins a specifier, a space the next path."""
    replaced: Mapping[str, str] = {"\\": "\\\\", "%": "%%", " ": "\\x20", '"': '\\"'}
    return "".join(replaced.get(character, character) for character in str(path))


def main(arguments: Sequence[str]) -> int:
    """Run as the generator: the TOML file, and the directory that systemd names."""
    settings, mistakes = examine(Path(arguments[0]))
    if settings is None:
        # The services themselves tell each mistake when they start.
        print(f"echocart: {arguments[0]}: {mistakes[0]}", file=sys.stderr)  # noqa: T201
        return 0
    write(settings, Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
