"""How far corrections moved each structure: by scanner, site, role and month, with pictures.

Only drawings that hold count (`state` "taught"). Distances are between borders, their mean over a
frame; in mm where the loop's scale is to be trusted, and left out elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from appliance.manifest import Manifest
from models.corrections import CorrectionsError, Row, load, write_whole
from models.pull_study import BEFORE
from models.pulled import Pulled

FOLDER, PAGE = "report", "report.md"
MOVED_PLOT, TIME_PLOT, FARTHEST = "moved.png", "over-time.png", "farthest.png"
GROUPS = ("scanner", "site", "reviewer_role", "model")
_TITLES = {"reviewer_role": "role"}
_SHOWN, _ACROSS = 8, 4  # frames of the sheet
_MOST_BOXES = 8  # groups of a plot: the largest ones
_SAMPLE = 5000  # frames of a group that quartiles are taken from
_DPI = 110
_SIDE, _CAPTION = 256, 20

Picture = npt.NDArray[np.uint8]


def write(pulled: Pulled, manifest: Manifest) -> Path | None:
    """Write the page and its pictures under `report/`; None when nothing was corrected."""
    if not _one(pulled, "SELECT count(*) FROM drawing WHERE state = 'taught'"):
        return None
    out = pulled.folder / FOLDER
    out.mkdir(exist_ok=True)
    names = [item.name for item in manifest.structures]
    _save(_boxes(pulled, manifest), out / MOVED_PLOT)
    _save(_over_time(pulled, manifest), out / TIME_PLOT)
    cv2.imwrite(str(out / FARTHEST), _farthest(pulled, manifest))
    write_whole(out / PAGE, _page(pulled, names).encode())
    return out / PAGE


def _page(pulled: Pulled, names: Sequence[str]) -> str:
    states = dict(
        pulled.db.execute("SELECT state, count(*) FROM drawing GROUP BY state").fetchall()
    )
    hearts = _one(pulled, "SELECT count(DISTINCT heart) FROM heart")
    judge = _one(pulled, "SELECT count(DISTINCT heart) FROM heart WHERE split = 'validation'")
    studies = _one(pulled, "SELECT count(*) FROM study")
    parts = [
        "# Corrections and what they moved",
        f"{studies} corrections of {hearts} hearts ({judge} set aside to judge). Frames:"
        f" {states.get('taught', 0)} hold, {states.get('superseded', 0)} are superseded by a later"
        f" decision, {states.get('duplicate', 0)} came twice.",
        f"![distances]({MOVED_PLOT})",
        f"![over time]({TIME_PLOT})",
        "## All",
        _table(pulled, "'all'", names),
    ]
    for group in GROUPS:
        parts += [f"## By {_TITLES.get(group, group)}", _table(pulled, group, names)]
    parts += ["## Over time", "By StudyDate, as far as the sites tell it."]
    parts += [_table(pulled, "substr(date, 1, 6)", names)]
    parts += ["## Where reviewers differ", _conflicts(pulled)]
    parts += ["## Moved farthest", f"Dashed is the model's.\n\n![frames]({FARTHEST})"]
    return "\n\n".join(parts) + "\n"


def _table(pulled: Pulled, group: str, names: Sequence[str]) -> str:
    """Mean Dice, distance and growth of each structure, by group."""
    lines = ["| | structure | frames | Dice | moved, mm | moved, px | grown |"]
    lines.append("|---|---|---|---|---|---|---|")
    found = pulled.db.execute(
        f"SELECT {group} AS name, structure, count(*) AS frames, avg(dice) AS dice, avg(mm) AS mm,"
        " avg(px) AS px, avg(CASE WHEN before > 0 THEN 1.0 * after / before - 1 END) AS grown"
        " FROM drawing d JOIN moved m ON m.frame_id = d.id WHERE state = 'taught'"
        " GROUP BY name, structure ORDER BY name"
    ).fetchall()
    for row in sorted(found, key=lambda row: (row["name"] or "", _place(names, row["structure"]))):
        cells = [
            row["name"] or "not told",
            row["structure"],
            str(row["frames"]),
            f"{row['dice']:.3f}",
            *("" if row[key] is None else f"{row[key]:.2f}" for key in ("mm", "px")),
            "" if row["grown"] is None else f"{100 * row['grown']:+.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _conflicts(pulled: Pulled) -> str:
    """Dice between two drawings of one picture, by the roles of those who drew."""
    found = pulled.db.execute(
        "WITH role AS (SELECT DISTINCT image_sha256, mask_sha256,"
        " max(reviewer_role) AS role FROM drawing GROUP BY image_sha256, mask_sha256)"
        " SELECT min(a.role, b.role) AS one, max(a.role, b.role) AS other, structure,"
        " count(*) AS pairs, avg(dice) AS mean, min(dice) AS least FROM agreement g"
        " JOIN role a ON a.image_sha256 = g.image_sha256 AND a.mask_sha256 = g.one"
        " JOIN role b ON b.image_sha256 = g.image_sha256 AND b.mask_sha256 = g.other"
        " GROUP BY 1, 2, structure ORDER BY 1, 2, mean"
    ).fetchall()
    if not found:
        return "No picture was drawn in two ways."
    lines = [
        "| roles | structure | pairs of drawings | mean Dice | lowest |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['one']}, {row['other']} | {row['structure']} | {row['pairs']}"
        f" | {row['mean']:.3f} | {row['least']:.3f} |"
        for row in found
    ]
    return "\n".join(lines)


def _boxes(pulled: Pulled, manifest: Manifest) -> Figure:
    """Box plots of the distances, one picture for each way to group."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).ravel()
    unit = _unit(pulled)
    for place, group in zip(axes, GROUPS, strict=True):
        names = [
            row[0]
            for row in pulled.db.execute(
                f"SELECT {group} FROM drawing WHERE state = 'taught'"
                f" GROUP BY 1 ORDER BY count(*) DESC LIMIT {_MOST_BOXES}"
            )
        ]
        width = 0.8 / len(manifest.structures)
        for number, item in enumerate(manifest.structures):
            values = [_values(pulled, group, name, item.name, unit) for name in names]
            heights = np.arange(len(names)) + (number - (len(manifest.structures) - 1) / 2) * width
            drawn = place.boxplot(
                values,
                positions=heights,
                widths=0.8 * width,
                orientation="horizontal",
                patch_artist=True,
                showfliers=False,
                medianprops={"color": "black"},
            )
            for box in drawn["boxes"]:
                box.set_facecolor(item.colour)
            place.plot([], [], color=item.colour, linewidth=6, label=item.name)
        place.set_yticks(range(len(names)), [name or "not told" for name in names])
        place.set_title(f"by {_TITLES.get(group, group)}")
    axes[0].legend(fontsize="small")
    figure.supxlabel(f"mean distance of the borders, {unit}")
    return figure


