"""What goes to the central archive: a new, nameless study for each corrected loop.

Authored from an allow-list, never cleaned from a copy; refused when in doubt (promise 7). The same
review gives the same UIDs and bytes in every try, under the same key and by the same release: what
an update finds half sent goes anew under other UIDs, since an archive would keep the old objects
and take the others for copies. Accepted loops go too where the site samples them.

**What a puller needs**

- Find them by QIDO-RS, with keys of the study:

  | key | holds |
  |---|---|
  | StudyID | the first 16 digits of the model's SHA-256: `/studies?StudyID=0123456789abcdef` |
  | StudyDescription | `Echocart correction of NAME VERSION`, or `Echocart accepted NAME VERSION` |
  | StudyDate | the year of the review as `YYYY0101`; where the site retains modified dates, that of the study, 1 to 365 days early |
  | PatientID | a pseudonym: the same for all corrections of a patient from one box; split training and validation by it |

  Where a server takes an encoded wildcard or space literally (Orthanc 1.10), search by StudyID, or
  by `ModalitiesInStudy=SEG`, and compare StudyDescription. StationName of the objects is the
  site's name if it gave one.
- Each study holds series of one instance, told apart by Modality and SeriesNumber
  (SeriesDescription says it to people, behind RESEARCH USE ONLY where the model asks for it):

  | Modality | SeriesNumber | SeriesDescription | holds |
  |---|---|---|---|
  | US | 1 | `Loop` | the grey loop, black outside the fan, RLE Lossless |
  | SEG | 9001 | `Model NAME VERSION` | what the model drew: SegmentAlgorithmType AUTOMATIC |
  | SEG | 9002 | `Correction of NAME VERSION` | what holds after the review: SEMIAUTOMATIC; not in accepted ones |
  | SR | 9003 | `Review of NAME VERSION` | how it was decided (`sync/record.py`) |

- It is whole when the SR is there: they arrive in this order.
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
- The reviewer is told by role only: ContentDescription of the corrected SEG ends in `by: expert`,
  `by: sonographer` or, where it isn't known, `by: bedside reviewer` (`reviewer_role`). Nobody's
  initials leave the box, and no sentence that a person typed.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from appliance import __version__, labels
from appliance.cine import open_cine
from appliance.config import Settings
from appliance.errors import CineError, DeliveryError
from appliance.labels import LoopLabels
from appliance.ledger import Ledger, upstream, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.ledger.upstream import Facts
from appliance.part10 import Header, read_header, text
from appliance.scrub import Refused, scrub
from appliance.spool import Spool
from appliance.sync import deidentify, modules
from appliance.sync.authored import LOOP, Names, author
from appliance.sync.deidentify import IdentityMap, Options
from appliance.sync.document import Reference
from appliance.sync.encode import Elements, encoded, plain
from appliance.sync.modules import MANUFACTURER, RESEARCH_USE_ONLY, Review
from appliance.sync.record import Account, record
from appliance.sync.seg import Part10, segmentation
from appliance.sync.segments import Provenance, Structure

__all__ = ["REVIEWER_ROLE", "STUDY_DESCRIPTION", "Corrections", "Refused"]

STUDY_DESCRIPTION = "Echocart correction"  # how QIDO finds them
ACCEPTED_DESCRIPTION = "Echocart accepted"
REVIEWER_ROLE = "bedside reviewer"
MODEL_SERIES, CORRECTION_SERIES, RECORD_SERIES = 9001, 9002, 9003
_HASH_DIGITS = 16  # StudyID is an SH of 16 characters (PS3.5 6.2)
_Drawn = Literal["AUTOMATIC", "SEMIAUTOMATIC"]


@dataclass(frozen=True)
class _Case:
    """One correction: the ledger's rows about it, and what its objects are called outside."""

    loop: Row
    review: Row
    analysis: Row
    names: Names
    map: IdentityMap
    site: str
    created: datetime
    facts: Facts
    root: str  # what all UIDs are derived from

    @property
    def model(self) -> str:
        return _model(self.analysis)

    @property
    def is_corrected(self) -> bool:
        return bool(self.review["decision"] == "corrected")

    @property
    def role(self) -> str:
        return self.facts.role or REVIEWER_ROLE

    @property
    def research_use(self) -> bool:
        return bool(self.analysis["research_use_only"])

    def provenance(self, drawn: _Drawn) -> Provenance:
        """What drew the label maps."""
        row = self.analysis
        return Provenance(row["model_name"], row["model_version"], row["model_sha256"], drawn)

    def about(self, purpose: str) -> Review:
        """What one of the objects says of itself: no reviewer, no time of day."""
        return Review(
            SOPInstanceUID=self.map.uid(self.root, purpose),
            SeriesInstanceUID=self.map.uid(self.root, f"{purpose}/series"),
            reviewer="",
            research_use=self.research_use,
            created=self.created,
            station_name=self.site or MANUFACTURER,
        )

    def series(self, number: int, title: str, **more: str) -> Elements:
        """What an object says of its series and its de-identification."""
        dataset = deidentify.statement(self.names.options)
        prefix = f"{RESEARCH_USE_ONLY} - " if self.research_use else ""
        dataset.SeriesDescription = f"{prefix}{plain(title)}"[:64]
        dataset.SeriesNumber = number
        for keyword, value in more.items():
            setattr(dataset, keyword, f"{prefix}{value}")
        return encoded(dataset)


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
        """Return loop, segmentations and review record, in the order they are sent.

        Raises
        ------
        Refused
            When it isn't certain that nothing in the pixels names somebody, and nobody has
            released just these pixels.
        DeliveryError
            When the ledger lacks what the review names, or the key can't be used.
        SpoolError, Part10Error
            When the loop or its label maps can't be read from the spool.
        """
        case = self._case(delivery)
        drawn = labels.of_analysis(self._ledger, self._spool, case.analysis["id"])
        held = labels.of_review(self._ledger, self._spool, case.review["id"], drawn)
        file, header, machine = self._loop(case)
        made = [file, _segmentation(header, case, drawn, "AUTOMATIC")]
        if case.is_corrected:
            made.append(_segmentation(header, case, held, "SEMIAUTOMATIC"))
        return [*made, _record(header, case, _changed(drawn, held), machine)]

    def _loop(self, case: _Case) -> tuple[Part10, Header, Dataset]:
        try:
            with open_cine(self._spool.object_path(case.loop["sha256"])) as cine:
                scrubbed = scrub(cine)
                if scrubbed.sha256 not in upstream.released(self._ledger, case.review["id"]):
                    scrubbed.must_be_sure()
                made = author(cine, scrubbed, case.names, case.about("loop"))
                return *made, cine.header.dataset
        except CineError as error:
            raise Refused(f"it can't be read as a loop ({error.subject.rstrip('.')})") from None

    def _case(self, delivery: Delivery) -> _Case:
        loop = _found(worklist.loop(self._ledger, delivery.seq))
        review = _found(worklist.review(self._ledger, delivery.review_id or 0))
        identity_map = deidentify.identity_map(self._settings)
        options = deidentify.options_of(self._settings)
        who = (loop["patient_id"], loop["study_instance_uid"] or loop["sop_instance_uid"])
        created = _created(review["at"], identity_map, who, options)
        analysis = _found(worklist.analysis(self._ledger, review["analysis_id"]))
        model, decision = _model(analysis), review["decision"]
        root = _root(review, delivery)
        what = f"{STUDY_DESCRIPTION} of" if decision == "corrected" else ACCEPTED_DESCRIPTION
        names = Names(
            PatientID=identity_map.patient(*who),
            StudyInstanceUID=identity_map.uid(root, "study"),
            StudyDescription=plain(f"{what} {model}")[:64],
            StudyID=analysis["model_sha256"][:_HASH_DIGITS],
            StudyDate=self._study_date(loop, identity_map, who, options)
            or created.strftime("%Y%m%d"),
            source=identity_map.uid(loop["sop_instance_uid"]),
            number=self._number(loop, review),
            options=options,
        )
        facts = upstream.facts(self._ledger, review["id"])
        site = self._settings.upstream.site
        return _Case(loop, review, analysis, names, identity_map, site, created, facts, root)

    def _study_date(
        self, loop: Row, identity_map: IdentityMap, who: tuple[str, str], options: Options
    ) -> str:
        if not options.dates:
            return ""
        written = text(read_header(self._spool.object_path(loop["sha256"])).dataset, "StudyDate")
        return deidentify.shifted(written, identity_map.shift(*who))

    def _number(self, loop: Row, review: Row) -> int:
        row = self._ledger.read_one(
            "SELECT count(*) AS number FROM review r JOIN instance i ON i.seq = r.seq"
            " WHERE i.sop_instance_uid = ? AND r.id <= ?",
            [loop["sop_instance_uid"], review["id"]],
        )
        return int(_found(row)["number"])


