"""The machine: clock, memory, temperature, GPU, SQLite."""

import sqlite3
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from appliance.doctor.probe import Asked, Finding, NotNow, Probe, attention, broken, ok, output
from appliance.ledger import engine_state, skew

_FEWEST_MB, _FEW_MB = 150, 500
_HOT_C, _TOO_HOT_C = 85.0, 97.0
_AHEAD_S = 120.0
_RESET_RACE_ENDS = (3, 51, 3)


def _clock(asked: Asked) -> Finding:
    now = datetime.now(timezone.utc)
    todo = "Set it (`timedatectl set-ntp true`): reports and certificates go by it."
    try:
        row = asked.ledger.read_one("SELECT received_at FROM instance ORDER BY seq DESC LIMIT 1")
    except NotNow:
        row = None
    if row:
        newest = datetime.fromisoformat(row["received_at"].replace("Z", "+00:00"))
        if (newest - now).total_seconds() > _AHEAD_S:
            late = skew.duration((newest - now).total_seconds())
            return broken("clock", f"it is {late} before the newest object's arrival", todo)
    told = output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    text = f"{now:%Y-%m-%d %H:%M} UTC"
    if told is None:
        return ok("clock", f"{text}; whether it is synchronised can't be told here")
    if told.strip() != "yes":
        return attention("clock", f"{text}, not synchronised by network", todo)
    return ok("clock", f"{text}, synchronised")


def _memory(_: Asked) -> Finding:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kb = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    free, whole = kb["MemAvailable"] // 1024, kb["MemTotal"] // 1024
    text = f"{free} of {whole} MB are available"
    facts = {"available_mb": free, "total_mb": whole}
    todo = "End what else runs here, or give the box more memory."
    if free < _FEWEST_MB:
        return broken("memory", text, todo, **facts)
    if free < _FEW_MB:
        return attention("memory", text, todo, **facts)
    return ok("memory", text, **facts)


def _temperature(_: Asked) -> Finding:
    found = [*Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    found += Path("/sys/class/hwmon").glob("hwmon*/temp*_input")
    degrees = [celsius for path in found if (celsius := _celsius(path)) is not None]
    if not degrees:
        return ok("temperature", "this machine shows none")
    hottest = max(degrees)
    todo = "Free the vents, look at the fan, put it in a cooler place."
    if hottest >= _TOO_HOT_C:
        return broken("temperature", f"{hottest:.0f} °C", todo, celsius=hottest)
    if hottest >= _HOT_C:
        return attention("temperature", f"{hottest:.0f} °C", todo, celsius=hottest)
    return ok("temperature", f"{hottest:.0f} °C at most", celsius=hottest)


def _celsius(path: Path) -> float | None:
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None  # sensors that are off answer with an error


def _gpu(asked: Asked) -> Finding:
    card = output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    tegra = Path("/proc/device-tree/model")
    known = (card or "").strip() or (tegra.read_text().strip("\0\n") if tegra.exists() else "")
    try:
        tensorrt = version("tensorrt")
    except PackageNotFoundError:
        tensorrt = ""
    facts = {"gpu": known, "tensorrt": tensorrt, "python": sys.version.split()[0]}
    wanted = asked.settings.engine.backend == "tensorrt"
    todo = "`echocart engine list` says what is missing."
    if not known:
        if wanted:
            return broken("GPU", "engine.backend is tensorrt, and no GPU is seen", todo, **facts)
        return ok("GPU", "none: the CPU draws", **facts)
    if not tensorrt:
        return attention("GPU", f"{known}, without TensorRT: the CPU draws", todo, **facts)
    state = engine_state.get(asked.ledger)
    if state and state["detail"].startswith(engine_state.CPU_SERVES):
        return attention("GPU", f"{known}: {state['detail']}", todo, **facts)
    return ok("GPU", f"{known}, TensorRT {tensorrt}", **facts)


def _sqlite(_: Asked) -> Finding:
    text = f"version {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _RESET_RACE_ENDS:
        # Attention at each look, for ever, is none: the box doesn't do what would lose rows.
        text += "; before 3.51.3 two checkpointers can lose rows: here one process alone folds"
    return ok("SQLite", text, version=sqlite3.sqlite_version)


PROBES = (
    Probe("clock", _clock),
    Probe("memory", _memory),
    Probe("temperature", _temperature),
    Probe("GPU", _gpu),
    Probe("SQLite", _sqlite),
)