def _over_time(pulled: Pulled, manifest: Manifest) -> Figure:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes, unit = figure.subplots(), _unit(pulled)
    for item in manifest.structures:
        rows = pulled.db.execute(
            f"SELECT substr(date, 1, 6) AS month, avg({unit}) FROM drawing d"
            " JOIN moved m ON m.frame_id = d.id WHERE state = 'taught' AND structure = ?"
            " GROUP BY month ORDER BY month",
            [item.name],
        ).fetchall()
        months = [f"{month[:4]}-{month[4:]}" if month else "not told" for month, _ in rows]
        axes.plot(months, [value for _, value in rows], "o-", color=item.colour, label=item.name)
    axes.set_ylabel(f"mean distance, {unit}")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    return figure


def _values(pulled: Pulled, group: str, name: str, structure: str, unit: str) -> list[float]:
    found = pulled.db.execute(
        f"SELECT {unit} FROM drawing d JOIN moved m ON m.frame_id = d.id WHERE state = 'taught'"
        f" AND {group} = ? AND structure = ? AND {unit} IS NOT NULL LIMIT {_SAMPLE}",
        [name, structure],
    )
    return [row[0] for row in found]


def _unit(pulled: Pulled) -> str:
    """Millimetres as soon as one loop has a scale: pixels of different loops don't compare."""
    return "mm" if _one(pulled, "SELECT count(mm) FROM moved") else "px"


def _farthest(pulled: Pulled, manifest: Manifest) -> Picture:
    """Sheet of the frames that were moved farthest, one for each loop."""
    found = pulled.db.execute(
        "SELECT d.*, sum(px) AS far FROM drawing d JOIN moved m ON m.frame_id = d.id"
        " WHERE state = 'taught' GROUP BY d.id ORDER BY far DESC"
    )
    tiles: dict[str, Picture] = {}
    for row in found:
        if len(tiles) == _SHOWN:
            break
        if row["sop_hash"] not in tiles:
            tile = _tile(pulled.folder, row, manifest)
            if tile is not None:
                tiles[row["sop_hash"]] = tile
    blank = np.zeros((_SIDE + _CAPTION, _SIDE, 3), np.uint8)
    shown = list(tiles.values()) or [blank]
    shown += [blank] * (-len(shown) % _ACROSS)
    rows = [np.hstack(shown[at : at + _ACROSS]) for at in range(0, len(shown), _ACROSS)]
    return np.vstack(rows)


def _tile(folder: Path, row: Any, manifest: Manifest) -> Picture | None:
    before = cv2.imread(str(folder / BEFORE / f"{row['stem']}.png"), cv2.IMREAD_GRAYSCALE)
    try:
        drawn = load(folder, Row(patient=row["patient"], view=row["view"], phase=row["phase"]))
    except CorrectionsError:
        return None
    scale = _SIDE / max(drawn.image.shape)
    coloured = cv2.cvtColor(drawn.image, cv2.COLOR_GRAY2BGR)
    picture = np.asarray(cv2.resize(coloured, None, fx=scale, fy=scale), np.uint8)
    for labels, dashed in ((before, True), (drawn.mask, False)):
        if labels is not None:
            _outline(picture, np.asarray(labels, np.uint8), scale, manifest, dashed)
    tile = np.zeros((_SIDE + _CAPTION, _SIDE, 3), np.uint8)
    tile[: picture.shape[0], : picture.shape[1]] = picture[:_SIDE, :_SIDE]
    text = f"{row['scanner']} {row['reviewer_role']}"[:34]
    at = (2, _SIDE + _CAPTION - 6)
    cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _outline(
    picture: Picture, labels: Picture, scale: float, manifest: Manifest, dashed: bool
) -> None:
    for item in manifest.structures:
        mask = (labels == item.label).astype(np.uint8)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        blue, green, red = (int(item.colour[at : at + 2], 16) for at in (5, 3, 1))
        for line in lines:
            points = np.rint(line[:, 0] * scale).astype(np.int32)
            step = 8 if dashed else len(points)
            for start in range(0, len(points), step):
                part = points[start : start + (step // 2 if dashed else step)]
                cv2.polylines(picture, [part], not dashed, (blue, green, red), 1, cv2.LINE_AA)


def _save(figure: Figure, path: Path) -> None:
    # Without the date and the library's name: the same figures give the same bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _one(pulled: Pulled, sql: str) -> int:
    return int(pulled.db.execute(sql).fetchone()[0])


def _place(names: Sequence[str], name: str) -> int:
    return list(names).index(name) if name in names else len(names)
