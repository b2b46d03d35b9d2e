"""What a structured report and a key object note have alike: everything but what they say.

The content is made by highdicom; the modules around it are written here, because patient and
study are taken over byte for byte, and because the same review must give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance import __version__
from appliance.part10 import Header
from appliance.sync import modules
from appliance.sync.carried import patient_and_study, value_of
from appliance.sync.codes import Code
from appliance.sync.encode import Elements, Item, encoded, joined, plain
from appliance.sync.modules import Kind, Review
from appliance.sync.seg import Part10, must_have_uids, reviewer_name
from appliance.uids import derived_uid

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, ObserverContext

_PERSON_NAME = Tag(0x0040, 0xA123)
_STAND_IN = "Reviewer^"  # until the name is put in, in the source's character set


@dataclass(frozen=True)
class Reference:
    """An object that a document names, and the series it is in."""

    SOPClassUID: str
    SOPInstanceUID: str
    SeriesInstanceUID: str


def document(
    source: Header,
    kind: Kind,
    summary: str,
    content: Dataset | Item,
    evidence: Sequence[Reference],
    review: Review,
    more: Elements,
) -> Part10:
    """Put a document together (PS3.3 A.35.3, A.35.4).

    Parameters
    ----------
    source
        Header of the loop, as read.
    kind, summary
        What it is: SOP class, and a few words for SeriesDescription.
    content
        Its root content item, with the observers of `observers`.
    evidence
        Every object of the study that the content names.
    review
        Who decided, when, and the UIDs of this document.
    more
        Elements that only this kind of document has.

    Raises
    ------
    DeliveryError
        When the source has no UIDs.
    """
    must_have_uids(source.dataset)
    study = value_of(source.dataset, "StudyInstanceUID")
    if isinstance(content, Dataset):  # else it is one of ours, which names nobody
        _name_reviewer(content, reviewer_name(source.dataset, review.reviewer))
    general = Item()
    # Type 2: no Modality Performed Procedure Step made this.
    general.ReferencedPerformedProcedureStepSequence = []
    general.CurrentRequestedProcedureEvidenceSequence = [hierarchy(study, evidence)]
    elements = {
        **patient_and_study(source.dataset, source.little_endian),
        **encoded(modules.series(source.dataset, summary, review, kind)),
        **encoded(modules.equipment(review)),
        **encoded(general),
        **encoded(content),
        **more,
    }
    file = modules.preamble(review, kind) + joined(elements)
    return Part10.of(review.SOPInstanceUID, study, (file,))


def hierarchy(StudyInstanceUID: str, references: Sequence[Reference]) -> Dataset:
    """Return references by study and series (PS3.3 C.17.2.1), in the order they are given."""
    study = Dataset()
    study.StudyInstanceUID = StudyInstanceUID
    by_series: dict[str, list[Reference]] = {}
    for reference in references:
        by_series.setdefault(reference.SeriesInstanceUID, []).append(reference)
    study.ReferencedSeriesSequence = []
    for uid, members in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [_instance(member) for member in members]
        study.ReferencedSeriesSequence.append(series)
    return study


def _instance(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.SOPClassUID
    item.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    return item


def concept(code: Code) -> CodedConcept:
    """Return a code of ours as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def observers(review: Review) -> tuple[ObserverContext, ObserverContext]:
    """Return who observed: the person, and this box (PS3.16 TID 1001 to 1004)."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    station = plain(review.station_name) or modules.MANUFACTURER
    person = PersonObserverIdentifyingAttributes(name=_STAND_IN)
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid(modules.MANUFACTURER, f"device:{station}"),
        name=station,
        manufacturer_name=modules.MANUFACTURER,
        model_name=f"{modules.MANUFACTURER} {__version__}",
        serial_number=station,
    )
    return ObserverContext(codes.DCM.Person, person), ObserverContext(codes.DCM.Device, device)


def _name_reviewer(item: Dataset, name: bytes) -> None:
    """Put the reviewer's name into the content, as bytes that pydicom writes as they are."""
    name += b" " * (len(name) % 2)
    for child in item.get("ContentSequence", []):
        if child.ValueType == "PNAME":
            raw: Any = RawDataElement(_PERSON_NAME, "PN", len(name), name, 0, False, True)
            child[_PERSON_NAME] = raw
