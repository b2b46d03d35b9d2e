"""What went wrong and where, for the log: an exception's own text may hold what a peer sent."""

from pathlib import Path
from types import TracebackType


def of(kind: type[BaseException] | None, trace: TracebackType | None) -> str:
    """Return an exception's kind, and file and line of the place that raised it."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{kind.__name__ if kind else 'an unknown failure'}{where}"
