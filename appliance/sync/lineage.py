"""UIDs of what a review sends, and which of it was sent for earlier reviews.

Answers rest on rows that no longer change once the later review is recorded, so that a delivery
cut short builds the same object again.
"""

from appliance.ledger import Ledger, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.sync import modules
from appliance.sync.document import Reference
from appliance.uids import derived_uid

_RESULTS = ("seg", "sr", "overlay")
_SOP_CLASSES = {"sr": modules.REPORT.SOPClassUID, "overlay": modules.OVERLAY.SOPClassUID}
_STAYED = ("withdrawn", "refused")


def reference(kind: str, result_uid: str, series_uid: str) -> Reference:
    """Return what names a review's segmentation (`seg`), report (`sr`), `overlay` or `fhir` bundle."""
    if kind == "seg":
        return Reference(modules.SEGMENTATION.SOPClassUID, result_uid, series_uid)
    uids = (derived_uid(result_uid, kind), derived_uid(series_uid, kind))
    return Reference(_SOP_CLASSES.get(kind, ""), *uids)


def note(delivery: Delivery) -> Reference:
    """Return what names a rejection note: one for each destination, since each has its own."""
    purpose = f"rejection:{delivery.destination}"
    uids = (derived_uid(delivery.result_uid, purpose), derived_uid(delivery.series_uid, purpose))
    return Reference(modules.KEY_OBJECTS.SOPClassUID, *uids)


def predecessor(ledger: Ledger, delivery: Delivery) -> Reference | None:
    """Return the newest report of an earlier review of the loop that left for any destination."""
    reports = [row for row in _left(ledger, delivery) if row["kind"] == "sr"]
    if not reports:
        return None
    return _references(ledger, delivery, [max(reports, key=_review)])[0]


def replaced(ledger: Ledger, delivery: Delivery) -> list[Reference]:
    """Return what of earlier reviews lies at the delivery's destination and stands.

    What an earlier note there names is no longer asked for.
    """
    here = [
        row
        for row in worklist.deliveries(ledger, delivery.seq)
        if row["destination"] == delivery.destination and _is_earlier(row, delivery)
    ]
    notes = [
        row["review_id"]
        for row in here
        if row["kind"] == "rejection" and row["state"] not in _STAYED
    ]
    results = [
        row for row in here if row["kind"] in _RESULTS and row["review_id"] >= max(notes, default=0)
    ]
    # One that was tried and then withdrawn may have arrived all the same.
    arrived = [row for row in results if row["state"] not in _STAYED or row["tries"]]
    return _references(ledger, delivery, arrived)


def _left(ledger: Ledger, delivery: Delivery) -> list[Row]:
    """Results of earlier reviews that left, or were leaving when this one was recorded."""
    return [
        row
        for row in worklist.deliveries(ledger, delivery.seq)
        if row["kind"] in _RESULTS and row["state"] not in _STAYED and _is_earlier(row, delivery)
    ]


def _is_earlier(row: Row, delivery: Delivery) -> bool:
    review, this = row["review_id"], delivery.review_id
    return review is not None and this is not None and review < this


def _review(row: Row) -> int:
    return int(row["review_id"])


def _references(ledger: Ledger, delivery: Delivery, rows: list[Row]) -> list[Reference]:
    reviews = {review["id"]: review for review in worklist.reviews(ledger, delivery.seq)}
    uids = ("result_sop_instance_uid", "result_series_instance_uid")
    return [
        reference(row["kind"], *(reviews[row["review_id"]][name] for name in uids))
        for row in sorted(rows, key=_review)
    ]
