"""Whether masks come as fast as loops play: time per stage, loops that wait."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.ledger import Ledger, analysis

LATEST = 50  # analyses that are looked at
_RECENT = 5  # of these tell the page whether the engine keeps up
_FEW = 2  # loops may wait while one is analysed without anybody being told


@dataclass(frozen=True)
class Spread:
    """Of one stage over several analyses, in ms: of a whole loop, and of one frame."""

    stage: str
    median: float
    p95: float
    per_frame: float


def spreads(rows: Sequence[dict[str, Any]]) -> list[Spread]:
    """Return how long each stage took in analyses as `analysis.latest_timings` gives them.

    Stages overlap: they add up to more than `total`, which comes last.
    """
    stages: dict[str, list[tuple[float, int]]] = {}
    for row in rows:
        timings = row["timings"]
        frames = timings["frames"]
        for name, spent in timings["stages"].items():
            stages.setdefault(name, []).append((spent["ms"], frames))
        for name in ("first_masks", "total"):
            stages.setdefault(name, []).append((timings[f"{name}_ms"], frames))
    last = ("first_masks", "total")
    names = [*(name for name in stages if name not in last), *(n for n in last if n in stages)]
    return [_spread(name, stages[name]) for name in names]


def rates(rows: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """Return frames a second, medians: as they were analysed, and as the loops play; None of none."""
    if not rows:
        return None
    drawn = [1000 * row["timings"]["frames"] / row["timings"]["total_ms"] for row in rows]
    return statistics.median(drawn), statistics.median(row["timing"]["rate_hz"] for row in rows)


def table(ledger: Ledger) -> list[str]:
    """Return lines for a person: each stage's median and 95th percentile, and the rates."""
    rows = analysis.latest_timings(ledger, LATEST)
    found = rates(rows)
    if found is None:
        return ["no loop has been analysed yet"]
    drawn, played = found
    shown = [f"{'stage':12} {'median ms':>10} {'p95 ms':>10} {'ms/frame':>10}"]
    shown += [
        f"{item.stage:12} {item.median:10.1f} {item.p95:10.1f} {item.per_frame:10.2f}"
        for item in spreads(rows)
    ]
    engines = sorted({f"{row['engine']} {row['precision']}" for row in rows})
    shown.append(
        f"{drawn:.0f} frames/s drawn, loops play at {played:.0f} frames/s"
        f" (last {len(rows)} analyses, {', '.join(engines)}; stages overlap)"
    )
    return shown + [line for line in [problem(ledger)] if line]


def account(ledger: Ledger) -> dict[str, Any]:
    """Return the same, JSON-ready."""
    rows = analysis.latest_timings(ledger, LATEST)
    found = rates(rows)
    return {
        "analyses": len(rows),
        "stages": {s.stage: {"median_ms": s.median, "p95_ms": s.p95} for s in spreads(rows)},
        "frames_per_s": found and found[0],
        "loops_frames_per_s": found and found[1],
        "waiting": analysis.behind(ledger),
    }


def problem(ledger: Ledger) -> str:
    """Say for a sonographer that masks don't keep up with the loops; "" when they do."""
    waiting = analysis.behind(ledger)
    found = rates(analysis.latest_timings(ledger, _RECENT))
    said = f"{waiting} loops wait for their masks." if waiting > _FEW else ""
    if found and found[0] < found[1]:
        slow = f"Masks come more slowly than loops play: {found[0]:.0f} of {found[1]:.0f} frames/s."
        said = f"{said} {slow}".strip()
    return said


def _spread(name: str, values: Sequence[tuple[float, int]]) -> Spread:
    spent = [ms for ms, _ in values]
    p95 = statistics.quantiles(spent, n=20, method="inclusive")[-1] if len(spent) > 1 else spent[0]
    per_frame = statistics.median(ms / frames for ms, frames in values)
    return Spread(name, round(statistics.median(spent), 1), round(p95, 1), round(per_frame, 3))
