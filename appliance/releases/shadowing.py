"""When a candidate that drew in the shadow may draw for people: figures against its own thresholds.

A candidate draws the loops that the model in force has drawn; nobody is shown what. What it must
reach stands in its bundle.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_SLOWER = 1.1  # times the model in force's frame time: what the gate of models.evaluate allows too
_FEWEST = 2  # corrections that an interval can be told of
_ONE_SIDED = 1.645  # standard errors; 95 %

Figures = Mapping[str, Any]


class Thresholds(BaseModel):
    """What a candidate must reach in the shadow of the model in force."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loops: int = Field(default=50, ge=1, description="fewest loops that both drew")
    corrections: int = Field(
        default=10, ge=0, description="fewest loops that a person corrected, both held against that"
    )
    agreement: float = Field(
        default=0.85, ge=0, le=1, description="least mean Dice of each structure between the two"
    )
    ef_points: float = Field(
        default=8.0, ge=0, description="largest mean difference of EF between the two, in points"
    )
    frame_time: float = Field(
        default=1.0, gt=0, description="largest share of the time that a frame is shown for"
    )
    empty: float = Field(
        default=0.005, ge=0, le=1, description="largest share of frames that lack a structure"
    )
    refused: float = Field(
        default=0.05, ge=0, le=1, description="largest share of loops that it would not have drawn"
    )
    corrected_loss: float = Field(
        default=1.0,
        ge=0,
        description="largest loss of Dice to corrected outlines, in points of 100",
    )


@dataclass(frozen=True)
class Summary:
    """How a candidate does beside the model in force.

    Attributes
    ----------
    loops, refused
        That it was given, and that it would not have drawn.
    refusal
        Why not, mostly; "" where it drew all.
    frames, empty
        That it drew, and of these without a structure that the model in force drew there.
    agreement
        Structure to mean Dice between the two, over loops.
    ef_points, volume_percent
        Mean absolute difference of EF in points, and of EDV and ESV in percent; None where no
        loop had both.
    frame_ms, own_ms, shown_ms
        Medians over loops: time of a frame of the candidate, of the model in force, and between
        two frames as the loop plays. None of the first where it ran on another kind of engine.
    corrections
        Loops corrected by a person that both were held against.
    candidate_dice, own_dice
        Mean Dice of both to the corrected outlines; None without any.
    lower, upper
        Ends of the 90 % interval of the mean difference, in points of 100: below each end lies one
        in twenty. None of fewer than two.
    """

    loops: int
    refused: int
    refusal: str
    frames: int
    empty: int
    agreement: dict[str, float]
    ef_points: float | None
    volume_percent: float | None
    frame_ms: float | None
    own_ms: float | None
    shown_ms: float | None
    corrections: int
    candidate_dice: float | None
    own_dice: float | None
    lower: float | None
    upper: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Whether it may be promoted. `why` says what is missing, or what speaks against it.

    `state` is "waits", "passed" or "refused".
    """

    state: str
    why: str


def summary(loops: Sequence[Figures], corrections: Sequence[Figures]) -> Summary:
    """Sum up what `engine.shadow` has kept of each loop and of each correction."""
    held = [row for row in loops if "skipped" not in row]
    drawn = [row for row in held if not row["why"]]
    names = list(dict.fromkeys(name for row in drawn for name in row["dice"]))
    timed = [row for row in drawn if row["same_engine"]]
    pairs = [(_mean(row["dice"]), _mean(row["own_dice"])) for row in corrections if row["dice"]]
    lower, upper = _interval([100 * (mine - own) for mine, own in pairs])
    return Summary(
        loops=len(held),
        refused=len(held) - len(drawn),
        refusal=_commonest([row["why"] for row in held if row["why"]]),
        frames=sum(row["frames"] for row in drawn),
        empty=sum(row["empty"] for row in drawn),
        agreement={
            name: round(
                statistics.fmean(row["dice"][name] for row in drawn if name in row["dice"]), 4
            )
            for name in names
        },
        ef_points=_average([row["ef_points"] for row in drawn]),
        volume_percent=_average([row["volume_percent"] for row in drawn]),
        frame_ms=_median([row["frame_ms"] for row in timed]),
        own_ms=_median([row["own_ms"] for row in drawn]),
        shown_ms=_median([row["shown_ms"] for row in drawn]),
        corrections=len(pairs),
        candidate_dice=_average([mine for mine, _ in pairs], 4),
        own_dice=_average([own for _, own in pairs], 4),
        lower=lower,
        upper=upper,
    )


def judge(wanted: Thresholds, found: Summary) -> Verdict:
    """Hold a candidate's figures against its thresholds.

    Nothing is said before there are enough loops. What speaks against it then is final; what
    corrections have to say is waited for.
    """
    if found.loops < wanted.loops:
        return Verdict("waits", f"{found.loops} of {wanted.loops} loops are drawn")
    if against := _against(wanted, found):
        return Verdict("refused", f"in the shadow of {found.loops} loops {against}")
    if found.corrections < wanted.corrections:
        told = f"{found.corrections} of {wanted.corrections} corrected loops are compared"
        return Verdict("waits", told)
    return _of_corrections(wanted, found) or Verdict("passed", in_words(found))


def _of_corrections(wanted: Thresholds, found: Summary) -> Verdict | None:
    """Refuse what surely comes less near to them; wait while it may; None when it surely doesn't."""
    if found.lower is None or found.upper is None or found.lower >= -wanted.corrected_loss:
        return None
    what = (
        f"Dice to {found.corrections} corrections {found.candidate_dice:.3f}, of the model in force"
        f" {found.own_dice:.3f}: the difference lies between {found.lower:.1f} and"
        f" {found.upper:.1f} points, -{wanted.corrected_loss:g} is allowed"
    )
    is_worse = found.upper < 0 and found.lower + found.upper < -2 * wanted.corrected_loss
    return Verdict("refused" if is_worse else "waits", what)


