"""Plots of an evaluation, and the pictures a person looks at: worst frames, loops."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from appliance.manifest import Manifest
from appliance.masks import SUBPIXELS, LabelMap, contours
from models.corrections import write_whole
from models.ejection import BIPLANE, SINGLE, Ejection
from models.judging import HEART, Judged
from models.loops import JudgedLoop
from models.report import DICE_PLOT, EJECTION_PLOT, LOOPS_PLOT, RELIABILITY_PLOT
from models.stats import bias, limit_high, limit_low

if TYPE_CHECKING:
    from models.evaluate import Evaluation

Picture = npt.NDArray[np.uint8]

WORST = "worst-frames.png"

_LICENCE = "Pictures of CAMUS patients: CC BY-NC-SA 4.0, not for publication without its citation."
_SHOWN = 8  # worst frames
_ACROSS = 4  # pictures in a row
_TILES = 24  # frames of a loop's sheet
_FEWEST_BLOCKS = 50  # of a point on the reliability curve
_DPI = 110
_EXPERT = (255, 255, 255)
_CAPTION = 22  # rows
_DOUBT = (60, 60, 255)  # BGR


def write(found: "Evaluation", manifest: Manifest, folder: Path) -> None:
    """Write every plot and picture into a folder."""
    plots = {
        EJECTION_PLOT: ejection(found.patients),
        DICE_PLOT: dice(found.frames, manifest),
        RELIABILITY_PLOT: reliability(found.report["summary"]["calibration"]["regions"], manifest),
    }
    if found.loops:
        plots[LOOPS_PLOT] = loops(found.loops, manifest)
    for name, plot in plots.items():
        # Without the date and the library's name: the same figures give the same bytes.
        plot.savefig(folder / name, dpi=_DPI, metadata={"Software": None})
    _png(folder / WORST, worst(found.frames, manifest))
    for loop in found.loops:
        _png(folder / f"loop-{Path(loop.name).stem}.png", sheet(loop, manifest))


def ejection(patients: Sequence[Ejection]) -> Figure:
    """Bland and Altman's plot of EF, single plane and biplane, as far as there is either."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), (SINGLE, BIPLANE), strict=True):
        axes.set_title(name if name != SINGLE else f"{name}, single plane 4CH")
        axes.set_xlabel("mean of network and expert, %")
        pairs = np.array([p.pairs[name] for p in patients if name in p.pairs])
        if len(pairs) > 1:
            axes.scatter(pairs.mean(axis=1), pairs[:, 0] - pairs[:, 1], s=14, color="#0072B2")
            for value, style in (
                (bias(pairs), "-"),
                (limit_low(pairs), "--"),
                (limit_high(pairs), "--"),
            ):
                axes.axhline(value, color="#444444", linestyle=style, linewidth=1)
                axes.annotate(
                    f"{value:+.1f}",
                    (1, value),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                )
    figure.axes[0].set_ylabel("network - expert, points")
    return figure


def dice(frames: Sequence[Judged], manifest: Manifest) -> Figure:
    """Distribution of Dice by structure, view and phase."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    names = [structure.name for structure in manifest.structures]
    groups = sorted({f"{frame.row.view} {frame.row.phase}" for frame in frames})
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, structure in zip(panels, manifest.structures, strict=True):
        values = [
            [
                frame.network[structure.name].dice
                for frame in frames
                if f"{frame.row.view} {frame.row.phase}" == group
            ]
            for group in groups
        ]
        boxes = axes.boxplot(values, tick_labels=groups, patch_artist=True, flierprops={"ms": 3})
        for box in boxes["boxes"]:
            box.set_facecolor(structure.colour)
        axes.set_title(structure.name)
        axes.tick_params(axis="x", labelrotation=90 if len(groups) > 4 else 0, labelsize=8)
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("Dice, before tidying")
    return figure


def reliability(regions: Mapping[str, Any], manifest: Manifest) -> Figure:
    """Share of right pixels against certainty, and how many blocks have it."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    curve, count = figure.subplots(1, 2)
    colours = {HEART: "#444444", **{s.name: s.colour for s in manifest.structures}}
    for name, colour in colours.items():
        blocks, sure, right = (
            np.array(regions[name][key]) for key in ("blocks", "certainty", "correct")
        )
        enough = blocks >= _FEWEST_BLOCKS
        error = regions[name]["error"]["value"] or 0.0
        curve.plot(
            sure[enough] / blocks[enough],
            right[enough] / blocks[enough],
            marker="o",
            markersize=3,
            color=colour,
            label=f"{name}: error {error:.3f}",
        )
    curve.plot([0.25, 1], [0.25, 1], color="#999999", linewidth=1, linestyle=":")
    curve.set(xlabel="certainty of a block", ylabel="share of its pixels that are right")
    curve.legend(fontsize=8)
    blocks = np.array(regions[HEART]["blocks"])
    edges = np.linspace(0, 1, len(blocks) + 1)
    count.bar(edges[:-1], blocks, width=edges[1], align="edge", color="#444444", log=True)
    count.set(xlabel="certainty of a block", ylabel="blocks in or around the heart", xlim=(0.2, 1))
    return figure


