"""From a review in the ledger to the object that is delivered for it: the same one every time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from appliance import labels
from appliance.cine import open_cine
from appliance.errors import DeliveryError
from appliance.labels import LoopLabels
from appliance.ledger import Ledger, beside, result, worklist
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
from appliance.sync.form import PLAIN, Form
from appliance.sync.modules import Review
from appliance.sync.overlay import overlay
from appliance.sync.planes import OtherView
from appliance.sync.rejection import rejection
from appliance.sync.seg import Part10, segmentation
from appliance.sync.segments import Provenance, Structure
from appliance.sync.sr import report


class Overtaken(DeliveryError):
    """What a later decision tells may have arrived already, and must not be told over."""


@dataclass(frozen=True)
class _Facts:
    """What the ledger and the spool hold about a delivery's review, and the form it leaves in."""

    delivery: Delivery
    source: Header
    analysis: Row
    review: Row
    maps: LoopLabels
    form: Form

    @property
    def indexes(self) -> list[int]:
        # A frame that couldn't be decoded has no label map; an empty one would be a claim.
        return [index for index in range(self.maps.frames) if self.maps.has(index)]

    @property
    def written(self) -> list[int]:
        """Frames of the segmentation."""
        return self.form.indexes(self.indexes, self.measures.ed_frame, self.measures.es_frame)

    @property
    def uids(self) -> tuple[str, str]:
        return self.delivery.result_uid, self.delivery.series_uid

    @property
    def segmentations(self) -> tuple[Reference, ...]:
        labels = [structure.label for structure in self.structures]
        return lineage.segmentations(*self.uids, labels, self.form)

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
    forms
        Of segmentations, by the name of a destination; of those not named the plain one.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        station_name: str,
        releases: Mapping[str, Release] = MappingProxyType({}),
        forms: Mapping[str, Form] = MappingProxyType({}),
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._station_name = station_name
        self._releases = releases
        self._forms = forms

    def build(self, delivery: Delivery) -> Sequence[Part10]:
        """Return the objects of a delivery: `seg` (maybe several), `sr`, `overlay`, `fhir`, `rejection`.

        Raises
        ------
        DeliveryError
            When the ledger no longer holds what the review names, or it makes no object.
        SpoolError, Part10Error
            When the loop or its label maps can't be read from the spool.
        """
        kinds: Mapping[str, Callable[[_Facts], Part10 | list[Part10]]] = {
            "seg": self._segmentations,
            "sr": self._report,
            "overlay": self._overlay,
            "fhir": self._bundle,
            "rejection": self._rejection,
        }
        if delivery.kind not in kinds or delivery.review_id is None:
            raise DeliveryError(
                "build a result", f"a review makes no {delivery.kind}", "Report it as a fault."
            )
        made = kinds[delivery.kind](self._facts(delivery, delivery.review_id))
        return made if isinstance(made, list) else [made]

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
            self.form(delivery),
        )

    def form(self, delivery: Delivery) -> Form:
        """Return the form in which a delivery leaves; from its first try on the same one."""
        if delivery.kind not in ("seg", "sr"):
            return PLAIN
        wanted = self._forms.get(delivery.destination, PLAIN)
        return Form.parse(result.fix_form(self._ledger, delivery, wanted.key, PLAIN.key))

    def _segmentations(self, facts: _Facts) -> list[Part10]:
        each = facts.form.objects == "each"
        groups = [[one] for one in facts.structures] if each else [facts.structures]
        return [
            segmentation(
                facts.source,
                facts.maps.frame,
                facts.written,
                structures,
                facts.provenance,
                self._review(facts, made),
                form=facts.form,
                number=number,
            )
            for number, (structures, made) in enumerate(
                zip(groups, facts.segmentations, strict=True), 1
            )
        ]

    def _overlay(self, facts: _Facts) -> Part10:
        loop = _found(worklist.loop(self._ledger, facts.delivery.seq))
        review = self._review(facts, lineage.overlay(*facts.uids))
        with open_cine(self._spool.object_path(loop["sha256"])) as cine:
            return overlay(
                cine, facts.maps.frame, facts.indexes, facts.structures, facts.provenance, review
            )

    def _bundle(self, facts: _Facts) -> Part10:
        if result.is_overtaken(self._ledger, facts.delivery):
            raise Overtaken(
                "make a FHIR bundle",
                "a later decision's bundle takes its place",
                "Look at that one.",
            )
        told = Told(
            facts.source,
            facts.measures,
            _drawn(facts),
            self._review(facts, lineage.bundle(*facts.uids)),
            self._other_view(facts),
            rejected=facts.review["decision"] not in SENDING,
        )
        return as_object(told, self._releases.get(facts.delivery.destination, "R5"))

    def _report(self, facts: _Facts) -> Part10:
        earlier = lineage.predecessor(self._ledger, facts.delivery, facts.form)
        review = self._review(facts, lineage.report(*facts.uids, facts.form))
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
            lineage.report(*uids, facts.form).SOPInstanceUID,
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
        facts.segmentations,
        facts.written,
        facts.structures,
        facts.provenance,
        number(facts.source.dataset, "NumberOfFrames") > 1,
        facts.review["view"],
        facts.review["view_by"],
        facts.form.type == "LABELMAP",
    )


def _found(row: Row | None) -> Row:
    if row is None:
        raise DeliveryError(
            "build a result",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return row
