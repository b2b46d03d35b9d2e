"""UIDs of what a review sends, and which of it was sent for earlier reviews.

Answers rest on rows that no longer change once the later review is recorded, so that a delivery
cut short builds the same object again.
"""

from collections.abc import Sequence

from appliance.errors import DeliveryError
from appliance.ledger import Ledger, result, worklist
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.sync import modules
from appliance.sync.document import Reference
from appliance.sync.form import PLAIN, Form
from appliance.uids import derived_uid

_RESULTS = ("seg", "sr", "overlay")
_STAYED = ("withdrawn", "refused")


def segmentations(
    result_uid: str, series_uid: str, labels: Sequence[int], form: Form = PLAIN
) -> tuple[Reference, ...]:
    """Return what names a review's segmentations in a form, in the order of their structures.

    Parameters
    ----------
    result_uid, series_uid
        Allocated with the review.
    labels
        Label value of each structure.
    form
        As it is sent.
    """
    series = form.derived(series_uid, "seg")
    purposes = [f"seg:{label}" for label in labels] if form.objects == "each" else ["seg"]
    return tuple(
        Reference(form.kind.SOPClassUID, form.derived(result_uid, purpose), series)
        for purpose in purposes
    )


def report(result_uid: str, series_uid: str, form: Form = PLAIN) -> Reference:
    """Return what names a review's report, which names its segmentations in that form."""
    purpose = "sr" if form == PLAIN else f"sr:{form.key}"
    return _other(modules.REPORT.SOPClassUID, result_uid, series_uid, purpose)


def overlay(result_uid: str, series_uid: str) -> Reference:
    """Return what names a review's overlay."""
    return _other(modules.OVERLAY.SOPClassUID, result_uid, series_uid, "overlay")


def bundle(result_uid: str, series_uid: str) -> Reference:
    """Return what names a review's FHIR bundle, which has no SOP class."""
    return _other("", result_uid, series_uid, "fhir")


def _other(SOPClassUID: str, result_uid: str, series_uid: str, purpose: str) -> Reference:
    uids = (derived_uid(result_uid, purpose), derived_uid(series_uid, purpose))
    return Reference(SOPClassUID, *uids)


def note(delivery: Delivery) -> Reference:
    """Return what names a rejection note: one for each destination, since each has its own."""
    purpose = f"rejection:{delivery.destination}"
    uids = (derived_uid(delivery.result_uid, purpose), derived_uid(delivery.series_uid, purpose))
    return Reference(modules.KEY_OBJECTS.SOPClassUID, *uids)


def predecessor(ledger: Ledger, delivery: Delivery, form: Form) -> Reference | None:
    """Return the newest report of an earlier review of the loop that left for any destination.

    Of those that left in several forms the one in this report's own, or else the first by name:
    the same wherever this report goes.
    """
    reports = [row for row in _left(ledger, delivery) if row["kind"] == "sr"]
    if not reports:
        return None
    newest = max(map(_review, reports))
    known = result.forms(ledger, delivery.seq)
    forms = {key for row in reports if _review(row) == newest for key in _forms_of(known, row)}
    chosen = form.key if form.key in forms else min(forms)
    review = _reviews(ledger, delivery)[newest]
    return report(*_uids(review), Form.parse(chosen))


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
    reviews, known = _reviews(ledger, delivery), result.forms(ledger, delivery.seq)
    found: list[Reference] = []
    for row in sorted(rows, key=_review):
        review = reviews[row["review_id"]]
        if row["kind"] == "overlay":
            found.append(overlay(*_uids(review)))
            continue
        for key in _forms_of(known, row):
            form = Form.parse(key)
            if row["kind"] == "sr":
                found.append(report(*_uids(review), form))
            else:
                found += segmentations(*_uids(review), _labels(ledger, review), form)
    return found


def _forms_of(known: dict[result.Key, list[str]], row: Row) -> list[str]:
    # Those that left before forms were written down left in the plain one.
    return known.get((row["review_id"], row["destination"]), [PLAIN.key])


def _reviews(ledger: Ledger, delivery: Delivery) -> dict[int, Row]:
    return {review["id"]: review for review in worklist.reviews(ledger, delivery.seq)}


def _uids(review: Row) -> tuple[str, str]:
    return review["result_sop_instance_uid"], review["result_series_instance_uid"]


def _labels(ledger: Ledger, review: Row) -> list[int]:
    analysis = worklist.analysis(ledger, review["analysis_id"])
    if analysis is None:
        raise DeliveryError(
            "build a rejection note",
            "the ledger doesn't hold what the review names",
            "Restore the ledger from its backup.",
        )
    return [item["label"] for item in analysis["labels"]]
