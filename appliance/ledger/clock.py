"""Times: UTC for people, boot id and CLOCK_BOOTTIME for leases, because a cart's clock may jump."""

import time
from datetime import datetime, timezone
from functools import cache
from pathlib import Path


def utc_now() -> str:
    """Return the present as ISO 8601 in UTC with milliseconds ("2026-11-20T19:14:38.123Z")."""
    now = datetime.now(timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def boot_id() -> str:
    """Return the kernel's id of this boot: a lease of an earlier boot is void."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boot_seconds() -> float:
    """Return the seconds since boot, suspended time included; no clock change moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
