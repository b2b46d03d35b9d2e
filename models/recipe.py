"""A recipe: everything that decides what a training makes, in one TOML file."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import ApplianceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIDE = 384  # pixels of the square the box letterboxes into
_GENTLE = 0.4
FOLDER = Path(__file__).parent / "recipes"


class RecipeError(ApplianceError):
    """A recipe can't be used."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(_Section):
    """Which network: a U-Net of the *frame* family, or MONAI's DynUNet."""

    family: Literal["frame", "dynunet"]
    filters: tuple[int, ...]
    deep: tuple[int, ...] = ()
    subpixel: bool = False
    start: str = ""


class Stage(_Section):
    """A share of the epochs at one size of frame, square, in pixels."""

    side: Annotated[int, Field(ge=96, le=SIDE, multiple_of=32)]
    share: Annotated[float, Field(gt=0, le=1)]


class Training(_Section):
    """How it is trained: AdamW, a warm-up, a plateau, a cool-down, averaged weights.

    In the last `gentle` epochs frames are varied less: they end nearer to what will be met.
    """

    epochs: Annotated[int, Field(ge=1)]
    cool_down: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warm_up: Annotated[int, Field(ge=1)]
    average: Annotated[float, Field(ge=0, lt=1)]
    supervision: tuple[float, ...] = ()
    seed: int = 0
    gentle: Annotated[int, Field(ge=0)] = 0
    sides: tuple[Stage, ...] = (Stage(side=SIDE, share=1.0),)

    def side(self, epoch: int) -> int:
        """Pixels a side of the frames of an epoch, counted from 0."""
        ended = 0.0
        for stage in self.sides:
            ended += stage.share * self.epochs
            if epoch < round(ended):
                return stage.side
        return self.sides[-1].side

    def strength(self, epoch: int) -> float:
        """How much the frames of an epoch are varied, 0 to 1."""
        return _GENTLE if epoch >= self.epochs - self.gentle else 1.0

    def rate(self, step: int, per_epoch: int) -> float:
        """Learning rate of a step over the recipe's: up, level, down to zero.

        Level for long, so that a run can go on or cool down at any epoch (Hu 2024,
        arXiv 2404.06395).
        """
        total, cooling = self.epochs * per_epoch, self.cool_down * per_epoch
        left = (total - step) / cooling if cooling else 1.0
        return min(1.0, (step + 1) / self.warm_up, max(left, 0.0))


class Recipe(_Section):
    """The whole file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    network: Shape
    training: Training


def load(named: str) -> Recipe:
    """Read a recipe by its path, or one of the repository's by its name.

    Raises
    ------
    RecipeError
        When there is none, or something in it can't be used: which setting, and why.
    """
    path = Path(named)
    if path.suffix != ".toml":
        path = FOLDER / f"{named}.toml"
    have = ", ".join(sorted(item.stem for item in FOLDER.glob("*.toml")))
    hint = f"Name a TOML file, or one of: {have}."
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(values)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("read a recipe", f"{named} can't be read", hint) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("read a recipe", f"{path} isn't valid TOML: {error}", hint) from error
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        text = f"{path}: {'; '.join(mistakes)}"
        raise RecipeError("read a recipe", text, "Compare with models/recipes.") from error
