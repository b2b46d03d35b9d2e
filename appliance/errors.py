"""One family of errors: raised where the cause is known, turned into words or a status once, at the edge."""


class ApplianceError(Exception):
    """Something that could not be done, said so that a person knows what to do next.

    Parameters
    ----------
    operation
        What was being done ("store a received object").
    subject
        What was wrong, and with what. Never patient data: the text may reach a log.
    hint
        What to do about it.
    retry
        Whether doing the same again can help without anybody changing anything else.
    """

    def __init__(self, operation: str, subject: str, hint: str, *, retry: bool = False) -> None:
        super().__init__(operation, subject, hint)
        self.operation = operation
        self.subject = subject
        self.hint = hint
        self.retry = retry

    def __str__(self) -> str:
        return f"{self.operation}: {self.subject.rstrip('.')}. {self.hint}"


class ConfigError(ApplianceError):
    """The configuration file can't be used."""


class SpoolError(ApplianceError):
    """Bytes could not be made durable, or what was stored is not what was written."""


class LedgerError(ApplianceError):
    """The ledger can't be opened, or refuses a change of state."""


class Part10Error(ApplianceError):
    """A file is not a whole DICOM Part 10 file (PS3.10 section 7)."""


class CineError(ApplianceError):
    """An object can't be read as a cine loop; `subject` says why in a sonographer's words."""


class SectorError(ApplianceError):
    """No B-mode fan can be found in a loop; `subject` says why in a sonographer's words."""


class ManifestError(ApplianceError):
    """A model's folder is incomplete, changed, or not understood by this version."""


class BackendError(ApplianceError):
    """An inference backend can't be used on this machine, or failed while in use."""


class DeliveryError(ApplianceError):
    """A result could not be built for, or handed to, a destination."""
