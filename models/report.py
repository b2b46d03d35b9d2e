"""The figures of an evaluation as text: for the terminal, and into docs/model-card.md.

Between the card's two marks everything is made here; around them people write.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError
from models.corrections import write_whole
from models.ejection import SINGLE, UNITS
from models.figures import ALL, STRETCHED
from models.judging import ALL as EVERY_BLOCK

if TYPE_CHECKING:
    from models.evaluate import Evaluation

Report = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path("models/results")
CARD = Path("docs/model-card.md")
IMAGES = Path("docs/images")
BEGIN, END = "<!-- models.evaluate: begin -->", "<!-- models.evaluate: end -->"

# No picture of a patient is in these.
EJECTION_PLOT, DICE_PLOT = "ejection.png", "dice.png"
RELIABILITY_PLOT, LOOPS_PLOT = "reliability.png", "loops.png"
PLOTS = (EJECTION_PLOT, DICE_PLOT, RELIABILITY_PLOT, LOOPS_PLOT)

_NONE = "–"


@dataclass(frozen=True)
class Goal:
    """A figure to reach: what it is, where in a report, its bound, and how it is written."""

    name: str
    of: Callable[[Report], float | None]
    bound: float
    most: bool
    digits: int = 3
    factor: float = 1
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether a value, as it is written, keeps the bound."""
        written = round(value * self.factor, self.digits)
        return written <= self.bound if self.most else written >= self.bound

    @property
    def text(self) -> str:
        """The bound."""
        return f"{'≤' if self.most else '≥'} {self.bound:g}{self.unit}"


def _dice(structure: str) -> Callable[[Report], float | None]:
    def of(report: Report) -> float | None:
        found = report["summary"]["segmentation"]["network"].get(structure)
        return None if found is None else found[ALL]["dice"]["value"]

    return of


def _ef(report: Report) -> float | None:
    found = report["summary"]["ejection"].get(SINGLE)
    return None if found is None else found["mae"]["value"]


def _broken(report: Report) -> float | None:
    value: float | None = report["summary"]["outliers"]["missing or split"]["share"]["value"]
    return value


def _stranger(report: Report) -> float | None:
    loops = report["summary"]["loops"]
    frames = sum(loop["frames"] for loop in loops)
    return sum(len(loop["implausible"]) for loop in loops) / frames if frames else None


GOALS = (
    Goal("LV Dice (mean of views and phases)", _dice("Left ventricle"), 0.943, most=False),
    Goal("myocardium Dice", _dice("Myocardium"), 0.886, most=False),
    Goal("LA Dice", _dice("Left atrium"), 0.921, most=False),
    Goal("EF MAE, single-plane 4CH, Simpson, points", _ef, 4.0, most=True, digits=1),
    Goal(
        "frames with a structure missing or split, before tidying",
        _broken, 0.5, most=True, digits=1, factor=100, unit=" %",
    ),
    Goal(
        "the stranger's loop: frames of 120 with an implausible shape",
        _stranger, 2, most=True, digits=0, factor=120,
    ),
)  # fmt: skip


def terminal(report: Report) -> str:
    """Return the goals and where this model stands, a line each."""
    lines = []
    for goal in GOALS:
        value = goal.of(report)
        if value is not None:
            verdict = "met" if goal.met(value) else "NOT MET"
            lines.append(f"{goal.name}: {_value(goal, value)} ({goal.text}: {verdict})")
    return "\n".join(lines)


def write(found: "Evaluation", text: str, plots: Path, root: Path = REPOSITORY) -> None:
    """Keep a report beside those of other models, and renew the card's figures and plots.

    Parameters
    ----------
    found
        Of the model the card is about.
    text
        Its report as JSON.
    plots
        Folder with the plots; those that show no patient are copied.
    root
        The repository.

    Raises
    ------
    ApplianceError
        When the card lacks its marks.
    """
    card = root / CARD
    before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        hint = f"Put the lines {BEGIN} and {END} where the figures belong."
        raise ApplianceError("write the model card", f"{card} lacks its marks", hint)
    (root / RESULTS).mkdir(exist_ok=True)
    write_whole(root / RESULTS / f"{found.report['model']}.json", text.encode())
    copied = [name for name in PLOTS if (plots / name).exists()]
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    for name in copied:
        write_whole(root / IMAGES / f"model-{name}", (plots / name).read_bytes())
    reports = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((root / RESULTS).glob("*.json"))
    ]
    made = figures(found.report, reports, copied)
    write_whole(card, f"{before}{BEGIN}\n{made}\n{END}{after}".encode())


