"""Makes docs/tour.md and its pictures by really running everything: `python -m docs.make_tour`.

Two Orthancs, a box, DCMTK, Chromium; with `--training-python` also the retraining.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

from appliance import labels, masks
from appliance.ledger import worklist
from models import corrections
from tests.box import Box
from tests.browser import hand
from tests.dcmtk import dcmtk
from tests.orthanc import Orthanc
from tests.phantom import cine_loop

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
IMAGES = HERE / "images"
CORRECTED = (20, 32)  # frames: end diastole and end systole of the sample loop
LV = 1


@dataclass
class Tour:
    """Collects the page while the run goes on.

    Attributes
    ----------
    hidden
        The run's own directory, which is left out of what commands print.
    """

    hidden: Path
    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.lines += [text, ""]

    def command(self, words: list[Any], shown: list[str], python: str = sys.executable) -> None:
        """Run a command, and show it as a person would type it, with what it prints."""
        full = [python, "-m", *map(str, words)] if words[0] in _MODULES else list(map(str, words))
        done = subprocess.run(full, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(shown)} failed:\n{done.stdout}{done.stderr}")
        printed = done.stdout.strip().replace(f"{self.hidden}/", "")
        shown_lines = ["```console", f"$ {' '.join(shown)}", *printed.splitlines()[-12:], "```"]
        self.lines += [*shown_lines, ""]

    def picture(self, tab: Page, name: str, caption: str) -> None:
        """Take a screenshot into the page."""
        tab.screenshot(path=IMAGES / f"tour-{name}.png")
        self.say(f"![{caption}](images/tour-{name}.png)")


_MODULES = ("appliance", "models.pull", "models.retrain")


def main() -> None:
    """Run the tour and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--training-python", help="an interpreter with the [train] extra")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tour = Tour(Path(folder))
        _introduce(tour)
        root = Path(folder)
        with Orthanc(root / "pacs") as pacs, Orthanc(root / "archive") as archive:
            extra = pacs.toml("pacs", "dicom", "originals results")
            extra += archive.toml("archive", "dicomweb", "corrections")
            with Box(root / "box", extra=extra) as box:
                _walk(tour, box, pacs, archive, arguments.training_python)
    (HERE / "tour.md").write_text("\n".join(tour.lines).rstrip() + "\n")


def _introduce(tour: Tour) -> None:
    tour.say("# A tour")
    tour.say(
        "One loop's way through everything, as it really ran: an echo machine (DCMTK), the box,"
        " a sonographer (Chromium), the hospital's PACS and the central archive (two Orthancs)."
        " Made again by `python -m docs.make_tour`. Research use only."
    )


def _walk(tour: Tour, box: Box, pacs: Orthanc, archive: Orthanc, python: str | None) -> None:
    _send(tour, box)
    _review(tour, box)
    _delivered(tour, box, pacs, archive)
    folder = _pulled(tour, archive)
    if python:
        _retrained(tour, box, folder, python)


def _send(tour: Tour, box: Box) -> None:
    tour.say("## 1. The echo machine sends")
    tour.command(
        [dcmtk("storescu"), "-xy", "-aec", "ECHOCART", "127.0.0.1", str(box.dicom_port), _sample()],
        ["storescu -xy -aec ECHOCART box 11112 loop.dcm"],
    )
    (loop,) = box.wait_settled(1)
    figures = loop["analysis"]
    tour.say(
        f"Success was answered once file, directory and row were on disk. {figures['frames']}"
        f" frames were drawn with {figures['engine']} at {figures['precision']}."
    )


