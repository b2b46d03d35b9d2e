"""Figures of the box for a monitoring system: a file for each service, served together by the page.

Nothing in them names a patient, an object, a machine or a person.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format


def write(registry: "CollectorRegistry", state_dir: Path, service: str) -> None:
    """Replace a service's file of figures by the present ones; a reader sees the old or the new.

    Raises
    ------
    OSError
        When it can't be written.
    """
    from prometheus_client import write_to_textfile

    folder = state_dir / "metrics"
    folder.mkdir(exist_ok=True, mode=0o750)
    write_to_textfile(str(folder / f"{service}.prom"), registry)


def read(state_dir: Path) -> bytes:
    """Return the figures of all services that have written some."""
    parts = []
    for path in sorted((state_dir / "metrics").glob("*.prom")):
        try:
            parts.append(path.read_bytes())
        except OSError:
            continue  # replaced at this moment, or not readable: the others are
    return b"".join(parts)
