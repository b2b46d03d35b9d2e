"""The FHIR bundle as fhir.resources, which knows the specification, reads it."""

import importlib
import json
from datetime import datetime, timezone

import pytest

from appliance.errors import DeliveryError
from appliance.measures import Measures
from appliance.part10 import read_header
from appliance.sync import codes
from appliance.sync.document import Reference
from appliance.sync.fhir import Told, bundle
from appliance.sync.findings import NothingToReport
from appliance.sync.folder import Folder
from appliance.sync.planes import OtherView
from appliance.sync.segments import Structure
from tests.sync.material import a_review, some_measures, write_source
from tests.sync.office import Office
from tests.sync.test_sr import NO_SCALE, drawn

RELEASES = {"R5": "fhir.resources.bundle", "R4B": "fhir.resources.R4B.bundle"}
OTHER = OtherView(
    Reference("1.2.840.10008.5.1.4.1.1.3.1", "2.25.77", "2.25.78"),
    True,
    "A2C",
    Measures.from_dict(some_measures()),
    "BL",
    "2.25.79",
)


def told(source, review=None, other=None, rejected=False, shown=None, **changed):
    measures = Measures.from_dict(some_measures(**changed))
    found = shown or drawn(source)
    return Told(read_header(source), measures, found, review or a_review(3), other, rejected)


def read(data, release="R5"):
    """Validate a bundle; return its resources by kind."""
    kind = importlib.import_module(RELEASES[release]).Bundle
    found = kind.model_validate_json(data)
    by_kind = {}
    for entry in found.entry:
        by_kind.setdefault(type(entry.resource).__name__, []).append(entry.resource)
    return by_kind


def value(observations, code):
    (one,) = [each for each in observations if each.code.coding[0].code == code.value]
    return one


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source.dcm", AccessionNumber="A-17", IssuerOfPatientID="KSSG")


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_sound_and_tells_the_numbers_of_the_report(source, release):
    found = read(bundle(told(source), release), release)
    ef = value(found["Observation"], codes.EJECTION_FRACTION)
    assert float(ef.valueQuantity.value) == 58.3
    assert (ef.valueQuantity.code, ef.valueQuantity.system) == ("%", "http://unitsofmeasure.org")
    assert ef.method.coding[0].code == codes.DISKS.value
    assert float(value(found["Observation"], codes.END_DIASTOLIC_VOLUME).valueQuantity.value) == (
        101.5
    )
    (report,) = found["DiagnosticReport"]
    assert len(report.result) == len(found["Observation"])
    assert report.basedOn[0].identifier.value == "A-17"
    assert report.subject.identifier.value == "P1"
    assert report.subject.identifier.assigner.display == "KSSG"


def test_for_research_only_everything_is_preliminary_and_says_so(source):
    found = read(bundle(told(source)))
    (report,) = found["DiagnosticReport"]
    assert {each.status for each in [report, *found["Observation"]]} == {"preliminary"}
    assert report.conclusion.startswith("RESEARCH USE ONLY")
    released = read(bundle(told(source, a_review(3, research_use=False))))
    assert {each.status for each in released["Observation"]} == {"final"}
    assert "RESEARCH" not in str(released)


def test_what_is_withheld_has_no_value_and_its_reason(source):
    measures = dict.fromkeys(NO_SCALE)
    found = read(bundle(told(source, withheld=NO_SCALE, area_unit="px", **measures)))
    volume = value(found["Observation"], codes.END_DIASTOLIC_VOLUME)
    assert volume.valueQuantity is None
    assert volume.dataAbsentReason.text == NO_SCALE["edv_ml"]
    assert value(found["Observation"], codes.EJECTION_FRACTION).valueQuantity is not None


def test_r5_names_the_frames_that_were_measured_and_r4b_the_loop(source):
    loop = drawn(source).loop
    (selection,) = read(bundle(told(source)))["ImagingSelection"]
    assert selection.instance[0].uid == loop.SOPInstanceUID
    assert selection.instance[0].subset == ["3", "6"]
    (study,) = read(bundle(told(source), "R4B"), "R4B")["ImagingStudy"]
    assert study.series[0].instance[0].uid == loop.SOPInstanceUID


def test_a_hospitals_own_study_is_never_overwritten(source):
    entries = json.loads(bundle(told(source), "R4B"))["entry"]
    methods = {each["resource"]["resourceType"]: each["request"]["method"] for each in entries}
    assert methods == {"ImagingStudy": "POST", "Observation": "PUT", "DiagnosticReport": "PUT"}
    assert "ifNoneExist" in entries[0]["request"]


def test_a_later_decision_takes_the_place_of_the_earlier_one(source):
    later = a_review(4, created=datetime(2026, 11, 20, 23, 0, tzinfo=timezone.utc))
    first, second, taken_back = (
        json.loads(bundle(each))
        for each in (
            told(source),
            told(source, later, ef_percent=40.0),
            told(source, later, rejected=True),
        )
    )
    requests = [[each["request"]["url"] for each in one["entry"]] for one in (first, second)]
    assert requests[0] == requests[1]
    assert first["identifier"] != second["identifier"]
    status = {each["resource"]["status"] for each in taken_back["entry"]}
    assert status == {"entered-in-error"}


def test_two_planes_are_told_beside_the_one(source, tmp_path):
    found = drawn(source)
    found = type(found)(**{**vars(found), "view": "A4C"})
    observations = read(bundle(told(source, other=OTHER, shown=found)))["Observation"]
    efs = [
        each for each in observations if each.code.coding[0].code == codes.EJECTION_FRACTION.value
    ]
    assert {each.method.coding[0].code for each in efs} == {
        codes.DISKS.value,
        codes.BIPLANE_DISKS.value,
    }
    names = [each.identifier[0].value for each in observations]
    assert len(set(names)) == len(names)


def test_the_same_decision_gives_the_same_bytes(source):
    assert bundle(told(source)) == bundle(told(source))


def test_a_loop_of_nobody_is_refused_with_the_reason(tmp_path):
    source = write_source(tmp_path / "nobody.dcm", PatientID="")
    with pytest.raises(DeliveryError, match="no PatientID"):
        bundle(told(source))


def test_other_structures_than_the_heart_make_no_bundle(source):
    shown = drawn(source, structures=[Structure(1, "Liver", "10200004", "Liver", "#00ff00")])
    with pytest.raises(NothingToReport):
        bundle(told(source, shown=shown))


def test_a_folder_gets_each_decision_and_what_was_told_in_error(tmp_path):
    office = Office(tmp_path)
    office.wanted = [("usb", "fhir")]
    usb = tmp_path / "stick"
    usb.mkdir()
    folder, found = Folder(usb), []
    for decision in ("accepted", "corrected", "rejected"):
        office.decide(decision, **({"ef_percent": 40.0} if decision == "corrected" else {}))
        (made,) = office.leave("usb").values()
        folder.put(made)
        assert folder.prove(made).sha256 == made.sha256
        (path,) = usb.glob(f"*/{made.SOPInstanceUID}.json")
        found.append(read(path.read_bytes()))
    efs = [value(one["Observation"], codes.EJECTION_FRACTION) for one in found]
    assert [float(ef.valueQuantity.value) for ef in efs] == [58.3, 40.0, 58.3]
    assert [ef.status for ef in efs] == ["preliminary", "preliminary", "entered-in-error"]
    assert len({ef.identifier[0].value for ef in efs}) == 1


def test_what_was_never_told_is_not_taken_back(tmp_path):
    office = Office(tmp_path)
    office.wanted = [("usb", "fhir")]
    office.decide("accepted")
    office.decide("rejected")
    assert office.leave("usb") == {}
