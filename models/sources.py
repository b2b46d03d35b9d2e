"""The frames of a retraining: which teach, which are drawn from, which watch and prove."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from models import camus
from models.corrections import CorrectionsError
from models.proof import Proof, evenly

RETRAIN = "retrain a model"
WATCHED = 40  # frames looked at for forgetting: a minute on a laptop
CALIBRATION = 32  # frames
FEWEST = 20  # frames kept out: fewer prove no precision


@dataclass(frozen=True)
class Sources:
    """The data sets of a retraining, every file of them looked at.

    Attributes
    ----------
    corrections
        What a person drew.
    originals
        What the network knew before.
    """

    corrections: camus.Dataset
    originals: tuple[camus.Dataset, ...]

    @classmethod
    def checked(cls, corrected: Path, originals: Sequence[Path]) -> "Sources":
        """Open them.

        Raises
        ------
        CorrectionsError
            When there is nothing to learn from, or a broken file: the first, by name.
        """
        made = cls(camus.checked(corrected), tuple(camus.checked(path) for path in originals))
        if not made.taught:
            hint = "Pull some first: python -m models.pull --from URL --to DIR."
            raise CorrectionsError(RETRAIN, f"{corrected} holds no frame to learn from", hint)
        return made

    @property
    def taught(self) -> list[camus.Frame]:
        """The corrections."""
        return self.corrections.frames("train")

    @property
    def drawn_from(self) -> list[camus.Frame]:
        """Originals that may be mixed in."""
        return [frame for dataset in self.originals for frame in dataset.frames("train")]

    @property
    def watched(self) -> list[camus.Frame]:
        """Originals of hearts that nobody corrected, evenly over the data sets, to see forgetting."""
        known = {frame.patient for frame in self.taught}
        frames = [
            frame
            for dataset in self.originals
            for frame in dataset.frames("validation")
            if frame.patient not in known
        ]
        return frames[:: max(1, -(-len(frames) // WATCHED))]

    def checksums(self) -> tuple[str, str]:
        """Return the SHA-256 of the corrections and of the originals, "" without any."""
        hashes = [camus.checksum(dataset) for dataset in self.originals]
        whole = (
            sha256("".join(sorted(hashes)).encode()).hexdigest()
            if len(hashes) > 1
            else "".join(hashes)
        )
        return camus.checksum(self.corrections), whole

    @property
    def proof(self) -> Proof | None:
        """What lower precisions are calibrated and proven on; None where too little was kept out."""
        aside = evenly(self.corrections.frames("validation"), WATCHED)
        judges = [*self.watched, *aside]
        if len(judges) < FEWEST:
            return None
        originals = evenly(self.drawn_from, CALIBRATION // 2)
        taught = evenly(self.taught, CALIBRATION - len(originals))
        return Proof.of_frames([*taught, *originals], judges, "frames kept out of the retraining")
