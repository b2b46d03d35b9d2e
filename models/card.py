"""What a retrained model says of itself: its manifest and its card, with complete lineage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.manifest import Manifest, Variant
from models.corrections import Row

Scores = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Step:
    """One retraining.

    Attributes
    ----------
    start
        The model it began with.
    corrections
        The frames it learnt from.
    corrections_sha256
        Of their images, masks and table.
    originals
        Original frames it drew from, to forget nothing.
    originals_sha256
        Of their images, masks and tables; "" without any.
    recipe
        Epochs, rates, seed.
    revision
        Of the code.
    scores
        "before" and "after": for "corrections" and "originals", Dice of each structure.
    """

    start: Manifest
    corrections: Sequence[Row]
    corrections_sha256: str
    originals: int
    originals_sha256: str
    recipe: dict[str, Any]
    revision: str
    scores: Scores

    @property
    def summary(self) -> str:
        """The step in one line, for the lineage."""
        loops = len({row.sop_hash for row in self.corrections})
        recipe = ", ".join(f"{name} {value}" for name, value in self.recipe.items())
        return (
            f"models.retrain from {self.start.name} {self.start.version}"
            f" (sha256 {self.start.variants[0].sha256}): {len(self.corrections)} corrected frames"
            f" of {loops} loops (data sha256 {self.corrections_sha256}),"
            f" {self.originals} original frames to draw from"
            + (f" (data sha256 {self.originals_sha256})" if self.originals else "")
            + f"; {recipe}; code {self.revision or 'of no known revision'}"
        )

    @property
    def record(self) -> dict[str, Any]:
        """The step as plain values, for lineage.json."""
        return {
            "start": {
                "name": self.start.name,
                "version": self.start.version,
                "sha256": self.start.variants[0].sha256,
            },
            "corrections": len(self.corrections),
            "corrections_sha256": self.corrections_sha256,
            "originals": self.originals,
            "originals_sha256": self.originals_sha256,
            "recipe": self.recipe,
            "revision": self.revision,
            "scores": self.scores,
        }


def manifest(
    start: Manifest, name: str, version: str, variants: Sequence[Variant], step: Step
) -> Manifest:
    """Return the new model's manifest: the start's, with other files and one more step.

    Licence, citation and the research-use flag stay: what derives from weights bears their terms.
    """
    changed = {
        "name": name,
        "version": version,
        "variants": tuple(variants),
        "lineage": (*start.lineage, step.summary),
    }
    return Manifest.model_validate({**start.model_dump(), **_plain(changed)})


def text(made: Manifest, step: Step) -> str:
    """Return the card, in Markdown."""
    research = "**For research use only: not a medical device.** " if made.research_use_only else ""
    lineage = "\n".join(f"{number}. {line}" for number, line in enumerate(made.lineage, 1))
    return f"""# Model card: {made.name} {made.version}

{research}Made by `models.retrain`; it is not yet held against the model in use (`models.evaluate --gate`).

## Licence
{made.licence}. Whoever publishes anything made with it cites:

> {made.citation}

## Lineage
{lineage}

## Agreement with the drawings
Mean Dice. The corrections are those it learnt from; the originals were kept out of training.

{table(step.scores)}

## Precisions
{measured(made)}
"""


def measured(made: Manifest) -> str:
    """Return the Dice of each backend at each precision, as a sentence and a Markdown table."""
    names = [structure.name for structure in made.structures]
    said = [(variant, accuracy) for variant in made.variants for accuracy in variant.accuracy]
    if not said:
        return "Nothing was measured: no precision below f32 is taken unasked."
    first = said[0][1]
    lines = [
        f"| {accuracy.backend} | {variant.precision} | {variant.file} | "
        + " | ".join(f"{accuracy.dice[name]:.4f}" for name in names)
        + " |"
        for variant, accuracy in said
    ]
    return f"""Mean Dice on {first.data} ({first.frames} frames). A precision below f32 is here only because no structure loses more than {made.gates.precision_loss} points of 100.

| run on | precision | file | {" | ".join(names)} |
|---|---|---|{"---|" * len(names)}
{chr(10).join(lines)}"""


def table(scores: Scores) -> str:
    """Return the Dice before and after as a Markdown table."""
    lines = ["| frames | structure | before | after |", "|---|---|---|---|"]
    for data, before in scores["before"].items():
        for structure, value in before.items():
            after = scores["after"][data][structure]
            lines.append(f"| {data} | {structure} | {value:.4f} | {after:.4f} |")
    return "\n".join(lines)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "variants": [variant.model_dump() for variant in values["variants"]]}
