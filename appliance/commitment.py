"""What the box answers for: objects looked at again, byte for byte, and the report about them.

Storage Commitment Push Model (PS3.4 Annex J). The row alone is no answer: the file is read and
hashed once more before a cart is told that it may delete its own copy.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydicom.dataset import Dataset

from appliance.ledger import Ledger, commitment
from appliance.ledger.commitment import Outcome
from appliance.spool import Spool, hash_file

log = logging.getLogger("echocart.commitment")

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one, PS3.4 J.3.5

COMMITTED = 0
PROCESSING_FAILURE = 0x0110  # failure reasons, PS3.3 C.14.1.1
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types, PS3.4 J.3.3


def verify(ledger: Ledger, spool: Spool, items: Sequence[Outcome]) -> list[Outcome]:
    """Look at each object again; return the items with where it is and its failure reason.

    Parameters
    ----------
    ledger, spool
        The box's.
    items
        What a request names.

    Notes
    -----
    The newest object of a UID is the one that counts. One whose file was purged counts as
    committed when an archive has given it back with the same bytes.
    """
    return [verify_one(ledger, spool, item) for item in items]


def verify_one(ledger: Ledger, spool: Spool, item: Outcome) -> Outcome:
    """Look at one object again; see `verify`."""
    found = commitment.find(ledger, item.sop_instance_uid)
    if found is None:
        return replace(item, seq=None, reason=NO_SUCH_OBJECT_INSTANCE)
    if found["sop_class_uid"] != item.sop_class_uid:
        return replace(item, seq=found["seq"], reason=CLASS_INSTANCE_CONFLICT)
    try:
        whole = hash_file(spool.object_path(found["sha256"])) == found["sha256"]
        reason = COMMITTED if whole else PROCESSING_FAILURE
    except FileNotFoundError:
        reason = COMMITTED if found["archived"] else NO_SUCH_OBJECT_INSTANCE
    except OSError:
        reason = PROCESSING_FAILURE
    if reason != COMMITTED:
        log.error("object %d is no longer whole on disk: not committed", found["seq"])
    return replace(item, seq=found["seq"], reason=reason)


def report(transaction_uid: str, outcomes: Sequence[Outcome]) -> tuple[int, Dataset]:
    """Return event type and event information of the N-EVENT-REPORT (PS3.4 J.3.3.1).

    Parameters
    ----------
    transaction_uid
        As the request gave it.
    outcomes
        From `verify`.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    kept = [_reference(item) for item in outcomes if item.reason == COMMITTED]
    lost = [_failure(item) for item in outcomes if item.reason != COMMITTED]
    if kept:
        information.ReferencedSOPSequence = kept
    if lost:
        information.FailedSOPSequence = lost
    return SOME_FAILED if lost else ALL_COMMITTED, information


def request(transaction_uid: str, items: Iterable[tuple[str, str]]) -> Dataset:
    """Return the action information of an N-ACTION that asks for commitment (PS3.4 J.3.2.1).

    Parameters
    ----------
    transaction_uid
        A new one for each try.
    items
        (ReferencedSOPClassUID, ReferencedSOPInstanceUID) of each object.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_named_as(*item) for item in items]
    return information


def _named_as(SOPClassUID: str, SOPInstanceUID: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = SOPClassUID
    reference.ReferencedSOPInstanceUID = SOPInstanceUID
    return reference


def outcomes(information: Dataset) -> tuple[str, list[tuple[str, str, int]]]:
    """Read the event information of an N-EVENT-REPORT that came to us (PS3.4 J.3.3.1).

    Returns
    -------
    transaction_uid, outcomes
        (SOP class UID, SOP instance UID, failure reason; 0 for committed) of each object.

    Raises
    ------
    ValueError, AttributeError, TypeError
        When something is missing, or is no UID.
    """
    found = [(_named(item), COMMITTED) for item in information.get("ReferencedSOPSequence") or ()]
    for item in information.get("FailedSOPSequence") or ():
        reason = int(item.get("FailureReason") or PROCESSING_FAILURE)
        found.append((_named(item), reason))
    return plain_uid(information.TransactionUID), [(*names, reason) for names, reason in found]


def _named(item: Dataset) -> tuple[str, str]:
    return plain_uid(item.ReferencedSOPClassUID), plain_uid(item.ReferencedSOPInstanceUID)


def plain_uid(value: str) -> str:
    """Return a peer's UID as text.

    Raises
    ------
    ValueError
        When it isn't one. Not as strict as PS3.5 9.1: carts send what they call their objects.
    """
    if not re.fullmatch(r"[0-9.]{1,64}", value):
        raise ValueError("not a UID")
    return str(value)


def _reference(item: Outcome) -> Dataset:
    return _named_as(item.sop_class_uid, item.sop_instance_uid)


def _failure(item: Outcome) -> Dataset:
    failure = _reference(item)
    failure.FailureReason = item.reason
    return failure
