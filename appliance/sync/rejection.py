"""The note that takes back what a later review replaced: Key Object Selection (PS3.3 A.35.4).

A PACS that follows IHE's Imaging Object Change Management hides what such a note names.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from appliance.part10 import Header
from appliance.sync import codes, modules
from appliance.sync.document import Reference, concept, document, observers
from appliance.sync.modules import Review
from appliance.sync.seg import Part10


def rejection(source: Header, rejected: Sequence[Reference], review: Review) -> Part10:
    """Build a rejection note (PS3.16 TID 2010).

    Parameters
    ----------
    source
        Header of the loop, as read.
    rejected
        Results of earlier reviews at the destination, at least one; segmentations and reports.
    review
        The later review: who, when, and the UIDs of the note.

    Raises
    ------
    DeliveryError
        When the source has no UIDs.
    """
    content = _content(rejected, review)
    return document(source, modules.KEY_OBJECTS, "Replaced results", content, rejected, review, {})


def _content(rejected: Sequence[Reference], review: Review) -> Dataset:
    from highdicom.ko import KeyObjectSelection

    person, device = observers(review)
    tree = KeyObjectSelection(
        document_title=concept(codes.REJECTED_FOR_QUALITY),
        referenced_objects=[_described(reference) for reference in rejected],
        observer_person_context=person,
        observer_device_context=device,
        description="Replaced by a later review.",
    )
    return tree[0]


def _described(reference: Reference) -> Dataset:
    """What highdicom wants to see of an object; size is how it knows an image."""
    described = Dataset()
    described.SOPClassUID = reference.SOPClassUID
    described.SOPInstanceUID = reference.SOPInstanceUID
    if reference.SOPClassUID != modules.REPORT.SOPClassUID:
        described.Rows = described.Columns = 1
    return described