def in_words(found: Summary) -> str:
    """Say the figures in one line."""
    said = [f"{found.loops} loops"]
    if found.refused:
        said.append(f"{found.refused} not drawn")
    said += [f"{name} {dice:.3f}" for name, dice in found.agreement.items()]
    if found.ef_points is not None:
        said.append(f"EF apart by {found.ef_points:.1f} points")
    if found.volume_percent is not None:
        said.append(f"volumes by {found.volume_percent:.0f} %")
    if found.frame_ms is not None:
        said.append(f"{found.frame_ms:.1f} ms a frame (in force {found.own_ms:.1f})")
    if found.empty:
        said.append(f"{found.empty} of {found.frames} frames lack a structure")
    if found.corrections:
        dice = f"{found.candidate_dice:.3f} (in force {found.own_dice:.3f})"
        said.append(f"Dice to {found.corrections} corrections {dice}")
    return ", ".join(said)


def _against(wanted: Thresholds, found: Summary) -> str:
    """Say what speaks against a candidate that drew enough loops; "" for nothing."""
    if found.refused > wanted.refused * found.loops:
        return f"it would not have drawn {found.refused}: {found.refusal.rstrip('.')}"
    if found.empty > wanted.empty * found.frames:
        return f"{found.empty} of {found.frames} frames lack a structure that is there"
    for name, dice in found.agreement.items():
        if dice < wanted.agreement:
            return f"{name} agrees too little: Dice {dice:.3f}, {wanted.agreement:g} is needed"
    if found.ef_points is not None and found.ef_points > wanted.ef_points:
        return f"EF is apart by {found.ef_points:.1f} points, {wanted.ef_points:g} are allowed"
    if found.frame_ms is not None and found.own_ms is not None and found.shown_ms is not None:
        room = wanted.frame_time * found.shown_ms
        if found.frame_ms > max(room, _SLOWER * found.own_ms):
            return f"a frame took {found.frame_ms:.1f} ms, {room:.1f} ms are there for it"
    return ""


def _commonest(reasons: Sequence[str]) -> str:
    return statistics.mode(reasons) if reasons else ""


def _mean(dice: Mapping[str, float]) -> float:
    return statistics.fmean(dice.values())


def _average(values: Sequence[float | None], digits: int = 2) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), digits) if known else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _interval(differences: Sequence[float]) -> tuple[float | None, float | None]:
    if len(differences) < _FEWEST:
        return None, None
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return round(mean - _ONE_SIDED * error, 2), round(mean + _ONE_SIDED * error, 2)
