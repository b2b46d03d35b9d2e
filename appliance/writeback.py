"""Having the disk write early what will be synced soon: the sync then finds little left to do."""

import ctypes
from collections.abc import Callable
from typing import cast

_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h


def _found() -> Callable[[int, int, int, int], int] | None:
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:  # a libc without it
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return cast("Callable[[int, int, int, int], int]", function)


_sync_file_range = _found()


def start_writeback(descriptor: int, offset: int, count: int) -> None:
    """Ask the kernel to start writing a range of a file (sync_file_range(2)), and don't wait.

    A hint that may be ignored: it makes nothing durable and tells of no failure; fsync does both.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE)
