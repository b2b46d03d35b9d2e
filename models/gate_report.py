"""`models.evaluate --gate`: a candidate beside the model in use, and one page that says how it went."""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appliance.config import Engine
from appliance.engine.backend import open_backend
from appliance.errors import BackendError
from appliance.manifest import BackendName, Manifest, Precision
from models import gate
from models.camus import Frame, checksum, open_dataset
from models.corrections import CorrectionsError, write_whole
from models.ejection import ejections
from models.gate import Report, Verdict
from models.judging import judge
from models.release import frame_ms

PAGE, FIGURES, PLOT = "gate.md", "gate.json", "gate.png"
_GATE = "judge a candidate"
_TURNS = 3  # of timing, each model's quickest counts: what else the machine does only adds
_DIGITS = 4


@dataclass(frozen=True)
class Judges:
    """Frames that judge: what they are called, and their checksum."""

    name: str
    frames: tuple[Frame, ...]
    sha256: str


def judges(camus: Path, split: str, corrections: Sequence[Path]) -> list[Judges]:
    """Open the official set and the held-out part of each corrections directory.

    Raises
    ------
    CorrectionsError
        When one can't be read, or has no frame of its part.
    """
    found = []
    for folder, part, name in (
        (camus, split, f"CAMUS, {split}"),
        *((folder, "validation", f"corrections in {folder.name}") for folder in corrections),
    ):
        dataset = open_dataset(folder)
        frames = tuple(dataset.frames(part))
        if not frames:
            hint = "models.pull sets a part of each directory aside; choose another one."
            raise CorrectionsError(_GATE, f"{folder} has no frame in {part}", hint)
        found.append(Judges(name, frames, checksum(dataset, frames)))
    return found


