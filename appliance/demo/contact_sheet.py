"""One picture of a reviewed loop: ED and ES with contours, and the LV area over time."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from appliance import labels, masks
from appliance.cine import open_cine
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, worklist
from appliance.spool import Spool, write_durably

Picture = npt.NDArray[np.uint8]

_BACKGROUND, _LINE, _TEXT, _QUIET = (16, 13, 11), (56, 48, 42), (240, 234, 230), (177, 165, 154)
_CURVE_ROWS, _CAPTION_ROWS = 160, 32
_NOTICE = "RESEARCH USE ONLY"


def write(ledger: Ledger, spool: Spool, seq: int, path: Path) -> None:
    """Draw the contact sheet of an analysed loop into a PNG.

    Parameters
    ----------
    ledger, spool
        The box's.
    seq
        Sequence number of the instance.
    path
        Where the PNG goes; an existing one is replaced whole.

    Raises
    ------
    ApplianceError
        When the loop has no sealed analysis, or the picture can't be written.
    """
    loop = worklist.loop(ledger, seq)
    analysis = loop["analysis"] if loop else None
    if loop is None or analysis is None:
        raise ApplianceError("draw a contact sheet", f"instance {seq} has no masks", "Wait.")
    review = loop["review"]
    corrected = review is not None and review["decision"] == "corrected"
    measures = review["measures"] if corrected else analysis["measures"]
    maps = (
        labels.of_review(ledger, spool, review["id"])
        if corrected
        else labels.of_analysis(ledger, spool, analysis["id"])
    )
    colours = {item["label"]: _bgr(item["colour"]) for item in analysis["labels"]}
    panes = []
    with open_cine(spool.object_path(loop["sha256"])) as cine:
        for name in ("ed", "es"):
            index = measures[f"{name}_frame"] or 0
            pane = np.ascontiguousarray(cine.rgb(index)[:, :, ::-1])
            _draw_contours(pane, maps.frame(index), colours)
            caption = np.full((_CAPTION_ROWS, pane.shape[1], 3), _BACKGROUND, np.uint8)
            _write(caption, f"{name.upper()}  frame {index + 1}", (12, 22))
            panes.append(np.vstack([caption, pane]))
    image = np.hstack(panes)
    sheet = np.vstack([_header(image.shape[1], analysis, measures), image])
    sheet = np.vstack([sheet, _curve(image.shape[1], measures, colours)])
    _, data = cv2.imencode(".png", sheet)
    try:
        write_durably(path, data.tobytes())
    except OSError as error:
        hint = "Name a directory that can be written."
        raise ApplianceError("draw a contact sheet", f"{path}: {error.strerror}", hint) from error


def _draw_contours(
    pane: Picture, label_map: masks.LabelMap, colours: dict[int, tuple[int, int, int]]
) -> None:
    # The cavity last: the wall's inner edge lies on its outline.
    for label, points in reversed(masks.contours(label_map).items()):
        outline = np.round(points * masks.SUBPIXELS).astype(np.int32)
        cv2.polylines(pane, [outline], True, colours[label], 2, cv2.LINE_AA, shift=3)


def _header(width: int, analysis: dict[str, object], measures: dict[str, object]) -> Picture:
    bar = np.full((48, width, 3), _BACKGROUND, np.uint8)
    ef = measures["ef_percent"]
    text = f"EF {ef:.0f} %" if isinstance(ef, (int, float)) else "EF withheld"
    for name, title in (("edv_ml", "EDV"), ("esv_ml", "ESV")):
        value = measures[name]
        text += f"   {title} {value:.0f} ml" if isinstance(value, (int, float)) else ""
    _write(bar, f"{text}   {analysis['model_name']} {analysis['model_version']}", (12, 32))
    _write(bar, _NOTICE, (width - 240, 32))
    return bar


def _curve(
    width: int, measures: dict[str, list[float | None]], colours: dict[int, tuple[int, int, int]]
) -> Picture:
    pane = np.full((_CURVE_ROWS, width, 3), _BACKGROUND, np.uint8)
    areas = np.array([np.nan if a is None else a for a in measures["lv_area_curve"]], float)
    _write(pane, "LV area", (12, 24), _QUIET)
    if not np.isfinite(areas).any():
        return pane
    low, high = np.nanmin(areas), np.nanmax(areas)
    x = np.linspace(16, width - 16, len(areas))
    y = _CURVE_ROWS - 20 - (areas - low) / max(high - low, 1e-6) * (_CURVE_ROWS - 60)
    known = np.isfinite(y)
    points = np.stack([x[known], y[known]], 1).round().astype(np.int32)
    cv2.polylines(pane, [points], False, colours[min(colours)], 2, cv2.LINE_AA)
    for name in ("ed", "es"):
        index = measures[f"{name}_frame"]
        if isinstance(index, int):
            cv2.line(pane, (int(x[index]), 30), (int(x[index]), _CURVE_ROWS - 8), _LINE, 1)
            _write(pane, name.upper(), (int(x[index]) + 4, _CURVE_ROWS - 8))
    return pane


def _write(
    pane: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = _TEXT
) -> None:
    cv2.putText(pane, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return blue, green, red