def figures(report: Report, reports: Sequence[Report], plots: Sequence[str] = ()) -> str:
    """Return the card's tables in Markdown: goals of every model, and one model in full."""
    summary, data = report["summary"], report["data"]
    how = (
        f"{data['name']}, {data['split']} patients ({summary['patients']} patients, "
        f"{summary['frames']} frames; sha256 {data['sha256'][:12]}), {report['backend']} "
        f"{report['precision']}. In brackets the 95 % interval of {report['bootstrap']['rounds']} "
        "bootstrap draws of patients."
    )
    parts = [
        "### Against the goals",
        _goals(reports),
        f"### {report['model']} in full",
        how,
        "#### Outlines against the expert's",
        "Distances in mm where the scale is known, else in pixels of the 384 × 384 map "
        "(2CH: of the squashed picture).",
        _outlines(summary["segmentation"]),
        "#### Volumes and EF against the same measure on the expert's masks",
        _ejection(summary["ejection"]),
        *_stretched(summary["ejection"]),
        "#### Outliers",
        _outliers(summary["outliers"], summary["frames"]),
        "#### Calibration",
        _calibration(summary["calibration"]),
    ]
    if summary["loops"]:
        parts += ["#### Loops nobody has drawn on", _loops(summary["loops"])]
    parts += [f"![{Path(name).stem}](images/model-{name})" for name in plots]
    return "\n\n".join(parts)


def _goals(reports: Sequence[Report]) -> str:
    rows = []
    for goal in GOALS:
        values = [goal.of(report) for report in reports]
        cells = [_NONE if value is None else _verdict(goal, value) for value in values]
        rows.append([goal.name, goal.text, *cells])
    return _table(["", "goal", *(report["model"] for report in reports)], rows)


def _verdict(goal: Goal, value: float) -> str:
    return _value(goal, value) + ("" if goal.met(value) else " (not met)")


def _value(goal: Goal, value: float) -> str:
    return f"{value * goal.factor:.{goal.digits}f}{goal.unit}"


def _outlines(segmentation: Report) -> str:
    rows = []
    for name, groups in segmentation["network"].items():
        for group, found in groups.items():
            unit = "mm" if "hd95_mm" in found else "px"
            tidied = segmentation["tidied"][name][group]
            rows.append(
                [
                    name,
                    group,
                    str(found["dice"]["n"]),
                    _with_interval(found["dice"], 3),
                    _with_interval(tidied["dice"], 3),
                    f"{_with_interval(found[f'hd95_{unit}'], 1)} {unit}",
                    f"{_with_interval(tidied[f'hd95_{unit}'], 1)} {unit}",
                    f"{_with_interval(tidied[f'msd_{unit}'], 1)} {unit}",
                ]
            )
    head = ["structure", "frames", "n", "Dice", "Dice, tidied"]
    return _table([*head, "HD95", "HD95, tidied", "mean distance, tidied"], rows)


def _ejection(ejection: Report) -> str:
    rows = []
    for name in UNITS:
        if name in ejection:
            found = ejection[name]
            low, high = found["limit_low"]["value"], found["limit_high"]["value"]
            rows.append(
                [
                    f"{name}, {found['unit']}",
                    str(found["mae"]["n"]),
                    _with_interval(found["bias"], 1),
                    f"{_number(low, 1)} to {_number(high, 1)}",
                    _with_interval(found["mae"], 1),
                    _with_interval(found["correlation"], 2),
                ]
            )
    head = ["measure", "patients", "bias", "limits of agreement"]
    return _table([*head, "mean absolute error", "correlation"], rows)


def _stretched(ejection: Report) -> list[str]:
    found = ejection.get(STRETCHED)
    if found is None:
        return []
    return [
        "Stretching the 2CH to the shape of the 4CH, or leaving it as stored, moves the expert's "
        f"own biplane EF by {found['mean']:.1f} points in the mean, by {found['largest']:.1f} at "
        "most."
    ]


def _outliers(outliers: Report, frames: int) -> str:
    rows = [
        [name, f"{len(found['frames'])} of {frames}", _with_interval(found["share"], 1, 100) + " %"]
        for name, found in outliers.items()
    ]
    return _table(["frames", "count", "share"], rows)


def _calibration(calibration: Report) -> str:
    rows = []
    for name, found in calibration["regions"].items():
        foretold = calibration["confidence"].get(name)
        rows.append(
            [
                name if name != EVERY_BLOCK else "every block of the picture",
                _with_interval(found["error"], 3),
                _NONE if foretold is None else _with_interval(foretold["over_precision"], 3),
                _NONE
                if foretold is None
                else _with_interval(foretold["rank_correlation_with_dice"], 2),
            ]
        )
    head = [
        "",
        "expected calibration error of `certainty`",
        "confidence less share of right pixels",
    ]
    return _table([*head, "rank correlation of confidence and Dice"], rows)


def _loops(loops: Sequence[Report]) -> str:
    rows = []
    for loop in loops:
        for name, found in loop["steadiness"].items():
            rows.append(
                [
                    loop["loop"],
                    name,
                    f"{found['iou_median']:.3f}",
                    f"{found['iou_low']:.3f}",
                    f"{100 * found['roughness']:.1f} %",
                    f"{len(loop['implausible'])} of {loop['frames']}",
                ]
            )
    head = ["loop", "structure", "overlap with the frame before: median", "5th percentile"]
    return _table([*head, "area off its smooth curve (RMS)", "implausible frames"], rows)


def _with_interval(found: Report, digits: int, factor: float = 1) -> str:
    value, low, high = (
        _number(None if found[key] is None else found[key] * factor, digits)
        for key in ("value", "low", "high")
    )
    return value if _NONE in (low, high) else f"{value} ({low} to {high})"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