def loops(judged: Sequence[JudgedLoop], manifest: Manifest) -> Figure:
    """Area of each structure over a loop; marks where a frame's shape is no heart's."""
    figure = Figure(figsize=(9, 2.6 * len(judged)), layout="constrained")
    panels = figure.subplots(len(judged), 1, squeeze=False)[:, 0]
    for axes, loop in zip(panels, judged, strict=True):
        for structure in manifest.structures:
            areas = loop.areas[structure.name]
            axes.plot(loop.numbers, areas, color=structure.colour, label=structure.name)
        for number in loop.implausible:
            axes.axvline(number, color="#D55E00", linewidth=1, alpha=0.6)
        axes.set(ylabel="area, px", title=loop.name, ylim=(0, None))
        axes.legend(fontsize=8, loc="lower left", ncols=len(manifest.structures))
    panels[-1].set_xlabel("frame (orange: no heart's shape)")
    return figure


def worst(frames: Sequence[Judged], manifest: Manifest) -> Picture:
    """Frames of lowest Dice, worst first: the network's contours in colour, the expert's white."""

    def mean(frame: Judged) -> float:
        return float(np.mean([score.dice for score in frame.tidied.values()]))

    tiles = []
    for frame in sorted(frames, key=mean)[:_SHOWN]:
        pane = cv2.cvtColor(frame.image, cv2.COLOR_GRAY2BGR)
        _outline(pane, frame.drawn, dict.fromkeys(manifest.labels, _EXPERT))
        _outline(pane, frame.labels, _colours(manifest))
        scores = " ".join(f"{score.dice:.2f}" for score in frame.tidied.values())
        tiles.append(_titled(np.asarray(pane, np.uint8), f"{frame.row.stem}  {scores}"))
    sheet = _grid(tiles)
    return np.vstack([sheet, _bar(sheet.shape[1], _LICENCE)])


def sheet(loop: JudgedLoop, manifest: Manifest) -> Picture:
    """Frames of a loop with contours: some evenly over it, and every doubtful one."""
    count = len(loop.numbers)
    even = set(np.linspace(0, count - 1, min(count, _TILES)).round().astype(int).tolist())
    doubtful = {place for place, why in enumerate(loop.doubts) if why}
    tiles = []
    for place in sorted(even | set(sorted(doubtful)[:_TILES])):
        pane = cv2.cvtColor(loop.images[place], cv2.COLOR_GRAY2BGR)
        _outline(pane, loop.labels[place], _colours(manifest))
        title = ", ".join([f"{loop.numbers[place]}", *loop.doubts[place]])
        tiles.append(_titled(np.asarray(pane, np.uint8), title, doubtful=bool(loop.doubts[place])))
    return _grid(tiles)


def _colours(manifest: Manifest) -> dict[int, tuple[int, int, int]]:
    found = {}
    for structure in manifest.structures:
        red, green, blue = bytes.fromhex(structure.colour.removeprefix("#"))
        found[structure.label] = (blue, green, red)
    return found


def _outline(
    pane: npt.NDArray[Any], labels: LabelMap, colours: Mapping[int, tuple[int, int, int]]
) -> None:
    # The cavity last: the wall's inner edge lies on its outline.
    for label, points in reversed(contours(labels).items()):
        line = np.round(points * SUBPIXELS).astype(np.int32)
        cv2.polylines(pane, [line], True, colours[label], 1, cv2.LINE_AA, shift=3)


def _titled(pane: Picture, title: str, *, doubtful: bool = False) -> Picture:
    bar = _bar(pane.shape[1], title, _DOUBT if doubtful else (230, 230, 230))
    return np.vstack([bar, pane])


def _bar(width: int, text: str, colour: tuple[int, int, int] = (230, 230, 230)) -> Picture:
    bar = np.zeros((_CAPTION, width, 3), np.uint8)
    cv2.putText(bar, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return bar


def _grid(tiles: Sequence[Picture]) -> Picture:
    blank = np.zeros_like(tiles[0])
    across = min(_ACROSS, len(tiles))
    filled = [*tiles, *[blank] * (-len(tiles) % across)]
    return np.vstack([np.hstack(row) for row in _chunks(filled, across)])


def _chunks(tiles: Sequence[Picture], size: int) -> Iterable[list[Picture]]:
    for start in range(0, len(tiles), size):
        yield list(tiles[start : start + size])


def _png(path: Path, picture: Picture) -> None:
    write_whole(path, cv2.imencode(".png", picture)[1].tobytes())