def _root(review: Row, delivery: Delivery) -> str:
    """What the UIDs are derived from: the review, and the release if another one began."""
    uid = str(review["result_sop_instance_uid"])
    began_here = delivery.tries == 1 or delivery.first_release == __version__
    return uid if began_here else f"{uid} {__version__}"


def _created(
    at: str, identity_map: IdentityMap, who: tuple[str, str], options: Options
) -> datetime:
    """When the review was, as it may be told: its year, or its date moved; no time of day."""
    day = datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(timezone.utc)
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    if options.dates:
        return midnight + identity_map.shift(*who)
    return midnight.replace(month=1, day=1)


def _model(analysis: Row) -> str:
    return f"{analysis['model_name']} {analysis['model_version']}"


def _segmentation(source: Header, case: _Case, maps: LoopLabels, drawn: _Drawn) -> Part10:
    if drawn == "AUTOMATIC":
        number, title, by = MODEL_SERIES, f"Model {case.model}", "model"
    else:
        number, title, by = CORRECTION_SERIES, f"Correction of {case.model}", case.role
    return segmentation(
        source,
        maps.frame,
        [index for index in range(maps.frames) if maps.has(index)],
        [
            Structure(**{name: item[name] for name in _STRUCTURE})
            for item in case.analysis["labels"]
        ],
        case.provenance(drawn),
        case.about("model" if drawn == "AUTOMATIC" else "correction"),
        case.series(number, title, ContentDescription=f"by: {by}"),
    )


