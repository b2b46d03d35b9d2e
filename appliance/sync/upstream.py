"""Corrections for the central archive: a new, nameless study for each corrected loop.

Authored from an allow-list, never cleaned from a copy; refused when in doubt (promise 7). The same
review gives the same UIDs and bytes in every try, under the same key.

**What a puller needs**

- Find them: QIDO-RS `/studies?StudyDescription=Echocart correction*`; where a server takes an
  encoded wildcard literally (Orthanc 1.10), `/studies?ModalitiesInStudy=SEG`, and compare the
  beginning. StudyDescription is `Echocart correction of NAME VERSION` (the model corrected),
  StudyDate the year of the review as `YYYY0101`, PatientID a pseudonym (the same for all corrections of a patient from one box:
  split training and validation by it), StationName the site's name if it gave one.
- Each study holds three series of one instance, told apart by Modality and SeriesNumber
  (SeriesDescription says it to people, behind RESEARCH USE ONLY where the model asks for it):

  | Modality | SeriesNumber | SeriesDescription | holds |
  |---|---|---|---|
  | US | 1 | `Loop` | the grey loop, black outside the fan, RLE Lossless |
  | SEG | 9001 | `Model NAME VERSION` | what the model drew: SegmentAlgorithmType AUTOMATIC |
  | SEG | 9002 | `Correction of NAME VERSION` | what holds after the review: SEMIAUTOMATIC |

- It is whole when all three are there: they arrive in this order.
- The loop: NumberOfFrames as in the original, so frame numbers are the same; a frame that was
  damaged is black. FrameTime or FrameTimeVector; SequenceOfUltrasoundRegions (its box is the
  fan's) only where the scale is to be trusted, else PixelAspectRatio where pixels aren't square;
  Manufacturer and ManufacturerModelName by a table; `SourceImageSequence[0].
  ReferencedSOPInstanceUID` stands for the original loop (`sop_hash`): the same in every correction
  of it. InstanceNumber counts the decisions about that loop: of several corrections with one
  `sop_hash`, the highest InstanceNumber holds.
- Both SEGs are BINARY with the frames of the loop as source (ReferencedFrameNumber, from 1), and
  cover the frames that have a label map. Segments by SegmentedPropertyTypeCodeSequence (SCT);
  overlaps don't occur. Corrected frames are those whose masks differ between the two.
- The model: in each segment's SegmentationAlgorithmIdentificationSequence AlgorithmName,
  AlgorithmVersion, and AlgorithmParameters `sha256=…` (`model_sha256`). `parent` of a correction
  is the SOPInstanceUID of the model's SEG.
- The reviewer is told by role only: ContentDescription of the corrected SEG ends in
  `by: bedside reviewer` (`reviewer_role`). Nobody's initials leave the box.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from appliance import labels
from appliance.cine import open_cine
from appliance.config import Settings
from appliance.errors import CineError, DeliveryError
from appliance.labels import LoopLabels
from appliance.ledger import Ledger, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.part10 import Header
from appliance.spool import Spool
from appliance.sync import deidentify
from appliance.sync.authored import Names, author
from appliance.sync.deidentify import IdentityMap
from appliance.sync.encode import encoded
from appliance.sync.modules import MANUFACTURER, RESEARCH_USE_ONLY, Review
from appliance.sync.scrub import Refused, scrub
from appliance.sync.seg import Part10, segmentation
from appliance.sync.segments import Provenance, Structure

__all__ = ["REVIEWER_ROLE", "STUDY_DESCRIPTION", "Corrections", "Refused"]

STUDY_DESCRIPTION = "Echocart correction"  # how QIDO finds them
REVIEWER_ROLE = "bedside reviewer"
MODEL_SERIES, CORRECTION_SERIES = 9001, 9002


@dataclass(frozen=True)
class _Case:
    """One correction: the ledger's rows about it, and what its objects are called outside."""

    loop: Row
    review: Row
    analysis: Row
    names: Names
    map: IdentityMap
    site: str
    research_use: bool

    @property
    def model(self) -> str:
        return f"{self.analysis['model_name']} {self.analysis['model_version']}"

    def provenance(self, drawn: Literal["AUTOMATIC", "SEMIAUTOMATIC"]) -> Provenance:
        """What drew the label maps."""
        row = self.analysis
        return Provenance(row["model_name"], row["model_version"], row["model_sha256"], drawn)

    def about(self, purpose: str) -> Review:
        """What one of the objects says of itself: no reviewer, no time but the year."""
        root = self.review["result_sop_instance_uid"]
        at = datetime.fromisoformat(self.review["at"].replace("Z", "+00:00"))
        return Review(
            SOPInstanceUID=self.map.uid(root, purpose),
            SeriesInstanceUID=self.map.uid(root, f"{purpose}/series"),
            reviewer="",
            research_use=self.research_use,
            created=datetime(at.astimezone(timezone.utc).year, 1, 1, tzinfo=timezone.utc),
            station_name=self.site or MANUFACTURER,
        )


