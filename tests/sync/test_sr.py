"""The report as others read it: highdicom, dciodvfy, pydicom."""

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes as standard
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from appliance.measures import Measures
from appliance.part10 import read_header
from appliance.sync.carried import value_of
from appliance.sync.document import Reference
from appliance.sync.findings import Drawn, NothingToReport
from appliance.sync.modules import REPORT, SEGMENTATION
from appliance.sync.seg import segmentation
from appliance.sync.segments import Structure
from appliance.sync.sr import report
from tests.sync.material import (
    AUTOMATIC,
    CORRECTED,
    STRUCTURES,
    a_review,
    errors_of,
    label_maps,
    saved,
    some_measures,
    write_source,
)
from tests.sync.office import Office
from tests.sync.test_seg import NAMES, SOURCES_OWN, raw

KIND = "ComprehensiveSR"
SEG = Reference(SEGMENTATION.SOPClassUID, "2.25.11", "2.25.21")
EF = standard.LN.LeftVentricularEjectionFractionByUS
EDV = standard.LN.LeftVentricularEndDiastolicVolume
ESV = standard.LN.LeftVentricularEndSystolicVolume
LA_VOLUME = standard.SCT.LeftAtriumSystolicVolume
NO_SCALE = dict.fromkeys(
    ("edv_ml", "esv_ml", "la_volume_ml"), "the image carries no scale in centimetres."
)


def drawn(source, frames=8, provenance=AUTOMATIC, structures=STRUCTURES, indexes=None):
    names = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
    loop = Reference(*(value_of(read_header(source).dataset, name) for name in names))
    return Drawn(loop, [SEG], indexes or range(frames), structures, provenance, frames > 1)


def build(source, review=None, predecessor=None, shown=None, **changed):
    measures = Measures.from_dict(some_measures(**changed))
    header = read_header(source)
    return report(header, measures, shown or drawn(source), review or a_review(3), predecessor)


def written(folder, source, **more):
    return saved(build(source, **more), folder)


def read(path):
    return highdicom.sr.srread(path).content


def numbers(path):
    """Every number of a report: its concept's code to value and unit."""
    found = {}
    for group in groups(path):
        for item in group.get_measurements():
            found[item.name.value] = (item.value, item.unit.value)
    return found


def groups(path):
    content = read(path)
    return [
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
    ]


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source.dcm")


def test_numbers_come_back_with_their_codes_and_units(tmp_path, source):
    path = written(tmp_path, source)
    assert numbers(path) == {
        "18043-0": (58.3, "%"),
        "18026-5": (101.5, "ml"),
        "18148-7": (42.3, "ml"),
        "399109006": (32.004, "cm2"),
        "399030000": (18.125, "cm2"),
        "399235004": (38.7, "ml"),
    }
    assert errors_of(path, KIND) == []


@pytest.mark.parametrize(("view", "code"), [("A4C", "399214001"), ("A2C", "399232001")])
def test_every_group_says_in_which_view_it_was_measured(tmp_path, source, view, code):
    path = written(tmp_path, source, shown=replace(drawn(source), view=view))
    for group in groups(path):
        found = group.get_qualitative_evaluations()
        views = [item.value.value for item in found if item.name.value == "111031"]
        assert views == [code]
    assert errors_of(path, KIND) == []
    assert b"set by" not in path.read_bytes()


def test_a_view_that_a_person_set_is_told_with_who(tmp_path, source):
    path = written(tmp_path, source, shown=replace(drawn(source), view="A2C", view_by="KL"))
    assert b"Image View: set by KL" in path.read_bytes()
    assert errors_of(path, KIND) == []


def test_without_a_known_view_none_is_claimed(tmp_path, source):
    path = written(tmp_path, source)
    assert b"Image View" not in path.read_bytes()


def test_volumes_say_by_which_method(tmp_path, source):
    methods = {}
    for group in groups(written(tmp_path, source)):
        for item in group.get_measurements():
            methods[item.name.value] = item.method and item.method.value
    assert methods == {
        **dict.fromkeys(["18043-0", "18026-5", "18148-7"], "125208"),
        "399235004": "125205",
        **dict.fromkeys(["399109006", "399030000"]),
    }


