"""The review record: how a decision came about, as a Comprehensive SR beside the drawings.

No template of PS3.16 is about judging a model's drawing, so its content is a flat list under a
title of our own coding scheme; the standard's codes stand where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from appliance.ledger.upstream import Facts
from appliance.part10 import Header
from appliance.sync import codes, modules
from appliance.sync.codes import Code
from appliance.sync.deidentify import Machine
from appliance.sync.document import Reference, document
from appliance.sync.encode import Elements, Item, encoded, plain
from appliance.sync.modules import Review
from appliance.sync.seg import Part10
from appliance.sync.segments import Provenance

SCHEME = "99ECHOCART"
TITLE = Code("review", SCHEME, "Review of a model's drawing")
DECISION = Code("decision", SCHEME, "Decision")
ROLE = Code("role", SCHEME, "Reviewer's role")
SECONDS = Code("seconds", SCHEME, "Time on the screen until the decision")
STROKES = Code("strokes", SCHEME, "Steps of drawing")
CHANGED = Code("changed-frames", SCHEME, "Frames changed")
REASON = Code("reason", SCHEME, "Reason")
ENGINE = Code("engine", SCHEME, "Inference engine")
PRECISION = Code("precision", SCHEME, "Inference precision")
SCANNER_SOFTWARE = Code("scanner-software", SCHEME, "Software version of the ultrasound machine")
DECISIONS = {
    "accepted": Code("accepted", SCHEME, "Accepted as drawn"),
    "corrected": Code("corrected", SCHEME, "Corrected"),
}
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
SCANNER_MANUFACTURER = Code("113878", "DCM", "Device Manufacturer")
SCANNER_MODEL = Code("113879", "DCM", "Device Model Name")
SECOND, UNITY = Code("s", "UCUM", "second"), Code("1", "UCUM", "no units")

# A reason that a person typed may name somebody: only the page's own sentences are told.
REASONS = (
    "Confirms the correction made before.",
    "Wrong contours, no time to correct",
    "Poor image",
    "Wrong view",
    "Wrong patient",
    "Not needed",
)
_PRECISION_OF = {"f32", "f16", "bf16", "int8"}
_ENGINES = {"openvino", "onnxruntime", "tensorrt"}
_OTHER = "other"


@dataclass(frozen=True)
class Account:
    """What a review record tells.

    Attributes
    ----------
    decision
        "accepted" or "corrected".
    facts
        Role, time and strokes.
    reason
        As stored; told only when it is one of `REASONS`.
    changed
        How many frames differ from the model's.
    provenance
        The model.
    engine, precision
        What computed its answer.
    scanner, software
        Make, model and version numbers of the echo machine, already in words that may be told.
    objects
        The study's loop and segmentations.
    """

    decision: str
    facts: Facts
    reason: str
    changed: int
    provenance: Provenance
    engine: str
    precision: str
    scanner: Machine
    software: Sequence[str]
    objects: Sequence[Reference]


def record(source: Header, account: Account, review: Review, more: Elements) -> Part10:
    """Build a review record.

    Parameters
    ----------
    source
        Header of the loop as it leaves; patient and study are taken from it.
    account
        What is told.
    review
        The record's UIDs; without a reviewer's name.
    more
        Further elements, or others in place of these.

    Raises
    ------
    DeliveryError
        When the source has no UIDs.
    """
    status = Item()
    status.PerformedProcedureCodeSequence = []
    status.CompletionFlag, status.VerificationFlag = "COMPLETE", "UNVERIFIED"
    status.CodingSchemeIdentificationSequence = [_scheme()]
    content = _content(account)
    elements = {**encoded(status), **more}
    summary = f"Review of {account.provenance.model_name}"
    return document(source, modules.REPORT, summary, content, account.objects, review, elements)


def values_of(dataset: Dataset) -> dict[str, str | float]:
    """Return what a review record says, by the code values of its concepts.

    Examples
    --------
    >>> values_of(pydicom.dcmread(path))["engine"]
    'openvino'
    """
    found: dict[str, str | float] = {}
    for item in dataset.ContentSequence:
        if item.ValueType == "IMAGE":
            continue
        name = str(item.ConceptNameCodeSequence[0].CodeValue)
        if item.ValueType == "NUM":
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "CODE":
            found[name] = str(item.ConceptCodeSequence[0].CodeValue)
        else:
            found[name] = str(item.TextValue)
    return found


def _scheme() -> Item:
    """PS3.3 C.12.1.1.7: whose codes these are."""
    dataset = Item()
    dataset.CodingSchemeDesignator = SCHEME
    dataset.CodingSchemeName = "Concepts of Echocart's review records"
    dataset.CodingSchemeResponsibleOrganization = modules.MANUFACTURER
    return dataset


def _content(account: Account) -> Item:
    root = Item()
    root.ValueType = "CONTAINER"
    root.ConceptNameCodeSequence = [codes.item(TITLE)]
    root.ContinuityOfContent = "SEPARATE"
    numbers: Mapping[Code, tuple[int | None, Code]] = {
        SECONDS: (account.facts.seconds, SECOND),
        STROKES: (account.facts.strokes, UNITY),
        CHANGED: (account.changed, UNITY),
    }
    root.ContentSequence = [
        _code(DECISION, DECISIONS[account.decision]),
        *(_text(name, text) for name, text in _texts(account).items() if text),
        *(_number(name, *value) for name, value in numbers.items() if value[0] is not None),
        *(_image(reference) for reference in account.objects),
    ]
    return root


def _texts(account: Account) -> dict[Code, str]:
    model, reason = account.provenance, account.reason
    return {
        ROLE: account.facts.role,
        REASON: reason if reason in REASONS or not reason else _OTHER,
        ALGORITHM_NAME: model.model_name,
        ALGORITHM_VERSION: model.model_version,
        ALGORITHM_PARAMETERS: f"sha256={model.model_sha256}",
        ENGINE: account.engine if account.engine in _ENGINES else _OTHER,
        PRECISION: account.precision if account.precision in _PRECISION_OF else _OTHER,
        SCANNER_MANUFACTURER: account.scanner.Manufacturer,
        SCANNER_MODEL: account.scanner.ManufacturerModelName,
        SCANNER_SOFTWARE: " ".join(account.software),
    }


def _item(value_type: str, name: Code | None) -> Item:
    item = Item()
    item.RelationshipType, item.ValueType = "CONTAINS", value_type
    if name is not None:
        item.ConceptNameCodeSequence = [codes.item(name)]
    return item


def _text(name: Code, text: str) -> Item:
    item = _item("TEXT", name)
    item.TextValue = plain(text)
    return item


def _code(name: Code, value: Code) -> Item:
    item = _item("CODE", name)
    item.ConceptCodeSequence = [codes.item(value)]
    return item


def _number(name: Code, value: int | None, unit: Code) -> Item:
    item, measured = _item("NUM", name), Item()
    measured.MeasurementUnitsCodeSequence = [codes.item(unit)]
    measured.NumericValue = str(value)
    item.MeasuredValueSequence = [measured]
    return item


def _image(reference: Reference) -> Item:
    item, sop = _item("IMAGE", None), Item()
    sop.ReferencedSOPClassUID = reference.SOPClassUID
    sop.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    item.ReferencedSOPSequence = [sop]
    return item
