"""Drawn frames for the tests of the model factory."""

from pathlib import Path

from models import corrections
from models.corrections import Drawn, Row
from tests.phantom import cine_loop


def drawn_frames(loops: int = 3, frames: int = 4, **more: object) -> list[Drawn]:
    """Frames of phantoms, cropped to the fan, with their truth as the correction."""
    made = []
    for seed in range(loops):
        loop = cine_loop(
            frames=frames, rate_hz=frames, seed=seed, ejection_fraction=0.4 + 0.05 * seed
        )
        x, y, width, height = loop.box
        for index in range(frames):
            image = loop.grey[index][y : y + height, x : x + width].copy()
            mask = loop.labels[index][y : y + height, x : x + width].copy()
            made.append(drawn(image, mask, patient=f"phantom{seed}", frame=index, **more))
    return made


def drawn(image, mask, *, patient="phantom", frame=0, **more) -> Drawn:
    """One correction."""
    row = Row(
        patient=patient,
        view="other",
        phase=corrections.content_phase(frame, image, mask),
        rows=str(image.shape[0]),
        cols=str(image.shape[1]),
        sop_hash=f"hash of {patient}",
        frame=str(frame),
        **more,
    )
    return Drawn(row, image, mask)


def directory(folder: Path, **more) -> Path:
    """A corrections directory of twelve frames of three phantoms."""
    corrections.add(folder, drawn_frames(**more))
    return folder
