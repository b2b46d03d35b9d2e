"""From a review in the ledger to the object that is delivered for it: the same one every time."""

from datetime import datetime
from functools import cache
from typing import Literal

from appliance import labels
from appliance.errors import DeliveryError, ManifestError
from appliance.ledger import Ledger, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.manifest import current_model
from appliance.part10 import read_header
from appliance.spool import Spool
from appliance.sync.modules import Review
from appliance.sync.seg import Part10, segmentation
from appliance.sync.segments import Provenance, Structure


class Results:
    """Builds results from what the ledger and the spool hold.

    Parameters
    ----------
    ledger, spool
        The box's.
    station_name
        Named in every result.
    """

    def __init__(self, ledger: Ledger, spool: Spool, station_name: str) -> None:
        self._ledger = ledger
        self._spool = spool
        self._station_name = station_name

    def build(self, delivery: Delivery) -> Part10:
        """Return the segmentation of a delivery's review.

        Raises
        ------
        DeliveryError
            When the ledger no longer holds what the review names, or it makes no object.
        SpoolError, Part10Error
            When the loop or its label maps can't be read from the spool.
        """
        loop = _found(worklist.loop(self._ledger, delivery.seq))
        review = _found(worklist.review(self._ledger, delivery.review_id))
        analysis = _found(worklist.analysis(self._ledger, review["analysis_id"]))
        maps = labels.of_review(self._ledger, self._spool, delivery.review_id)
        return segmentation(
            read_header(self._spool.object_path(loop["sha256"])),
            maps.frame,
            # A frame that couldn't be decoded has no label map; an empty one would be a claim.
            [index for index in range(maps.frames) if maps.has(index)],
            [Structure(**{name: item[name] for name in _STRUCTURE}) for item in analysis["labels"]],
            _provenance(analysis, review),
            self._review(delivery, analysis, review),
        )

    def _review(self, delivery: Delivery, analysis: Row, review: Row) -> Review:
        at = datetime.fromisoformat(review["at"].replace("Z", "+00:00"))
        return Review(
            SOPInstanceUID=delivery.sop_instance_uid,
            SeriesInstanceUID=delivery.series_instance_uid,
            reviewer=review["reviewer"],
            research_use=_research_use(analysis["model_name"], analysis["model_version"]),
            created=at.astimezone(),
            station_name=self._station_name,
        )


_STRUCTURE = ("label", "name", "code", "meaning", "colour")


def _provenance(analysis: Row, review: Row) -> Provenance:
    corrected = review["decision"] == "corrected"
    kind: Literal["AUTOMATIC", "SEMIAUTOMATIC"] = "SEMIAUTOMATIC" if corrected else "AUTOMATIC"
    model = (analysis["model_name"], analysis["model_version"], analysis["model_sha256"])
    return Provenance(*model, kind)


@cache
def _research_use(name: str, version: str) -> bool:
    try:
        return current_model(f"{name}-{version}").research_use_only
    except ManifestError:
        # The model is gone from this box: when in doubt, it is for research only.
        return True


def _found(row: Row | None) -> Row:
    if row is None:
        raise DeliveryError(
            "build a result",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return row
