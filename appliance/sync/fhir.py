"""The result of a review as a FHIR bundle, for an interface engine or a FHIR server.

R5 names the frames by an ImagingSelection; R4B, which has none, the loop by an ImagingStudy. The
numbers are those of the structured report, with its codes. Every resource is put under an
identifier that belongs to the loop, so that a later decision takes the place of an earlier one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from appliance.errors import DeliveryError
from appliance.measures import Measures
from appliance.measures.chambers import LV
from appliance.part10 import Header, text
from appliance.sync import codes, findings, modules, planes
from appliance.sync.codes import Code
from appliance.sync.findings import Drawn, Quantity
from appliance.sync.modules import Review
from appliance.sync.planes import OtherView
from appliance.sync.seg import Part10
from appliance.uids import derived_uid

Release = Literal["R5", "R4B"]
Resource = dict[str, Any]

_SYSTEMS = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
}
_UID = "urn:dicom:uid"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
_HEART_BY_ULTRASOUND = Code("42148-7", "LN", "US Heart")
_ULTRASOUND = Code("US", "DCM", "Ultrasound")
_NOT_FOR_DIAGNOSIS = f"{modules.RESEARCH_USE_ONLY} - not for diagnosis"


@dataclass(frozen=True)
class Told:
    """What a bundle tells.

    Attributes
    ----------
    source
        Header of the loop, as read.
    measures, drawn, review
        As in the structured report.
    other
        The accepted loop of the other view, for what two planes give together.
    rejected
        True when the decision takes back what an earlier bundle told.
    """

    source: Header
    measures: Measures
    drawn: Drawn
    review: Review
    other: OtherView | None = None
    rejected: bool = False

    @property
    def status(self) -> str:
        """Of observations and report: for research only, nobody verified it (promise 13)."""
        if self.rejected:
            return "entered-in-error"
        return "preliminary" if self.review.research_use else "final"

    def value(self, keyword: str) -> str:
        """Return a value of the loop as text."""
        return text(self.source.dataset, keyword)

    def name(self, purpose: str) -> str:
        """Return the UID of a resource of this loop: the same in every bundle about it."""
        return derived_uid(self.drawn.loop.SOPInstanceUID, f"fhir:{purpose}")


class Bundle(Part10):
    """A bundle as the courier carries it: no Part 10 file, but whole, hashed and named alike."""

    suffix: ClassVar[str] = ".json"


def as_object(told: Told, release: Release) -> Part10:
    """Return `bundle` for the courier; its UIDs are the review's and the study's.

    Raises
    ------
    DeliveryError
        As `bundle`.
    """
    study = told.value("StudyInstanceUID")
    return Bundle.of(told.review.SOPInstanceUID, study, (bundle(told, release),))


def bundle(told: Told, release: Release = "R5") -> bytes:
    """Return a transaction bundle as UTF-8 JSON; the same decision gives the same bytes.

    Parameters
    ----------
    told
        What it is to tell.
    release
        R5 (5.0.0) or R4B (4.3.0).

    Raises
    ------
    DeliveryError
        When the loop has no PatientID: a result of nobody can't be filed.
    NothingToReport
        When the model draws other structures than the apical heart.
    """
    if not told.value("PatientID"):
        raise DeliveryError(
            "make a FHIR bundle",
            "the loop has no PatientID, so nobody could file its result",
            "Enter it at the machine, and send the loop again.",
        )
    told.drawn.measured(LV)
    images = _selection(told) if release == "R5" else _study(told)
    observations = [
        _observation(told, images, f"single:{item.concept.value}", item, told.measures.withheld)
        for _, item in findings.quantities(told.measures)
    ]
    if told.other is not None:
        found = planes.together(told.measures, told.drawn, told.other)
        observations += [
            _observation(told, images, f"biplane:{item.concept.value}", item, found.withheld)
            for item in planes.quantities(found)
        ]
    report = _report(told, images, observations, release)
    made: Resource = {
        "resourceType": "Bundle",
        "identifier": _identifier(told.review.SOPInstanceUID),
        "type": "transaction",
        "timestamp": _instant(told),
        "entry": [_entry(each) for each in (images, *observations, report)],
    }
    return json.dumps(made, ensure_ascii=False, indent=1).encode()


def _entry(resource: Resource) -> Resource:
    kind, identifier = resource["resourceType"], resource["identifier"][0]
    search = f"identifier={identifier['system']}|{identifier['value']}"
    # A hospital's own ImagingStudy is not ours to overwrite: it is made only where there is none.
    request = (
        {"method": "POST", "url": kind, "ifNoneExist": search}
        if kind == "ImagingStudy"
        else {"method": "PUT", "url": f"{kind}?{search}"}
    )
    return {"fullUrl": _full_url(resource), "resource": resource, "request": request}


def _selection(told: Told) -> Resource:
    loop, measures = told.drawn.loop, told.measures
    marks = [frame for frame in (measures.ed_frame, measures.es_frame) if frame is not None]
    instance: Resource = {"uid": loop.SOPInstanceUID, "sopClass": _sop_class(loop.SOPClassUID)}
    if told.drawn.multi_frame and marks:
        instance["subset"] = [str(frame + 1) for frame in sorted(set(marks))]
    return {
        "resourceType": "ImagingSelection",
        "identifier": [_identifier(told.name("selection"))],
        "status": "entered-in-error" if told.rejected else "available",
        "subject": _subject(told),
        "issued": _instant(told),
        "code": _concept(_SOURCE_OF_MEASUREMENT),
        "studyUid": told.value("StudyInstanceUID"),
        "seriesUid": loop.SeriesInstanceUID,
        "instance": [instance],
    }


def _study(told: Told) -> Resource:
    loop = told.drawn.loop
    instance = {"uid": loop.SOPInstanceUID, "sopClass": _sop_class(loop.SOPClassUID)}
    series = {
        "uid": loop.SeriesInstanceUID,
        "modality": _coding(_ULTRASOUND),
        "instance": [instance],
    }
    return {
        "resourceType": "ImagingStudy",
        "identifier": [_identifier(told.value("StudyInstanceUID"))],
        "status": "available",
        "subject": _subject(told),
        "series": [series],
    }


def _observation(
    told: Told, images: Resource, purpose: str, item: Quantity, withheld: Mapping[str, str]
) -> Resource:
    review = told.review
    notes = [_NOT_FOR_DIAGNOSIS] if review.research_use else []
    made: Resource = {
        "resourceType": "Observation",
        "identifier": [_identifier(told.name(purpose))],
        "status": told.status,
        "category": [{"coding": [_hl7("observation-category", "imaging", "Imaging")]}],
        "code": _concept(item.concept),
        "subject": _subject(told),
        **_taken(told),
        "issued": _instant(told),
        "derivedFrom": [{"reference": _full_url(images)}],
        "device": {"display": f"{modules.MANUFACTURER}, {_model(told)}"},
    }
    if item.value is None:
        made["dataAbsentReason"] = {
            "coding": [_hl7("data-absent-reason", "unknown", "Unknown")],
            "text": withheld.get(item.name) or "not measured",
        }
    else:
        made["valueQuantity"] = {
            "value": round(item.value, 2),
            "unit": item.unit.value,
            "system": _SYSTEMS["UCUM"],
            "code": item.unit.value,
        }
    if item.method is not None:
        made["method"] = _concept(item.method)
    if notes:
        made["note"] = [{"text": note} for note in notes]
    return made


def _report(
    told: Told, images: Resource, observations: list[Resource], release: Release
) -> Resource:
    review = told.review
    conclusion = f"{told.drawn.provenance.summary} by a reviewer; drawn by {_model(told)}"
    if review.research_use:
        conclusion = f"{_NOT_FOR_DIAGNOSIS}. {conclusion}"
    made: Resource = {
        "resourceType": "DiagnosticReport",
        "identifier": [_identifier(told.name("report"))],
        "status": told.status,
        "category": [{"coding": [_hl7("v2-0074", "CUS", "Cardiac Ultrasound")]}],
        "code": {
            "coding": [_coding(_HEART_BY_ULTRASOUND), _coding(codes.ECHOCARDIOGRAPHY)],
        },
        "subject": _subject(told),
        **_taken(told),
        "issued": _instant(told),
        "result": [{"reference": _full_url(each)} for each in observations],
        "conclusion": conclusion,
    }
    if accession := told.value("AccessionNumber"):
        kind = {"coding": [_hl7("v2-0203", "ACSN", "Accession ID")]}
        made["basedOn"] = [
            {"type": "ServiceRequest", "identifier": {"type": kind, "value": accession}}
        ]
    if review.reviewer:
        made["resultsInterpreter"] = [{"display": review.reviewer}]
    if release == "R5":
        study = _identifier(told.value("StudyInstanceUID"))
        made["study"] = [{"type": "ImagingStudy", "identifier": study}]
    else:
        made["imagingStudy"] = [{"reference": _full_url(images)}]
    return made


def _subject(told: Told) -> Resource:
    kind = {"coding": [_hl7("v2-0203", "MR", "Medical record number")]}
    identifier: Resource = {"type": kind, "value": told.value("PatientID")}
    if issuer := told.value("IssuerOfPatientID"):
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def _taken(told: Told) -> Resource:
    """When the loop was taken: to the day, since few machines tell their time zone."""
    day = told.value("ContentDate") or told.value("StudyDate")
    if len(day) != 8 or not day.isdigit():
        return {}
    return {"effectiveDateTime": f"{day[:4]}-{day[4:6]}-{day[6:]}"}


def _instant(told: Told) -> str:
    return told.review.created.isoformat(timespec="milliseconds")


def _model(told: Told) -> str:
    provenance = told.drawn.provenance
    return f"{provenance.model_name} {provenance.model_version}"


def _identifier(uid: str) -> Resource:
    return {"system": _UID, "value": f"urn:oid:{uid}"}


def _full_url(resource: Resource) -> str:
    name = f"{resource['resourceType']}:{resource['identifier'][0]['value']}"
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def _sop_class(uid: str) -> Resource:
    return {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{uid}"}


def _coding(code: Code) -> Resource:
    return {"system": _SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}


def _concept(code: Code) -> Resource:
    return {"coding": [_coding(code)], "text": code.meaning}


def _hl7(system: str, code: str, display: str) -> Resource:
    return {"system": f"{_HL7}/{system}", "code": code, "display": display}