def run(
    candidate: Manifest,
    current: Manifest,
    held: Sequence[Judges],
    *,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Judge a candidate at every precision it is released in.

    Returns
    -------
    dict
        `candidate`, `current` (name and SHA-256), `passed`, `verdicts`, `data`.

    Raises
    ------
    BackendError
        When one of the models doesn't run here at f32.
    CorrectionsError
        At a frame that can't be read.
    """
    verdicts: list[Verdict] = []
    for these in held:
        before = _report(current, "f32", _backends(current)["f32"], these.frames)
        for precision, backend in _backends(candidate).items():
            try:
                after = _report(candidate, precision, backend, these.frames)
            except BackendError as error:
                if precision == "f32":
                    raise
                # Where it can't be run it isn't judged either: the box measures before it uses it.
                say(f"{precision}: not judged here: {error.subject}")
                continue
            verdicts += gate.compare(after, before, data=these.name, seed=seed)
            say(f"{these.name}, {precision}: {_score(verdicts, these.name, precision)}")
    verdicts += _times(candidate, current)
    return {
        "candidate": _named(candidate),
        "current": _named(current),
        "passed": all(verdict.passed for verdict in verdicts),
        "data": [{"name": these.name, "sha256": these.sha256} for these in held],
        "verdicts": [_rounded(verdict) for verdict in verdicts],
    }


def write(found: dict[str, Any], out: Path) -> None:
    """Write the page, its picture and the figures."""
    out.mkdir(parents=True, exist_ok=True)
    _plot(found, out / PLOT)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    write_whole(out / FIGURES, text.encode())
    write_whole(out / PAGE, page(found).encode())


def page(found: dict[str, Any]) -> str:
    """Return the page, in Markdown: the answer first, what fails above what passes."""
    mine, theirs = found["candidate"]["name"], found["current"]["name"]
    answer = "passes" if found["passed"] else "does **not** pass"
    lines = [
        "| data | precision | what | frames | candidate | in use | difference (95 %) | margin | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for verdict in sorted(found["verdicts"], key=lambda verdict: bool(verdict["passed"])):
        names = (verdict[key] for key in ("data", "precision", "what", "group"))
        reached = [f"{verdict[key]:.2f}" for key in ("candidate", "current")]
        less = f"{verdict['candidate'] - verdict['current']:+.2f}{_interval(verdict)}"
        word = "passes" if verdict["passed"] else f"**fails**{_too_few(verdict)}"
        cells = [*names, *reached, less, f"{verdict['margin']:.2f}", word]
        lines.append(f"| {' | '.join(cells)} |")
    data = "\n".join(f"- {item['name']}: sha256 {item['sha256']}" for item in found["data"])
    return f"""# {mine} against {theirs}

{mine} {answer} the gate.

Dice in points of 100, after the box's tidying; a group passes when the worse end of the 95 % interval of the difference (bootstrap, patients drawn) keeps its margin. A frame time passes when it is below {gate.FRAME_MS:.1f} ms or at most {gate.MARGIN_TIME:.1f} times that of the model in use.

![differences]({PLOT})

{chr(10).join(lines)}

## Judged on
{data}

Candidate {found["candidate"]["sha256"]}, in use {found["current"]["sha256"]} (network at f32).
"""


def main(options: argparse.Namespace, candidate: Manifest, current: Manifest) -> int:
    """Judge, write, tell; the exit status is the gate."""
    options.out.mkdir(parents=True, exist_ok=True)  # not after an hour
    held = judges(options.camus, options.split, options.corrections)
    found = run(candidate, current, held, seed=options.seed)
    write(found, options.out)
    failed = [verdict for verdict in found["verdicts"] if not verdict["passed"]]
    for verdict in failed:
        what = ", ".join(verdict[key] for key in ("data", "precision", "what", "group"))
        print(f"fails: {what}: {_reached(verdict)}")
    print(f"{'passes' if found['passed'] else 'does not pass'}: {options.out / PAGE}")
    return 0 if found["passed"] else 1


def _backends(manifest: Manifest) -> dict[Precision, BackendName]:
    """Each precision that a CPU runs, and the first backend that does; f32 first."""
    names: tuple[BackendName, ...] = ("openvino", "onnxruntime")
    found: dict[Precision, BackendName] = {
        variant.precision: name
        for name in reversed(names)
        for variant in manifest.variants
        if name in variant.backends
    }
    return dict(sorted(found.items(), key=lambda item: item[0] != "f32"))


def _report(
    manifest: Manifest, precision: Precision, name: BackendName, frames: Sequence[Frame]
) -> Report:
    backend = open_backend(manifest, Engine(backend=name, precision=precision))
    judged = list(judge(backend, manifest, frames))
    return {
        "precision": precision,
        "frames": [frame.to_dict() for frame in judged],
        "patients": [patient.to_dict() for patient in ejections(judged)],
    }


def _times(candidate: Manifest, current: Manifest) -> Iterator[Verdict]:
    """Each as a box would run it, in turns."""
    backends = [open_backend(model, Engine()) for model in (candidate, current)]
    taken: list[list[float]] = [[], []]
    for _, place in itertools.product(range(_TURNS), range(2)):
        taken[place].append(frame_ms(backends[place], (candidate, current)[place]))
    yield gate.of_time(min(taken[0]), min(taken[1]), backends[0].precision)


def _named(manifest: Manifest) -> dict[str, str]:
    name = f"{manifest.name}-{manifest.version}"
    full = next(variant for variant in manifest.variants if variant.precision == "f32")
    return {"name": name, "sha256": full.sha256}


def _score(verdicts: Sequence[Verdict], data: str, precision: str) -> str:
    these = [item for item in verdicts if (item.data, item.precision) == (data, precision)]
    return f"{sum(item.passed for item in these)} of {len(these)} comparisons pass"


def _rounded(verdict: Verdict) -> dict[str, Any]:
    return {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in verdict.to_dict().items()
    }


def _interval(verdict: dict[str, Any]) -> str:
    if verdict["low"] is None or verdict["high"] is None:
        return ""
    return f" ({verdict['low']:+.2f} to {verdict['high']:+.2f})"


def _reached(verdict: dict[str, Any]) -> str:
    """Say what a comparison came to, in words for a terminal."""
    less = verdict["candidate"] - verdict["current"]
    text = f"{verdict['candidate']:.2f}, in use {verdict['current']:.2f}"
    return f"{text}, difference {less:+.2f}{_interval(verdict)}{_too_few(verdict)}"


def _too_few(verdict: dict[str, Any]) -> str:
    """A time has no patients, and no interval."""
    few = verdict["patients"] and verdict["low"] is None
    return f" (too few patients: {verdict['patients']})" if few else ""


def _plot(found: dict[str, Any], path: Path) -> None:
    """Every difference with its interval; the margin is a line, worse is left."""
    from matplotlib.figure import Figure

    shown = [verdict for verdict in found["verdicts"] if verdict["low"] is not None]
    figure = Figure(figsize=(8, 1 + 0.22 * max(len(shown), 1)), layout="constrained")
    axes = figure.subplots()
    for row, verdict in enumerate(reversed(shown)):
        # EF is an error: less of it is better.
        sign = -1 if verdict["what"].startswith("EF") else 1
        ends = np.sort([sign * verdict["low"], sign * verdict["high"]])
        middle = sign * (verdict["candidate"] - verdict["current"])
        colour = "#0072B2" if verdict["passed"] else "#D55E00"
        axes.plot(ends, [row, row], color=colour)
        axes.plot([middle], [row], "o" if verdict["passed"] else "x", color=colour)
        axes.plot([-verdict["margin"]] * 2, [row - 0.4, row + 0.4], color="#888888")
    axes.axvline(0, color="#888888", linewidth=0.5)
    names = [", ".join(v[key] for key in ("data", "precision", "what", "group")) for v in shown]
    axes.set_yticks(range(len(shown)), reversed(names), fontsize=7)
    axes.set_xlabel("points better than the model in use; the grey mark is the margin")
    figure.savefig(path, dpi=100)
