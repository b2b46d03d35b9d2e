"""The state directory's disk: room, how fast it makes bytes durable, health, encryption."""

import json
import os
import secrets
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from appliance import space
from appliance.doctor.probe import Asked, Finding, NotNow, Probe, attention, broken, ok, output
from appliance.spool import Spool

_WRITES, _BYTES = 16, 64 << 10
_SLOW_MS = 50.0  # of a durable write: reception needs three for an object
_FEW_DAYS = 7.0


def _room(asked: Asked) -> Finding:
    settings = asked.settings
    there = _existing(asked.state_dir)
    free, floor = shutil.disk_usage(there).free // 1_000_000, settings.scp.space_floor_mb
    todo = "Free some space, or let an archive prove what it has (`echocart purge --dry-run`)."
    text, facts = f"{free} MB free", {"free_mb": free, "floor_mb": floor}
    if free < floor:
        return broken("space", f"{text}, below {floor}: objects are refused (A700)", todo, **facts)
    try:
        days = space.account(settings, asked.ledger, Spool(asked.state_dir))["days_left"]
    except NotNow:
        days = None
    if days is not None:
        text, facts = f"{text}, for {days:g} days at the past week's rate", {**facts, "days": days}
    if free < 2 * floor or (days is not None and days < _FEW_DAYS):
        return attention("space", text, todo, **facts)
    return ok("space", text, **facts)


def _write_speed(asked: Asked) -> Finding:
    path = _existing(asked.state_dir) / f".doctor-{secrets.token_hex(4)}"
    took, block = [], secrets.token_bytes(_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(_WRITES):
                begun = time.perf_counter()
                os.write(descriptor, block)
                os.fsync(descriptor)
                took.append(1000 * (time.perf_counter() - begun))
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        text = f"{path.parent} can't be written to: {os.strerror(error.errno or 0)}"
        return broken("durable writes", text, "Check rights, mount and disk (dmesg).")
    middle = statistics.median(took)
    text = f"64 kB in {middle:.1f} ms, {max(took):.0f} ms at most"
    if middle > _SLOW_MS:
        todo = "Look at the disk's health; memory cards are too slow for a box."
        return attention("durable writes", text, todo, median_ms=round(middle, 2))
    return ok("durable writes", text, median_ms=round(middle, 2))


def _health(asked: Asked) -> Finding:
    disks = [item for item in _devices(asked.state_dir) if item.get("type") == "disk"]
    if not disks:
        return ok("disk health", "no disk of its own is seen from here")
    if shutil.which("smartctl") is None:
        todo = "Install smartmontools to have the disk's health looked at."
        return attention("disk health", "smartctl is not installed", todo)
    told = [_smart(item["name"]) for item in disks]
    if any(passed is False for passed in told):
        todo = "Replace it now: take a back-up first (`echocart backup`)."
        return broken("disk health", "the disk says that it is failing", todo)
    if any(passed is None for passed in told):
        todo = "Run it as root; virtual disks have no answer."
        return attention("disk health", "the disk doesn't tell its health", todo)
    return ok("disk health", "the disk says that it is well")


def _smart(name: str) -> bool | None:
    told = output("smartctl", "-H", "-j", f"/dev/{name}")
    status = json.loads(told).get("smart_status", {}) if told else {}
    passed = status.get("passed")
    return passed if isinstance(passed, bool) else None


def _encryption(asked: Asked) -> Finding:
    found = _devices(asked.state_dir)
    if any(item.get("type") == "crypt" for item in found):
        return ok("disk encryption", "the state directory lies on an encrypted device")
    if not found:
        return attention(
            "disk encryption", "can't be told from here", "Look at the host: `lsblk`, `cryptsetup`."
        )
    todo = "A box that is stolen shows its patients: put box.state_dir on LUKS."
    return attention("disk encryption", "the state directory isn't encrypted", todo)


def _devices(path: Path) -> list[dict[str, Any]]:
    """The devices below a path's file system, as lsblk tells them; none where it can't."""
    source = (output("findmnt", "-no", "SOURCE", "-T", str(_existing(path))) or "").strip()
    told = output("lsblk", "-s", "-J", "-o", "NAME,TYPE", source) if source[:1] == "/" else None
    try:
        devices = json.loads(told)["blockdevices"] if told else []
    except (ValueError, KeyError):
        return []
    flat = []
    while devices:
        item = devices.pop()
        flat.append(item)
        devices += item.get("children", [])
    return flat


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


PROBES = (
    Probe("space", _room),
    Probe("durable writes", _write_speed),
    Probe("disk health", _health),
    Probe("disk encryption", _encryption),
)
