"""The report of a review: a Comprehensive SR by TID 1500 (PS3.3 A.35.3, PS3.16).

It says what was measured, on which frames, from which segments, and what was withheld and why.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance.measures import Measures
from appliance.part10 import Header
from appliance.sync import codes, modules, planes
from appliance.sync.carried import value_of
from appliance.sync.document import Reference, concept, document, hierarchy, observers
from appliance.sync.encode import Elements, element, encoded, joined, plain, sequence
from appliance.sync.findings import Drawn, groups
from appliance.sync.modules import Review
from appliance.sync.planes import OtherView
from appliance.sync.seg import Part10, reviewer_name
from appliance.sync.segments import subject

_VERIFYING_OBSERVER = int(Tag("VerifyingObserverSequence"))
_NAME = int(Tag("VerifyingObserverName"))


def report(
    source: Header,
    measures: Measures,
    drawn: Drawn,
    review: Review,
    predecessor: Reference | None = None,
    other: OtherView | None = None,
) -> Part10:
    """Build the report of a review.

    Parameters
    ----------
    source
        Header of the loop, as read: elements that were looked at before may lose their bytes.
    measures
        What counts: the correction's, else the model's.
    drawn
        What they were measured on.
    review
        Who decided, when, and the UIDs of the report.
    predecessor
        The report of an earlier review that left the box; this one replaces it.
    other
        The accepted loop of the other view, for what two planes give together.

    Raises
    ------
    DeliveryError
        When the source has no UIDs; a `NothingToReport` when the model draws no apical
        heart.
    """
    evidence = [drawn.loop, *drawn.segmentations, *([other.loop] if other else [])]
    status = _status(source.dataset, review)
    if predecessor is not None:
        earlier, study = Dataset(), value_of(source.dataset, "StudyInstanceUID")
        earlier.PredecessorDocumentsSequence = [hierarchy(study, [predecessor])]
        status |= encoded(earlier)
    content = _content(measures, drawn, review, other)
    summary = f"{subject(drawn.structures)}, report, {drawn.provenance.summary}"
    return document(source, modules.REPORT, summary, content, evidence, review, status)


def _content(measures: Measures, drawn: Drawn, review: Review, other: OtherView | None) -> Dataset:
    from highdicom.sr import MeasurementReport, ObservationContext

    person, device = observers(review)
    together = [planes.group(measures, drawn, other)] if other else []
    tree = MeasurementReport(
        observation_context=ObservationContext(person, device),
        procedure_reported=concept(codes.ECHOCARDIOGRAPHY),
        imaging_measurements=[*groups(measures, drawn), *together],
    )
    return tree[0]


def _status(source: Dataset, review: Review) -> Elements:
    """What the report is worth (PS3.3 C.17.2): for research only, nobody verified it."""
    dataset = Dataset()
    dataset.PerformedProcedureCodeSequence = []  # type 2: the machine's own codes don't fit
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY" if review.research_use else "FINAL"
    dataset.VerificationFlag = "UNVERIFIED" if review.research_use else "VERIFIED"
    verified = {} if review.research_use else {_VERIFYING_OBSERVER: _verifier(source, review)}
    return {**encoded(dataset), **verified}


def _verifier(source: Dataset, review: Review) -> bytes:
    observer = Dataset()
    observer.VerifyingOrganization = plain(review.station_name)[:64] or modules.MANUFACTURER
    observer.VerificationDateTime = review.created.strftime("%Y%m%d%H%M%S.%f%z")
    observer.VerifyingObserverIdentificationCodeSequence = []
    name = element(_NAME, "PN", reviewer_name(source, review.reviewer))
    return sequence(_VERIFYING_OBSERVER, [joined({**encoded(observer), _NAME: name})])
