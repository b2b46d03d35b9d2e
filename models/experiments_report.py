"""What the retraining experiments found: tables, curves and outlines, none with a patient's image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.corrections import write_whole
from models.experiments import OURS, PLAIN

if TYPE_CHECKING:
    from models.experiments import Laboratory

Scores = dict[str, float]

_METHODS = {PLAIN: "plain fine-tuning", OURS: "the recipe of models.retrain"}
_COLOURS = ("#d55e00", "#0072b2", "#009e73")  # of the mixes (Okabe and Ito)
_LINES = {PLAIN: "--", OURS: "-"}


def write(out: Path, results: dict[str, Any], laboratory: "Laboratory") -> None:
    """Write report.md and its pictures beside results.json."""
    import matplotlib

    matplotlib.use("Agg")
    for case in results["cases"]:
        _curves(out / f"curves-{case}.png", results, case)
        _outlines(out / f"outlines-{case}.png", results, laboratory, case)
    _forgetting(out / "forgetting.png", results)
    write_whole(out / "report.md", text(results).encode())


def text(results: dict[str, Any]) -> str:
    """Return the report, in Markdown."""
    plan, hand = results["plan"], results["hand"]
    parts = [
        "# Retraining from corrections: the source paper's three experiments",
        f"Model {results['model']} (SHA-256 {results['model_sha256'][:12]}), data"
        f" {results['data_sha256'][:12]}, code {results['revision'] or 'of no known revision'},"
        f" seed {plan['seed']}, {plan['precision']}.",
        f"One image is corrected {plan['corrections']} times by a simulated hand: left ventricle"
        f" {hand['ventricle']:.0%} outwards, myocardium {hand['myocardium']:.0%} inwards (of the"
        f" root of the ventricle's area), atrium {hand['atrium']:.0%} larger and less round."
        f" {plan['epochs']} epochs. *Kept* are {plan['judged']} validation frames of other hearts"
        " that nobody corrected, against the expert and against what the same hand would draw there:"
        " what is lost to the one and won to the other is not forgotten but taken over. Dice in"
        " points, against the start.",
    ]
    for case, about in results["cases"].items():
        parts += [
            f"## An image on which the network was {case}",
            f"{about['frame']}: mean Dice on the correction {100 * _mean(about['before']):.1f} before.",
            _table(results, case),
            f"![Dice by epoch](curves-{case}.png)",
            f"![Outlines before and after](outlines-{case}.png)",
            _verdict(results, case),
        ]
    parts += [
        "## What is forgotten",
        "![Dice lost on images nobody corrected](forgetting.png)",
    ]
    return "\n\n".join(parts) + "\n"


def gained(results: dict[str, Any], trial: dict[str, Any]) -> float:
    """Return the points of mean Dice won on the corrected image."""
    before = results["cases"][trial["case"]]["before"]
    return 100 * (_mean(trial["curve"][-1]["corrected"]) - _mean(before))


def kept(results: dict[str, Any], trial: dict[str, Any], whose: str = "judged") -> float:
    """Return the points of mean Dice won, or lost, on images that nobody corrected.

    `whose` drawings: "judged" is the expert's, "hand" what the correcting hand would draw there.
    """
    return 100 * (_mean(trial[whose]) - _mean(results["before"][whose]))


def best(results: dict[str, Any], case: str, method: str) -> dict[str, Any]:
    """Return the trial with the best sum of what is gained and what is kept."""
    trials = [t for t in results["trials"] if (t["case"], t["method"]) == (case, method)]
    return max(trials, key=lambda trial: gained(results, trial) + kept(results, trial))


def _table(results: dict[str, Any], case: str) -> str:
    names = list(results["before"]["judged"])
    short = [name.replace("Left ", "L. ").lower() for name in names]
    head = ["recipe", "originals : corrections", "batch", "corrected", "kept", "kept, to the hand"]
    head += [f"kept, {name}" for name in short] + ["corrected, by epoch", "kept, by epoch"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    before = results["before"]
    for trial in (t for t in results["trials"] if t["case"] == case):
        start = _mean(results["cases"][case]["before"])
        ways = [
            " ".join(f"{100 * (_mean(seen[what]) - base):+.1f}" for seen in trial["curve"])
            for what, base in (("corrected", start), ("watched", _mean(before["watched"])))
        ]
        each = [f"{100 * (trial['judged'][n] - before['judged'][n]):+.1f}" for n in names]
        cells = [
            *(trial["method"], f"{trial['mix']:g} : 1", str(trial["batch"])),
            *(f"{gained(results, trial):+.1f}", f"{kept(results, trial):+.1f}"),
            *(f"{kept(results, trial, 'hand'):+.1f}", *each, *ways),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdict(results: dict[str, Any], case: str) -> str:
    """Say which mix did best, and whether it is the one that retrain takes."""
    chosen = results["cases"][case]["default_mix"]
    said = []
    for method, name in _METHODS.items():
        trial = best(results, case, method)
        said.append(
            f"With {name} the best sum of gained and kept is at {trial['mix']:g} : 1"
            f" (batch {trial['batch']}): {gained(results, trial):+.1f} and {kept(results, trial):+.1f}."
        )
    return " ".join(said) + f" `models.retrain` takes {chosen:g} : 1 here."


def _curves(path: Path, results: dict[str, Any], case: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    starts = (results["cases"][case]["before"], results["before"]["watched"])
    batch = results["plan"]["batches"][0]
    for trial in results["trials"]:
        if trial["case"] != case or trial["batch"] != batch:
            continue
        colour = _COLOURS[results["plan"]["mixes"].index(trial["mix"])]
        label = f"{trial['mix']:g} : 1, {trial['method']}"
        for axis, what, start in zip(axes, ("corrected", "watched"), starts, strict=True):
            values = [_mean(start), *(_mean(seen[what]) for seen in trial["curve"])]
            axis.plot(values, _LINES[trial["method"]], color=colour, label=label)
    for axis, title in zip(axes, ("the corrected image", "images nobody corrected"), strict=True):
        axis.set(title=title, xlabel="epochs", ylabel="mean Dice")
        axis.set_xticks(range(results["plan"]["epochs"] + 1))
        axis.grid(alpha=0.3)
    _legend(axes[1])
    _save(figure, path)


def _forgetting(path: Path, results: dict[str, Any]) -> None:
    from matplotlib import pyplot

    before = results["before"]["judged"]
    batch = results["plan"]["batches"][0]
    cases = list(results["cases"])
    figure, axes = pyplot.subplots(
        1, len(cases), figsize=(5 * len(cases), 4), layout="constrained", squeeze=False, sharey=True
    )
    for axis, case in zip(axes[0], cases, strict=True):
        trials = [t for t in results["trials"] if t["case"] == case and t["batch"] == batch]
        width = 0.8 / len(trials)
        for number, trial in enumerate(trials):
            heights = [100 * (trial["judged"][name] - before[name]) for name in before]
            places = np.arange(len(before)) + (number - (len(trials) - 1) / 2) * width
            colour = _COLOURS[results["plan"]["mixes"].index(trial["mix"])]
            hatch = "//" if trial["method"] == PLAIN else ""
            label = f"{trial['mix']:g} : 1, {trial['method']}"
            axis.bar(places, heights, width, color=colour, hatch=hatch, alpha=0.8, label=label)
        axis.set_xticks(range(len(before)), list(before))
        axis.set(title=f"network was {case}", ylabel="Dice points against the start")
        axis.axhline(0, color="black", linewidth=0.8)
        axis.grid(axis="y", alpha=0.3)
    _legend(axes[0][-1])
    _save(figure, path)


def _outlines(path: Path, results: dict[str, Any], laboratory: "Laboratory", case: str) -> None:
    """The drawings' outlines alone: CAMUS images may not be passed on under other terms."""
    from matplotlib import pyplot

    batch = results["plan"]["batches"][0]
    trials = [t for t in results["trials"] if t["case"] == case and t["batch"] == batch]
    names = [f"{t['case']}-{t['method']}-{t['mix']:g}to1-batch{t['batch']}" for t in trials]
    titles = ["start", *(f"{t['mix']:g} : 1, {t['method']}" for t in trials)]
    goals = {
        "corrected": laboratory.cases[case].corrections[0][1],
        "kept": laboratory.watched[0][1],
    }
    figure, axes = pyplot.subplots(
        2, len(titles), figsize=(2 * len(titles), 4.4), layout="constrained", squeeze=False
    )
    for row, (what, goal) in zip(axes, goals.items(), strict=True):
        for axis, title, name in zip(row, titles, [f"start-{case}", *names], strict=True):
            _outline(axis, goal, "black", "--")
            _outline(axis, laboratory.picture(name, what), "#d55e00", "-")
            _frame(axis, goal)
            axis.set_title(title, fontsize=7)
        row[0].set_ylabel("corrected image" if what == "corrected" else "never corrected")
    figure.suptitle("dashed: the correction (above), the expert (below); orange: the network")
    _save(figure, path)


def _outline(axis: Any, labels: npt.NDArray[np.uint8], colour: str, line: str) -> None:
    for label in range(1, 4):
        if (labels == label).any():
            axis.contour(labels == label, [0.5], colors=colour, linestyles=line, linewidths=0.8)


def _frame(axis: Any, goal: npt.NDArray[np.uint8]) -> None:
    rows, columns = np.nonzero(goal)
    margin = 25
    axis.set(
        xlim=(columns.min() - margin, columns.max() + margin),
        ylim=(rows.max() + margin, rows.min() - margin),
        xticks=[],
        yticks=[],
        aspect="equal",
    )


def _legend(axis: Any) -> None:
    """Beside the picture: inside it would hide lines."""
    place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
    axis.legend(title="originals : corrections", fontsize=8, **place)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def _mean(scores: Scores | Sequence[float]) -> float:
    return float(np.mean(list(scores.values() if isinstance(scores, dict) else scores)))
