"""Rejection notes: they name what was sent there and was replaced, nothing else."""

import highdicom
import pydicom
import pytest

from appliance.errors import DeliveryError
from appliance.ledger import delivery
from tests.sync.material import errors_of, saved
from tests.sync.office import Office
from tests.sync.test_seg import raw


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


def named(path):
    """UIDs that a note names in its content; the same ones stand in its evidence."""
    dataset = highdicom.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(path))
    listed = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in dataset.content.get_references()
    ]
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    evidence = [
        instance.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
    assert sorted(evidence) == sorted(listed)
    return set(listed)


def test_a_note_names_what_was_sent_and_says_it_was_rejected(office, tmp_path):
    office.decide("accepted")
    old = office.leave("usb")
    office.decide("corrected")
    sent = office.leave("usb")
    assert list(sent) == [("usb", "rejection"), ("usb", "seg"), ("usb", "sr")]
    path = saved(sent["usb", "rejection"], tmp_path)
    assert named(path) == {part.SOPInstanceUID for part in old.values()}
    dataset = pydicom.dcmread(path)
    title = dataset.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    assert dataset.Modality == "KO"
    assert errors_of(path, "KeyObjectSelection") == []


def test_a_note_takes_back_a_burned_in_overlay_too(tmp_path):
    grey = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8}
    office = Office(
        tmp_path,
        **grey,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=bytes(48 * 64 * 8),
    )
    office.wanted = [("usb", "overlay")]
    office.decide("accepted")
    (old,) = office.leave("usb").values()
    office.decide("corrected")
    sent = office.leave("usb")
    assert list(sent) == [("usb", "rejection"), ("usb", "overlay")]
    note = saved(sent["usb", "rejection"], tmp_path)
    assert named(note) == {old.SOPInstanceUID}
    assert errors_of(note, "KeyObjectSelection") == []
    shown = pydicom.dcmread(saved(sent["usb", "overlay"], tmp_path))
    assert shown.SOPInstanceUID != old.SOPInstanceUID
    assert "corrected" in shown.SeriesDescription


def test_a_destination_that_got_nothing_gets_no_note(office):
    office.decide("accepted")
    office.leave("usb")
    office.decide("corrected")
    assert set(office.leave("pacs")) == {("pacs", "seg"), ("pacs", "sr")}


def test_a_note_names_only_what_was_sent_there(office, tmp_path):
    office.decide("accepted")
    leased = office.claim("usb")
    assert leased.kind == "seg"
    (old,) = office.results.build(leased)
    delivery.sent(office.ledger, leased)
    delivery.unproven(office.ledger, leased, "")
    office.leave("pacs")
    office.decide("rejected")
    sent = office.leave("usb")
    assert set(sent) == {("usb", "rejection")}
    assert named(saved(sent["usb", "rejection"], tmp_path)) == {old.SOPInstanceUID}


def test_what_a_note_took_back_is_not_taken_back_again(office, tmp_path):
    office.decide("accepted")
    office.leave("usb")
    office.decide("corrected")
    second = office.leave("usb")
    office.decide("accepted")
    third = office.leave("usb")
    expected = {second["usb", kind].SOPInstanceUID for kind in ("seg", "sr")}
    assert named(saved(third["usb", "rejection"], tmp_path)) == expected


def test_a_note_withdrawn_by_an_undo_is_made_up_for_by_the_next(office, tmp_path):
    office.decide("accepted")
    first = office.leave("usb")
    office.decide("corrected")
    office.decide("undone")
    office.decide("corrected")
    sent = office.leave("usb")
    assert named(saved(sent["usb", "rejection"], tmp_path)) == {
        part.SOPInstanceUID for part in first.values()
    }


def test_a_result_in_a_courier_s_hand_is_named_even_when_its_try_failed(office, tmp_path):
    office.decide("accepted")
    leased = office.claim("usb")
    office.decide("corrected")
    delivery.postpone(office.ledger, leased, "cut short", 0.0)
    sent = office.leave("usb")
    assert leased.result_uid in named(saved(sent["usb", "rejection"], tmp_path))


def test_each_destination_has_its_own_note_and_a_try_cut_short_sends_the_same(office):
    office.decide("accepted")
    office.leave("usb", "pacs")
    office.decide("rejected")
    leased = office.claim("usb")
    again = [office.results.build(leased)[0].sha256 for _ in range(2)]
    assert again[0] == again[1]
    sent = office.leave("pacs")["pacs", "rejection"]
    assert sent.SOPInstanceUID != office.results.build(leased)[0].SOPInstanceUID


def test_a_note_belongs_to_the_patient_and_study_of_the_loop(tmp_path):
    office = Office(tmp_path, SpecificCharacterSet="ISO_IR 192", PatientName="王^小東")
    office.decide("accepted")
    office.leave("usb")
    office.decide("rejected")
    path = saved(office.leave("usb")["usb", "rejection"], tmp_path)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SpecificCharacterSet"):
        assert raw(path, keyword) == raw(office.source, keyword)
    assert errors_of(path, "KeyObjectSelection") == []


def test_a_review_makes_no_original(office):
    office.decide("accepted")
    leased = office.claim("usb")
    with pytest.raises(DeliveryError, match="makes no"):
        office.results.build(type(leased)(**{**vars(leased), "kind": "original"}))
