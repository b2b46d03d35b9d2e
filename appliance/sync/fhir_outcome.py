"""Why a FHIR server took no bundle (OperationOutcome), in words that can't name a patient.

What a server writes in its own words may quote the patient it looked at. Told are codes, places in
the bundle, and of its sentences the words that stand in the list below or name elements of FHIR.
"""

import json
import re
from typing import Any

from appliance.fhir_client import Resource

_MOST = 3  # issues told
_LONGEST = 240  # characters of an issue
_CODE = re.compile(r"[a-z][a-z-]{0,30}")
_PLACE = re.compile(r"[A-Za-z][A-Za-z.]*(\[\d+\]|\.[A-Za-z]+)*")
_WORD = re.compile(r"[A-Za-z]+(?:-\d{2,5})?")
_SENTENCES = """
a an and allowed already any are as at be because been but by can cannot constraint could data did
does duplicate element error exactly exceeds exist exists expected failed field for found has have
identifier in index internal invalid is it mandatory match matches maximum may minimum missing more
multiple must no none not of on one only or parse part patient perform permitted profile property
reference request required resolve resource rule search server should size specified store
supported system than that the this to too transaction type unable unexpected unknown unrecognized
unresolved unsupported update url validation value was were with
"""
_FHIR = """
Bundle DiagnosticReport ImagingSelection ImagingStudy Observation OperationOutcome Patient
ServiceRequest FHIR HAPI HL7 LOINC SNOMED UCUM URI UUID JSON R4 R4B R5
"""
_PLAIN, _KINDS = frozenset(_SENTENCES.split()), frozenset(_FHIR.split())


def reason(outcome: Resource, bundle: bytes) -> str:
    """Return what an OperationOutcome says, to go behind "answers 422"; "" of anything else.

    Parameters
    ----------
    outcome
        What the server answered.
    bundle
        What it was sent; the names of its elements may be told.
    """
    if outcome.get("resourceType") != "OperationOutcome":
        return ""
    known = _KINDS | _names(json.loads(bundle))
    issues = [item for item in outcome.get("issue") or [] if isinstance(item, dict)]
    grave = [item for item in issues if item.get("severity") in ("fatal", "error")] or issues
    told = [text for item in grave[:_MOST] if (text := _issue(item, known))]
    return f": {'; '.join(told)}" if told else ""


def _issue(issue: Resource, known: frozenset[str]) -> str:
    code = str(issue.get("code", ""))
    parts = [code] if _CODE.fullmatch(code) else []
    places = issue.get("expression") or issue.get("location") or []
    if isinstance(places, list):
        parts += [at for at in map(str, places[:1]) if _PLACE.fullmatch(at) and len(at) < 100]
    details = issue.get("details")
    said = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else "")
    if words := _sentence(str(said or ""), known):
        parts.append(f'"{words}"')
    return " ".join(parts)[:_LONGEST]


def _sentence(text: str, known: frozenset[str]) -> str:
    """The words of a sentence that say nothing about anybody; a gap is shown as "…"."""
    found: list[str] = []
    for word in _WORD.findall(text[:2000]):
        stem, _, number = word.partition("-")
        # A name can be a common word ("May"): lower case, or the name of an element.
        plain = word in known or word in _PLAIN or (not found and word.lower() in _PLAIN)
        if plain or (stem in ("HAPI",) and number):
            found.append(word)
        elif found[-1:] != ["…"]:
            found.append("…")
    return " ".join(found) if any(word != "…" for word in found) else ""


def _names(value: Any) -> frozenset[str]:
    """The names of a resource's elements, and of what is in them."""
    if isinstance(value, dict):
        return frozenset(value).union(*map(_names, value.values()))
    return frozenset().union(*map(_names, value)) if isinstance(value, list) else frozenset()
