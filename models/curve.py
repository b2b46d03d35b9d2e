"""A training's curve: a line for each epoch in a file, and on the screen with the time left."""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import lightning


class Curve(lightning.Callback):
    """Writes loss and Dice of each epoch; a training that goes on adds to what is there.

    Parameters
    ----------
    path
        CSV with the columns epoch, loss, dice, and one for each structure.
    epochs
        Of the whole training.
    """

    def __init__(self, path: Path, epochs: int) -> None:
        self._path, self._epochs = path, epochs
        self._began = 0.0
        self._first = 0

    def on_train_start(self, trainer: Any, _: Any) -> None:
        """Drop what an epoch wrote that a kill then undid."""
        self._began, self._first = time.monotonic(), trainer.current_epoch
        rows = [row for row in self._rows() if int(row["epoch"]) < trainer.current_epoch]
        self._write(rows)

    def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
        """Add the epoch."""
        figures = {
            name: f"{float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items())
        }
        row = {"epoch": str(trainer.current_epoch), **figures}
        self._write([*self._rows(), row])
        done = trainer.current_epoch + 1
        each = (time.monotonic() - self._began) / (done - self._first)
        text = ", ".join(f"{name} {value}" for name, value in figures.items())
        left = each * (self._epochs - done) / 60
        print(f"epoch {done} of {self._epochs}: {text}; {left:.0f} min left", file=sys.stderr)

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def _write(self, rows: list[dict[str, str]]) -> None:
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]) if rows else ["epoch"])
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self._path)