def _review(tour: Tour, box: Box) -> None:
    loop = box.loops()[0]
    maps = labels.of_analysis(box.ledger, box.spool, loop["analysis"]["id"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=hand.ARGUMENTS
        )
        context = browser.new_context(base_url=box.url, viewport={"width": 1280, "height": 800})
        tab = context.new_page()
        tour.say("## 2. The sonographer signs in and looks")
        tab.goto("/")
        tab.check("input[name=user][value=AK]")
        tour.picture(tab, "sign-in", "Initials and PIN, by finger or by keyboard")
        hand.enter_pin(tab, "AK")
        tab.wait_for_selector(".loop img")
        tab.wait_for_function("() => document.querySelector('.loop img').complete")
        tour.picture(tab, "list", "The list: what needs eyes comes first, and says why")
        tab.goto(f"/loop/{loop['seq']}")
        hand.open_loop(tab)
        hand.go_to_frame(tab, CORRECTED[0])
        tour.picture(tab, "viewer", "The loop with contours, its LV area curve, EF")
        tour.say("## 3. Two contours are dragged right")
        tab.click("#correct")
        for frame in CORRECTED:
            points = masks.contours(maps.frame(frame))[LV]
            x, y = points[points[:, 0].argmin()]
            hand.go_to_frame(tab, frame)
            hand.drag_by_mouse(tab, hand.place(tab, (float(x), float(y))), -22, 4)
        tour.picture(tab, "correct", "Correcting: the model's contour stays as a thin dashed line")
        tab.click("#accept")
        box.wait_for(lambda: box.loops()[0]["review"], "the correction")
        _wait_delivered(box, loop["seq"])
        tab.goto(f"/loop/{loop['seq']}")
        hand.open_loop(tab)
        tour.say("## 4. It is stored, delivered, proven")
        tour.picture(tab, "reviewed", "After saving: who, when, and where it has arrived")
        browser.close()


def _wait_delivered(box: Box, seq: int) -> None:
    def done() -> bool:
        rows = worklist.deliveries(box.ledger, seq)
        return bool(rows) and all(row["state"] == "proven" for row in rows)

    box.wait_for(done, "everything to be delivered")


def _delivered(tour: Tour, box: Box, pacs: Orthanc, archive: Orthanc) -> None:
    tour.command(
        ["appliance", "status", "--config", box.config],
        ["echocart status --config echocart.toml"],
    )
    for title, server, words in (
        ("In the PACS", pacs, "the machine's loop byte for byte, the SEG, and the report:"),
        ("In the central archive", archive, "the same loop, nameless, and both segmentations:"),
    ):
        tour.say(f"**{title}**: {words}")
        tour.lines += ["| SOP class | patient | ID | what |", "|---|---|---|---|"]
        for uid in server.instances():
            item = server.dataset(uid)
            what = item.get("SeriesDescription", "") or item.get("Modality", "")
            name = str(item.get("PatientName", "")) or "–"
            identity = str(item.get("PatientID", ""))[:16] or "–"
            tour.lines.append(f"| {item.SOPClassUID.name} | {name} | {identity} | {what} |")
        tour.lines.append("")


def _pulled(tour: Tour, archive: Orthanc) -> Path:
    folder = tour.hidden / "corrections"
    tour.say("## 5. The central team pulls the correction")
    words = ["models.pull", "--from", archive.url, "--to", folder]
    tour.command(
        [*words, "--user", "box", "--password-file", archive.password_file],
        ["python -m models.pull --from https://archive/dicom-web --to corrections ..."],
    )
    panes = [_overlay(item.image, item.mask) for item in corrections.read(folder)]
    height = max(pane.shape[0] for pane in panes)
    padded = [
        cv2.copyMakeBorder(p, 0, height - p.shape[0], 0, 8, cv2.BORDER_CONSTANT) for p in panes
    ]
    cv2.imwrite(str(IMAGES / "tour-pulled.png"), np.hstack(padded))
    tour.say("![The corrected frames, as they came back](images/tour-pulled.png)")
    return folder


def _overlay(image: Any, mask: Any) -> Any:
    pane = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    for label, colour in ((2, (0, 159, 230)), (3, (167, 121, 204)), (1, (233, 180, 86))):
        outline = masks.contours(mask).get(label)
        if outline is not None:
            cv2.polylines(pane, [np.round(outline).astype(np.int32)], True, colour, 2)
    return pane


def _retrained(tour: Tour, box: Box, folder: Path, python: str) -> None:
    tour.say("## 6. A model is retrained, added, and draws the next loop")
    model = tour.hidden / "first-network-1.1.0"
    tour.command(
        ["models.retrain", "--corrections", folder, "--out", model, "--epochs", "12"],
        [
            "python -m models.retrain --corrections corrections --out first-network-1.1.0 --epochs 12"
        ],
        python,
    )
    tour.command(
        ["appliance", "model", "add", model, "--config", box.config],
        ["echocart model add first-network-1.1.0 --config echocart.toml"],
    )
    following = cine_loop(frames=24, seed=3).write(tour.hidden / "next.dcm")
    tour.command(
        ["appliance", "send", following, "--to", f"127.0.0.1:{box.dicom_port}"],
        ["echocart send next.dcm --to box:11112"],
    )
    analysis = box.wait_settled(2)[0]["analysis"]
    name = f"{analysis['model_name']} {analysis['model_version']}"
    tour.say(f"The next loop was drawn by **{name}**, and says so wherever it goes.")


def _sample() -> Path:
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pydicom-data is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "color3d_jpeg_baseline.dcm"


if __name__ == "__main__":
    main()
