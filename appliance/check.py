"""`echocart check`: everything that would stop the box, found before it starts, with what to do."""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.config import Settings, examine, line_of
from appliance.errors import ApplianceError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, whether it is fine, and what to do if not."""

    subject: str
    ok: bool
    text: str


def check(path: Path) -> list[Finding]:
    """Look at a configuration file and at what it names on this machine.

    What is broken begins with the line to change, where the file has one.
    """
    settings, mistakes = examine(path)
    if settings is None:
        return [Finding(str(path), False, mistake) for mistake in mistakes]
    findings = [Finding(str(path), True, "understood")]
    findings += _on_this_machine(settings)
    text = path.read_text(encoding="utf-8")
    return [finding if finding.ok else _with_line(text, finding) for finding in findings]


def _on_this_machine(settings: Settings) -> Iterator[Finding]:
    yield _directory("box.state_dir", settings.box.state_dir, make=True)
    yield _port("scp.port", settings.scp.host, settings.scp.port)
    yield _port("webui.port", settings.webui.host, settings.webui.port)
    if settings.scp.port == settings.webui.port:
        yield Finding("webui.port", False, "is the DICOM port too. Give the page another one")
    for number, item in enumerate(settings.destination):
        yield _directory(f"destination.{number}.path", item.path, make=False)
    yield _model(settings)


def _with_line(text: str, finding: Finding) -> Finding:
    location = [int(part) if part.isdigit() else part for part in finding.subject.split(".")]
    line = line_of(text, tuple(location))
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


def _port(name: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = {
                errno.EADDRINUSE: "Something listens there already (this box, perhaps): stop it,"
                " or choose another port",
                errno.EACCES: "Ports below 1024 need a privilege: choose a higher one",
                errno.EADDRNOTAVAIL: "This machine has no such address: correct the host",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            return Finding(name, False, f"{host}:{port} can't be used. {hint}")
    return Finding(name, True, f"{host}:{port} is free")


def _model(settings: Settings) -> Finding:
    from appliance.manifest import current_model

    try:
        manifest = current_model(settings.engine.model)
    except ApplianceError as error:
        return Finding("engine.model", False, str(error))
    return Finding("engine.model", True, f"{manifest.name} {manifest.version} is whole")