def test_groups_point_at_segments_frames_and_the_loop(tmp_path, source):
    indexes = [0, 2, 3, 5, 7]  # frames 1, 4 and 6 could not be decoded
    path = written(tmp_path, source, shown=drawn(source, indexes=indexes))
    content = read(path)
    (whole,) = content.get_volumetric_roi_measurement_groups()
    (segment,) = [item for item in whole.referenced_segment if item.name.value == "121191"]
    assert segment.referenced_sop_instance_uid == SEG.SOPInstanceUID
    assert segment.referenced_segment_numbers == [1]
    (image,) = whole.get_measurements()[0].referenced_images
    assert image.referenced_frame_numbers == [3, 6]
    places = []
    for group in content.get_planar_roi_measurement_groups():
        frame, image = group.referenced_segmentation_frame
        places.append((frame.referenced_frame_numbers, image.referenced_frame_numbers))
        uid = pydicom.dcmread(source).SOPInstanceUID
        assert image.referenced_sop_instance_uid == uid
    assert places == [([2], [3]), ([4], [6]), ([2 * 5 + 4], [6])]
    assert errors_of(path, KIND) == []


def test_structures_are_tracked_under_the_uids_of_the_segmentation(tmp_path, source):
    maps = label_maps(8, 48, 64)
    header = read_header(source)
    built = segmentation(header, lambda i: maps[i], range(8), STRUCTURES, AUTOMATIC, a_review())
    segments = pydicom.dcmread(saved(built, tmp_path)).SegmentSequence
    tracked = {(item.TrackingUID, item.TrackingID) for item in segments}
    first = [written(tmp_path, source, review=a_review(3))]
    second = written(tmp_path, source, review=a_review(4), shown=drawn(source, 8, CORRECTED))
    for path in [*first, second]:
        for group in groups(path):
            assert (group.tracking_uid, group.tracking_identifier) in tracked
            assert group.finding_sites[0].value == group.finding_type


def test_a_report_names_reviewer_box_and_model(tmp_path, source):
    path = written(tmp_path, source, review=a_review(3, station_name="Room 3"))
    person, device = read(path).get_observer_contexts()
    assert person.observer_identifying_attributes.name == "AK"
    attributes = device.observer_identifying_attributes
    assert (attributes.name, attributes.manufacturer_name) == ("Room 3", "Echocart")
    (whole,) = read(path).get_volumetric_roi_measurement_groups()
    texts = [item.TextValue for item in whole[0].ContentSequence if item.ValueType == "TEXT"]
    assert {"first-network", "1.0.0", f"sha256={'ab' * 32}"} <= set(texts)


