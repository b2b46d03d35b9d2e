"""What two views give together, in the report: numbers, codes, what it rests on, and the reasons."""

from dataclasses import replace

import pydicom
import pytest

from appliance.ledger import Ledger, delivery, review, view
from appliance.ledger.review import Decision
from appliance.ledger.view import Said
from appliance.measures import Measures, Plane
from appliance.part10 import read_header
from appliance.spool import Spool
from appliance.sync.document import Reference
from appliance.sync.modules import REPORT
from appliance.sync.planes import OtherView
from appliance.sync.results import Results
from appliance.sync.sr import report
from tests.sync.material import (
    a_review,
    analysed,
    errors_of,
    label_maps,
    saved,
    some_measures,
    write_source,
)
from tests.sync.test_sr import KIND, drawn, read

FOUR = Plane(90.0, 75.0, (45.0,) * 20, (35.0,) * 20, 1600.0, 50.0)
TWO = Plane(88.0, 74.0, (40.0,) * 20, (30.0,) * 20, 1500.0, 48.0)
OTHER = OtherView(
    Reference("1.2.840.10008.5.1.4.1.1.3.1", "2.25.91", "2.25.92"),
    True,
    "A2C",
    Measures.from_dict(some_measures(plane=TWO, ed_frame=0, es_frame=4)),
    "KL",
    "2.25.93",
)


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source.dcm")


def written(folder, source, other=OTHER, plane=FOUR):
    shown = replace(drawn(source), view="A4C")
    measures = Measures.from_dict(some_measures(plane=plane))
    built = report(read_header(source), measures, shown, a_review(3), None, other)
    return saved(built, folder)


def together(path):
    """The group about two planes."""
    (group,) = [
        item
        for item in read(path).get_image_measurement_groups()
        if item.tracking_identifier == "Left ventricle, biplane"
    ]
    return group


def test_biplane_numbers_come_with_their_codes_methods_and_both_loops(tmp_path, source):
    path = written(tmp_path, source)
    found = {
        item.name.value: (item.value, item.unit.value, item.method.value)
        for item in together(path).get_measurements()
    }
    edv, esv = 3.14159265 / 4 * 90 * 45 * 40 / 1000, 3.14159265 / 4 * 75 * 35 * 30 / 1000
    assert found == {
        "18043-0": (round(100 * (1 - esv / edv), 1), "%", "125207"),
        "18026-5": (round(edv, 1), "ml", "125207"),
        "18148-7": (round(esv, 1), "ml", "125207"),
        "90096001": (round(edv - esv, 1), "ml", "125207"),
        "399235004": (round(8 * 1600 * 1500 / (3 * 3.14159265 * 48) / 1000, 1), "ml", "125204"),
    }
    first = together(path).get_measurements()[0]
    places = [
        (image.referenced_sop_instance_uid, image.referenced_frame_numbers)
        for image in first.referenced_images
    ]
    assert places == [(pydicom.dcmread(source).SOPInstanceUID, [3, 6]), ("2.25.91", [1, 5])]
    assert errors_of(path, KIND) == []


def test_the_report_names_the_other_loop_as_evidence_and_the_decision_it_rests_on(tmp_path, source):
    path = written(tmp_path, source)
    dataset = pydicom.dcmread(path)
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert "2.25.91" in named
    texts = [item.TextValue for item in together(path)[0].ContentSequence if "TextValue" in item]
    assert "Biplane with the A2C loop as accepted by KL, report 2.25.93" in texts


def test_what_two_planes_do_not_give_is_told_with_the_reason(tmp_path, source):
    short = replace(TWO, ed_length=60.0)
    measures = replace(OTHER.measures, plane=short)
    path = written(tmp_path, source, other=replace(OTHER, measures=measures))
    group = together(path)
    assert [item.name.value for item in group.get_measurements()] == ["399235004"]
    evaluations = group.get_qualitative_evaluations()
    unknown = [item.name.value for item in evaluations if item.value.value == "114010"]
    assert unknown == ["18043-0", "18026-5", "18148-7", "90096001"]
    texts = [item.TextValue for item in group[0].ContentSequence if "TextValue" in item]
    assert any("looks foreshortened" in text for text in texts)
    assert errors_of(path, KIND) == []


def test_without_another_view_nothing_is_claimed_of_two_planes(tmp_path, source):
    assert b"biplane" not in written(tmp_path, source, other=None).read_bytes()


def test_the_second_accepted_view_of_a_study_sends_the_biplane_numbers_and_again_the_same(
    tmp_path,
):
    ledger, spool = Ledger(tmp_path / "state"), Spool(tmp_path / "state")
    results = Results(ledger, spool, "Room 3")
    study = {"StudyInstanceUID": "2.25.77"}
    sent = {}
    for name, plane in (("A4C", FOUR), ("A2C", TWO)):
        path = write_source(tmp_path / f"{name}.dcm", **study)
        seq, sha256 = called(name, ledger, spool, path, plane)
        posted = Decision(seq, sha256, "P1", "accepted", "AK", f"key {name}")
        review.record(ledger, posted, [("usb", "sr")])
        leased = delivery.claim(ledger, "office", 60, ("usb",))
        (sent[name],) = results.build(leased)
        assert results.build(leased)[0].sha256 == sent[name].sha256
        delivery.sent(ledger, leased)
        delivery.unproven(ledger, leased, "")
    assert b"biplane" not in saved(sent["A4C"], tmp_path).read_bytes()
    path = saved(sent["A2C"], tmp_path)
    first = saved(sent["A4C"], tmp_path)
    assert together(path).get_measurements()[0].method.value == "125207"
    texts = [item.TextValue for item in together(path)[0].ContentSequence if "TextValue" in item]
    assert any(pydicom.dcmread(first).SOPInstanceUID in text for text in texts)
    assert pydicom.dcmread(path).SOPClassUID == REPORT.SOPClassUID
    assert errors_of(path, KIND) == []


def called(name, ledger, spool, path, plane):
    """A loop that was analysed and that a person calls a view."""
    seq, sha256 = analysed(ledger, spool, path, label_maps(8, 48, 64), plane=plane)
    view.say(ledger, Said(seq, name, "AK", 0))
    return seq, sha256