def _record(source: Header, case: _Case, changed: int, machine: Dataset) -> Part10:
    purposes = [(LOOP.SOPClassUID, "loop"), (modules.SEGMENTATION.SOPClassUID, "model")]
    if case.is_corrected:
        purposes.append((modules.SEGMENTATION.SOPClassUID, "correction"))
    about = [(SOPClassUID, case.about(purpose)) for SOPClassUID, purpose in purposes]
    account = Account(
        decision=case.review["decision"],
        facts=case.facts._replace(role=case.role),
        reason=case.review["reason"],
        changed=changed,
        provenance=case.provenance("SEMIAUTOMATIC" if case.is_corrected else "AUTOMATIC"),
        engine=case.analysis["engine"],
        precision=case.analysis["precision"],
        scanner=deidentify.machine(
            text(machine, "Manufacturer"), text(machine, "ManufacturerModelName")
        ),
        software=deidentify.versions(text(machine, "SoftwareVersions")),
        objects=[Reference(kind, it.SOPInstanceUID, it.SeriesInstanceUID) for kind, it in about],
    )
    more = case.series(RECORD_SERIES, f"Review of {case.model}")
    return record(source, account, case.about("record"), more)


def _changed(drawn: LoopLabels, held: LoopLabels) -> int:
    """How many frames differ from the model's."""
    both = (index for index in range(drawn.frames) if drawn.has(index) and held.has(index))
    return sum(not np.array_equal(drawn.frame(index), held.frame(index)) for index in both)


_STRUCTURE = ("label", "name", "code", "meaning", "colour")


def _found(row: Row | None) -> Row:
    if row is None:
        raise DeliveryError(
            "send a correction upstream",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return row
