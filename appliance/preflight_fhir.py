"""What a FHIR server says that it takes: its CapabilityStatement, read before anything is posted."""

from collections.abc import Iterator

import requests

from appliance.config import FhirPeer
from appliance.fhir_client import Client, Resource, SecretError
from appliance.preflight import Found, Line

_VERSIONS = {"R5": "5.", "R4B": "4."}  # what is R4B is read by servers of R4 too
_NEEDED = {
    "R5": ("ImagingSelection", "Observation", "DiagnosticReport"),
    "R4B": ("ImagingStudy", "Observation", "DiagnosticReport"),
}
_ANSWER_S = 30.0


def client_of(item: FhirPeer, answer_s: float | None = None) -> Client:
    """Return who asks a server."""
    secrets = (item.user, item.password_file, item.token_file)
    return Client(item.url, *secrets, item.ca_file, answer_s=answer_s or item.answers_within_s)


def look(item: FhirPeer, store: bool) -> Found:
    """Try a FHIR server out; see `preflight.examine`."""
    problem, said = _asked(item)
    if problem:
        yield Line("no", problem)
        return
    yield Line("ok", f"{item.url} answers in FHIR {said.get('fhirVersion', '')}".rstrip())
    secure = item.url.startswith("https://")
    yield Line("ok" if secure else "note", "TLS" if secure else "no TLS: the line isn't secret")
    yield from _release(item, str(said.get("fhirVersion", "")))
    yield from _takes(item, said)
    if store:
        yield Line("note", "no test object: a bundle would stay in the records")


def problem_of(item: FhirPeer) -> str | None:
    """Say what is wrong with a server, by asking what it can do; None when nothing is."""
    return _asked(item)[0] or None


def _asked(item: FhirPeer) -> tuple[str, Resource]:
    try:
        answer = client_of(item, _ANSWER_S).metadata()
    except SecretError as error:
        return f"{error.subject}. {error.hint.rstrip('.')}", {}
    except requests.exceptions.SSLError:
        words = "shows a certificate that isn't trusted here, or speaks no TLS on this port"
        return f"{item.url} {words}. Name its authority's certificate in ca_file", {}
    except (requests.RequestException, OSError) as error:
        return f"{item.url} gives no answer ({type(error).__name__}). Does it run?", {}
    if answer.status in (401, 403):
        return f"{item.url} refuses the user or the token. Correct them", {}
    if answer.resource.get("resourceType") != "CapabilityStatement":
        return f"{item.url} is no FHIR server ({answer.status} to /metadata). Correct url", {}
    return "", answer.resource


def _release(item: FhirPeer, version: str) -> Found:
    if not version or version.startswith(_VERSIONS[item.fhir]):
        return
    yield Line("no", f"speaks FHIR {version}, and fhir is {item.fhir!r}")
    for release, start in _VERSIONS.items():
        if version.startswith(start):
            yield f'fhir = "{release}"'


def _takes(item: FhirPeer, said: Resource) -> Found:
    interactions, kinds = set[str](), set[str]()
    for rest in _items(said, "rest"):
        interactions |= {str(each.get("code")) for each in _items(rest, "interaction")}
        kinds |= {str(each.get("type")) for each in _items(rest, "resource")}
    if "transaction" in interactions:
        yield Line("ok", "takes transactions")
    else:
        yield Line("note", "doesn't say that it takes transactions, which bundles need")
    missing = [kind for kind in _NEEDED[item.fhir] if kind not in kinds]
    if missing:
        yield Line("no", f"takes no {', '.join(missing)}")
        if item.fhir == "R5" and missing == ["ImagingSelection"] and "ImagingStudy" in kinds:
            yield 'fhir = "R4B"'
    else:
        yield Line("ok", f"takes {', '.join(_NEEDED[item.fhir])}")


def _items(resource: Resource, name: str) -> Iterator[Resource]:
    found = resource.get(name)
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()
