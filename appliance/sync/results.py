"""From a review in the ledger to the object that is delivered for it: the same one every time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from appliance import labels
from appliance.cine import open_cine
from appliance.errors import DeliveryError
from appliance.labels import LoopLabels
from appliance.ledger import Ledger, beside, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.ledger.review import SENDING
from appliance.measures import Measures
from appliance.part10 import Header, number, read_header, text
from appliance.spool import Spool
from appliance.sync import lineage
from appliance.sync.carried import value_of
from appliance.sync.document import Reference
from appliance.sync.fhir import Release, Told, as_object
from appliance.sync.findings import Drawn
from appliance.sync.modules import Review
from appliance.sync.overlay import overlay
from appliance.sync.planes import OtherView
from appliance.sync.rejection import rejection
from appliance.sync.seg import Part10, segmentation
from appliance.sync.segments import Provenance, Structure
from appliance.sync.sr import report


@dataclass(frozen=True)
class _Facts:
    """What the ledger and the spool hold about a delivery's review."""

    delivery: Delivery
    source: Header
    analysis: Row
    review: Row
    maps: LoopLabels

    @property
    def indexes(self) -> list[int]:
        # A frame that couldn't be decoded has no label map; an empty one would be a claim.
        return [index for index in range(self.maps.frames) if self.maps.has(index)]

    @property
    def structures(self) -> list[Structure]:
        return [
            Structure(**{name: item[name] for name in _STRUCTURE})
            for item in self.analysis["labels"]
        ]

    @property
    def provenance(self) -> Provenance:
        corrected = self.review["decision"] == "corrected"
        kind: Literal["AUTOMATIC", "SEMIAUTOMATIC"] = "SEMIAUTOMATIC" if corrected else "AUTOMATIC"
        model = {name: self.analysis[name] for name in _MODEL}
        return Provenance(**model, algorithm_type=kind)

    @property
    def measures(self) -> Measures:
        return Measures.from_dict(self.review["measures"] or self.analysis["measures"])

    @property
    def loop(self) -> Reference:
        names = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
        return Reference(*(value_of(self.source.dataset, name) for name in names))


class Results:
    """Builds results from what the ledger and the spool hold.

    Parameters
    ----------
    ledger, spool
        The box's.
    station_name
        Named in every result.
    releases
        Of FHIR, by the name of a destination that gets bundles.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        station_name: str,
        releases: Mapping[str, Release] = MappingProxyType({}),
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._station_name = station_name
        self._releases = releases

    def build(self, delivery: Delivery) -> Part10:
        """Return the object of a delivery: a `seg`, `sr`, `overlay`, `fhir` or `rejection`.

        Raises
        ------
        DeliveryError
            When the ledger no longer holds what the review names, or it makes no object.
        SpoolError, Part10Error
            When the loop or its label maps can't be read from the spool.
        """
        kinds: Mapping[str, Callable[[_Facts], Part10]] = {
            "seg": self._segmentation,
            "sr": self._report,
            "overlay": self._overlay,
            "fhir": self._bundle,
            "rejection": self._rejection,
        }
        if delivery.kind not in kinds or delivery.review_id is None:
            raise DeliveryError(
                "build a result", f"a review makes no {delivery.kind}", "Report it as a fault."
            )
        return kinds[delivery.kind](self._facts(delivery, delivery.review_id))

    def _facts(self, delivery: Delivery, review_id: int) -> _Facts:
        loop = _found(worklist.loop(self._ledger, delivery.seq))
        review = _found(worklist.review(self._ledger, review_id))
        source = read_header(self._spool.object_path(loop["sha256"]))
        if text(source.dataset, "SOPInstanceUID") != loop["sop_instance_uid"]:
            raise DeliveryError(
                "build a result",
                "the spool holds another object under the loop's hash",
                "Check the disk; send the loop again from the machine.",
            )
        return _Facts(
            delivery,
            source,
            _found(worklist.analysis(self._ledger, review["analysis_id"])),
            review,
            labels.of_review(self._ledger, self._spool, review_id),
        )

    def _segmentation(self, facts: _Facts) -> Part10:
        return segmentation(
            facts.source,
            facts.maps.frame,
            facts.indexes,
            facts.structures,
            facts.provenance,
            self._review(facts, _reference("seg", facts)),
        )

    def _overlay(self, facts: _Facts) -> Part10:
        loop = _found(worklist.loop(self._ledger, facts.delivery.seq))
        review = self._review(facts, _reference("overlay", facts))
        with open_cine(self._spool.object_path(loop["sha256"])) as cine:
            return overlay(
                cine, facts.maps.frame, facts.indexes, facts.structures, facts.provenance, review
            )

    def _bundle(self, facts: _Facts) -> Part10:
        told = Told(
            facts.source,
            facts.measures,
            _drawn(facts),
            self._review(facts, _reference("fhir", facts)),
            self._other_view(facts),
            rejected=facts.review["decision"] not in SENDING,
        )
        return as_object(told, self._releases.get(facts.delivery.destination, "R5"))

    def _report(self, facts: _Facts) -> Part10:
        earlier = lineage.predecessor(self._ledger, facts.delivery)
        review = self._review(facts, _reference("sr", facts))
        return report(
            facts.source,
            facts.measures,
            _drawn(facts),
            review,
            earlier,
            self._other_view(facts),
        )

    def _other_view(self, facts: _Facts) -> OtherView | None:
        found = beside.other_view(self._ledger, facts.review["id"])
        if found is None:
            return None
        loop, decided = found["loop"], found["review"]
        uids = (decided["result_sop_instance_uid"], decided["result_series_instance_uid"])
        named = [
            loop[name] for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid")
        ]
        if not all(named):  # what can't be named can't be rested on
            return None
        return OtherView(
            Reference(*named),
            (loop["number_of_frames"] or 1) > 1,
            decided["view"],
            Measures.from_dict(found["measures"]),
            decided["reviewer"],
            lineage.reference("sr", *uids).SOPInstanceUID,
        )

    def _rejection(self, facts: _Facts) -> Part10:
        replaced = lineage.replaced(self._ledger, facts.delivery)
        if not replaced:
            raise DeliveryError(
                "build a rejection note", "nothing was sent there", "Report it as a fault."
            )
        review = self._review(facts, lineage.note(facts.delivery))
        return rejection(facts.source, replaced, review)

    def _review(self, facts: _Facts, made: Reference) -> Review:
        at = datetime.fromisoformat(facts.review["at"].replace("Z", "+00:00"))
        return Review(
            SOPInstanceUID=made.SOPInstanceUID,
            SeriesInstanceUID=made.SeriesInstanceUID,
            reviewer=facts.review["reviewer"],
            research_use=bool(facts.analysis["research_use_only"]),
            created=at.astimezone(),
            station_name=self._station_name,
        )


_MODEL = ("model_name", "model_version", "model_sha256")
_STRUCTURE = ("label", "name", "code", "meaning", "colour")


def _drawn(facts: _Facts) -> Drawn:
    return Drawn(
        facts.loop,
        _reference("seg", facts),
        facts.indexes,
        facts.structures,
        facts.provenance,
        number(facts.source.dataset, "NumberOfFrames") > 1,
        facts.review["view"],
        facts.review["view_by"],
    )


def _reference(kind: str, facts: _Facts) -> Reference:
    return lineage.reference(kind, facts.delivery.result_uid, facts.delivery.series_uid)


def _found(row: Row | None) -> Row:
    if row is None:
        raise DeliveryError(
            "build a result",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return row
