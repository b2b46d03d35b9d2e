"""Where log lines go: systemd's journal with fields for machines, or stderr."""

import logging
import os
import sys
from pathlib import Path

_SOCKET = Path("/run/systemd/journal/socket")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7  # priorities are syslog's, RFC 5424 6.2.1


def set_up(name: str) -> None:
    """Send the log lines of a service to the journal, or to stderr where there is none.

    Parameters
    ----------
    name
        `scp`, `engine`, `webui` or `sync`.

    Notes
    -----
    A line says a sentence. What a machine may want of it goes along as
    `extra={"fields": {"frames": 120}}` and is found as `journalctl ECHOCART_FRAMES=120`. No field
    names a patient, an object's UID, a cart or a person.
    """
    identifier = f"echocart-{name}"
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{identifier}: %(levelname)s %(message)s"))
    if _is_read_by_journal():
        handler = _Journal(identifier)
    logging.basicConfig(handlers=[handler], level=logging.INFO)


class _Journal(logging.Handler):
    """Hands lines to the journal."""

    def __init__(self, identifier: str) -> None:
        super().__init__()
        self._identifier = identifier

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; a journal that can't take it holds nothing up."""
        from systemd import journal  # type: ignore[attr-defined,unused-ignore]

        try:
            journal.send(record.getMessage(), **self._fields(record))
        except (OSError, TypeError, ValueError):
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, str | int]:
        own = {
            f"ECHOCART_{name.upper()}": str(value)
            for name, value in getattr(record, "fields", {}).items()
        }
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), _DEBUG)
        return {
            **own,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
        }


def _is_read_by_journal() -> bool:
    """Whether stderr ends in the journal; sending to it when nobody listens loses the line."""
    if "JOURNAL_STREAM" not in os.environ or not _SOCKET.exists():
        return False
    try:
        import systemd.journal  # noqa: F401
    except ImportError:
        return False  # a plain environment started by systemd: it reads stderr too
    stderr = os.fstat(sys.stderr.fileno())
    return os.environ["JOURNAL_STREAM"] == f"{stderr.st_dev}:{stderr.st_ino}"