def test_research_use_is_said_and_nothing_is_verified(tmp_path, source):
    dataset = pydicom.dcmread(written(tmp_path, source))
    assert dataset.SeriesDescription.startswith("RESEARCH USE ONLY")
    assert (dataset.VerificationFlag, dataset.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in dataset


def test_a_cleared_model_s_report_is_verified_by_its_reviewer(tmp_path, source):
    review = a_review(3, research_use=False)
    path = written(tmp_path, source, review=review)
    dataset = pydicom.dcmread(path)
    assert "RESEARCH" not in dataset.SeriesDescription
    assert (dataset.VerificationFlag, dataset.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert dataset.VerifyingObserverSequence[0].VerifyingObserverName == "AK"
    assert errors_of(path, KIND) == []


def unknown(path):
    """What a report says is unknown: code to the sentence that says why."""
    found = {}
    for group in groups(path):
        items = group[0].ContentSequence
        comments = [item.TextValue for item in items if item.ValueType == "TEXT"]
        for item in group.get_qualitative_evaluations():
            if item.value.value != "114010":
                continue
            (why,) = [text for text in comments if text.startswith(item.name.meaning)]
            found[item.name.value] = why
    return found


def test_a_loop_without_calibration_has_ef_and_says_why_no_volume(tmp_path):
    source = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    path = written(
        tmp_path,
        source,
        shown=drawn(source, 30),
        **dict.fromkeys(NO_SCALE),
        area_unit="px2",
        withheld=NO_SCALE,
    )
    assert numbers(path) == {"18043-0": (58.3, "%")}
    assert set(unknown(path)) == {EDV.value, ESV.value, LA_VOLUME.value}
    assert "no scale in centimetres" in unknown(path)[EDV.value]
    errors = errors_of(path, KIND)
    assert all(any(kind in line for kind in SOURCES_OWN) for line in errors), errors


def test_a_loop_without_a_heartbeat_has_no_number_and_every_reason(tmp_path, source):
    names = ("ef_percent", "edv_ml", "esv_ml", "la_volume_ml")
    path = written(
        tmp_path,
        source,
        **dict.fromkeys((*names, "ed_frame", "es_frame")),
        beats=(),
        withheld=dict.fromkeys(names, "No EF: no whole heartbeat."),
    )
    assert numbers(path) == {}
    assert len(unknown(path)) == 4
    assert errors_of(path, KIND) == []


RIGHT_HEART = [
    Structure(1, "Right ventricle", "53085002", "Right ventricle", "#56B4E9"),
    Structure(2, "Septum", "589001", "Interventricular septum", "#E69F00"),
    Structure(3, "Right atrium", "73829009", "Right atrium", "#CC79A7"),
]


@pytest.mark.parametrize("structures", [RIGHT_HEART, STRUCTURES[:2]], ids=["right", "no atrium"])
def test_structures_that_are_not_measured_make_no_report_whatever_their_labels(source, structures):
    with pytest.raises(NothingToReport, match="other structures than the apical heart"):
        build(source, shown=drawn(source, structures=structures))


def test_a_segmentation_says_what_it_holds(tmp_path, source):
    maps, said = label_maps(8, 48, 64), []
    for structures in (STRUCTURES, RIGHT_HEART):
        made = segmentation(
            read_header(source), lambda i: maps[i], range(8), structures, AUTOMATIC, a_review()
        )
        said.append(pydicom.dcmread(saved(made, tmp_path)).SeriesDescription)
    assert said == [
        "RESEARCH USE ONLY - Left heart, accepted",
        "RESEARCH USE ONLY - Right ventricle and 2 more, accepted",
    ]


def test_a_predecessor_is_named_with_its_series_and_study(tmp_path, source):
    earlier = Reference(REPORT.SOPClassUID, "2.25.5", "2.25.6")
    path = written(tmp_path, source, predecessor=earlier)
    (study,) = pydicom.dcmread(path).PredecessorDocumentsSequence
    assert study.StudyInstanceUID == pydicom.dcmread(source).StudyInstanceUID
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.6"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.5"
    assert errors_of(path, KIND) == []


def test_the_same_review_gives_the_same_bytes(source):
    assert build(source).sha256 == build(source).sha256


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("name", NAMES)
def test_names_are_carried_byte_for_byte(tmp_path, name, syntax):
    character_set, written_name = NAMES[name]
    written_name += b" " * (len(written_name) % 2)
    stand_in = b"QZ" * (len(written_name) // 2)
    sets = {} if character_set is None else {"SpecificCharacterSet": character_set.split("\\")}
    source = write_source(
        tmp_path / "source.dcm",
        syntax=syntax,
        replaced=(stand_in, written_name),
        PatientName=stand_in.decode(),
        ReferringPhysicianName=stand_in.decode(),
        **sets,
    )
    path = written(tmp_path, source, review=a_review(3, reviewer="ÄK"))
    for keyword in ("PatientName", "ReferringPhysicianName"):
        assert raw(path, keyword) == written_name.rstrip(b" ")
    carried = ["PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyTime"]
    for keyword in [*carried, "SpecificCharacterSet"] if sets else carried:
        assert raw(path, keyword) == raw(source, keyword)


@pytest.mark.parametrize(
    ("name", "seen"),
    [("latin", "ÄK"), ("utf-8", "ÄK"), ("gb18030", "ÄK"), ("japanese", "AK"), ("korean", "AK")],
)
def test_standard_character_sets_give_no_error(tmp_path, name, seen):
    character_set, written_name = NAMES[name]
    # dciodvfy takes a backslash inside a character of GB18030 for a second value.
    written_name = written_name.replace(b"\x81\x5c", b"\xb6\xab")
    written_name += b" " * (len(written_name) % 2)
    stand_in = b"QZ" * (len(written_name) // 2)
    source = write_source(
        tmp_path / "source.dcm",
        replaced=(stand_in, written_name),
        PatientName=stand_in.decode(),
        SpecificCharacterSet=character_set.split("\\"),
    )
    path = written(tmp_path, source, review=a_review(3, reviewer="ÄK"))
    assert errors_of(path, KIND) == []
    dataset = pydicom.dcmread(path)
    dataset.decode()
    names = [item.PersonName for item in dataset.ContentSequence if item.ValueType == "PNAME"]
    assert names == [seen]


def test_a_box_builds_the_report_of_a_review_with_the_measures_in_force(tmp_path):
    office = Office(tmp_path)
    office.decide("accepted")
    first = office.leave("usb")["usb", "sr"]
    assert numbers(saved(first, tmp_path))["18043-0"] == (58.3, "%")
    office.decide("corrected", ef_percent=61.0, edv_ml=120.0)
    path = saved(office.leave("usb")["usb", "sr"], tmp_path)
    assert numbers(path)["18043-0"] == (61.0, "%")
    assert numbers(path)["18026-5"] == (120.0, "ml")
    assert "corrected" in pydicom.dcmread(path).SeriesDescription


def test_a_report_follows_the_segmentation_it_names(tmp_path):
    office = Office(tmp_path)
    office.decide("accepted")
    sent = office.leave("usb")
    segments = pydicom.dcmread(saved(sent["usb", "seg"], tmp_path))
    path = saved(sent["usb", "sr"], tmp_path)
    content = read(path)
    for group in content.get_planar_roi_measurement_groups():
        frame, image = group.referenced_segmentation_frame
        assert frame.referenced_sop_instance_uid == segments.SOPInstanceUID
        item = segments.PerFrameFunctionalGroupsSequence[frame.referenced_frame_numbers[0] - 1]
        position = item.FrameContentSequence[0].TemporalPositionIndex
        assert [position] == image.referenced_frame_numbers
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert segments.SegmentSequence[number - 1].TrackingUID == group.tracking_uid
    evidence = pydicom.dcmread(path).CurrentRequestedProcedureEvidenceSequence[0]
    series = {item.SeriesInstanceUID for item in evidence.ReferencedSeriesSequence}
    loop = pydicom.dcmread(office.source)
    assert series == {segments.SeriesInstanceUID, loop.SeriesInstanceUID}


def test_a_report_sent_anywhere_is_the_predecessor_everywhere(tmp_path):
    office = Office(tmp_path)
    office.decide("accepted")
    first = office.leave("pacs")["pacs", "sr"]
    office.decide("corrected")
    sent = office.leave("usb", "pacs")
    assert sent["usb", "sr"].sha256 == sent["pacs", "sr"].sha256
    dataset = pydicom.dcmread(saved(sent["usb", "sr"], tmp_path))
    series = dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    instance = series.ReferencedSOPSequence[0]
    assert instance.ReferencedSOPInstanceUID == first.SOPInstanceUID
    earlier = pydicom.dcmread(saved(first, tmp_path))
    assert series.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert "PredecessorDocumentsSequence" not in earlier


def test_a_report_that_never_left_is_no_predecessor(tmp_path):
    office = Office(tmp_path)
    office.decide("accepted")
    office.decide("corrected")
    dataset = pydicom.dcmread(saved(office.leave("usb")["usb", "sr"], tmp_path))
    assert "PredecessorDocumentsSequence" not in dataset


def test_an_area_without_a_mask_is_left_out(tmp_path, source):
    curve = np.full(8, 20.0).tolist()
    curve[5] = None
    found = numbers(written(tmp_path, source, lv_area_curve=tuple(curve)))
    assert "399109006" in found
    assert "399030000" not in found