class Corrections:
    """Makes the studies that go to the central archive.

    Parameters
    ----------
    ledger, spool
        The box's.
    settings
        Where the key is, and what the site calls itself.
    """

    def __init__(self, ledger: Ledger, spool: Spool, settings: Settings) -> None:
        self._ledger = ledger
        self._spool = spool
        self._settings = settings

    def objects(self, delivery: Delivery) -> list[Part10]:
        """Return loop, the model's and the corrected segmentation, in the order they are sent.

        Raises
        ------
        Refused
            When it isn't certain that nothing in the pixels names somebody: for good.
        DeliveryError
            When the ledger lacks what the review names, or the key can't be used.
        SpoolError, Part10Error
            When the loop or its label maps can't be read from the spool.
        """
        case = self._case(delivery)
        drawn = labels.of_analysis(self._ledger, self._spool, case.analysis["id"])
        corrected = labels.of_review(self._ledger, self._spool, case.review["id"])
        file, header = self._loop(case)
        return [
            file,
            _segmentation(header, case, drawn, "AUTOMATIC"),
            _segmentation(header, case, corrected, "SEMIAUTOMATIC"),
        ]

    def _loop(self, case: _Case) -> tuple[Part10, Header]:
        try:
            with open_cine(self._spool.object_path(case.loop["sha256"])) as cine:
                return author(cine, scrub(cine), case.names, case.about("loop"))
        except CineError as error:
            raise Refused(f"it can't be read as a loop ({error.subject.rstrip('.')})") from None

    def _case(self, delivery: Delivery) -> _Case:
        loop = _found(worklist.loop(self._ledger, delivery.seq))
        review = _found(worklist.review(self._ledger, delivery.review_id or 0))
        analysis = _found(worklist.analysis(self._ledger, review["analysis_id"]))
        identity_map = deidentify.identity_map(self._settings)
        return _Case(
            loop=loop,
            review=review,
            analysis=analysis,
            names=_names(loop, review, analysis, identity_map, self._number(loop, review)),
            map=identity_map,
            site=self._settings.upstream.site,
            research_use=bool(analysis["research_use_only"]),
        )

    def _number(self, loop: Row, review: Row) -> int:
        row = self._ledger.read_one(
            "SELECT count(*) AS number FROM review r JOIN instance i ON i.seq = r.seq"
            " WHERE i.sop_instance_uid = ? AND r.id <= ?",
            [loop["sop_instance_uid"], review["id"]],
        )
        return int(_found(row)["number"])


def _names(loop: Row, review: Row, analysis: Row, identity_map: IdentityMap, number: int) -> Names:
    study = loop["study_instance_uid"] or loop["sop_instance_uid"]
    model = f"{analysis['model_name']} {analysis['model_version']}"
    return Names(
        PatientID=identity_map.patient(loop["patient_id"], study),
        StudyInstanceUID=identity_map.uid(review["result_sop_instance_uid"], "study"),
        StudyDescription=f"{STUDY_DESCRIPTION} of {model}"[:64],
        source=identity_map.uid(loop["sop_instance_uid"]),
        number=number,
    )


def _segmentation(
    source: Header, case: _Case, maps: LoopLabels, drawn: Literal["AUTOMATIC", "SEMIAUTOMATIC"]
) -> Part10:
    by_model = drawn == "AUTOMATIC"
    more = deidentify.statement()
    prefix = f"{RESEARCH_USE_ONLY} - " if case.research_use else ""
    title = f"Model {case.model}" if by_model else f"Correction of {case.model}"
    more.SeriesDescription = f"{prefix}{title}"[:64]
    more.SeriesNumber = MODEL_SERIES if by_model else CORRECTION_SERIES
    more.ContentDescription = f"{prefix}by: {'model' if by_model else REVIEWER_ROLE}"
    return segmentation(
        source,
        maps.frame,
        [index for index in range(maps.frames) if maps.has(index)],
        [
            Structure(**{name: item[name] for name in _STRUCTURE})
            for item in case.analysis["labels"]
        ],
        case.provenance(drawn),
        case.about("model" if by_model else "correction"),
        encoded(more),
    )


_STRUCTURE = ("label", "name", "code", "meaning", "colour")


def _found(row: Row | None) -> Row:
    if row is None:
        raise DeliveryError(
            "send a correction upstream",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return row
