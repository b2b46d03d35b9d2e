"""The bar of a training on a terminal."""

from models.training import Frames, Recipe, steps_of_epoch


class Progress:
    """A bar with the time that is left on a terminal, nothing elsewhere."""

    def __init__(self, title: str, recipe: Recipe, frames: Frames, *, shown: bool = True) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(title), BarColumn(), TextColumn("{task.description}"))
        self._bar = Bar(*columns, TimeRemainingColumn(), disable=not shown)
        total = recipe.epochs * steps_of_epoch(frames, recipe)
        self._task = self._bar.add_task("loss", total=total)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: int, loss: float) -> None:
        """Show the steps done and the last loss."""
        self._bar.update(self._task, completed=step, description=f"loss {loss:.3f}")
