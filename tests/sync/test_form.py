"""Segmentations in each form a destination may wish: what others read, and which UIDs they have."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from appliance.ledger import Ledger, delivery, worklist
from appliance.sync import modules
from appliance.sync.form import PLAIN, Form
from appliance.sync.results import Results
from tests.sync.material import errors_of, label_maps, saved
from tests.sync.office import Office

FORMS = [
    Form(*each)
    for each in product(
        ("BINARY", "LABELMAP"), ("explicit", "deflated", "rle"), ("all", "ed-es"), ("one", "each")
    )
    if each[:2] != ("BINARY", "rle")
]
EXPLICIT = [form for form in FORMS if form.syntax == "explicit"]
# The validator of 2022 knows neither the class of label maps nor a segment 0 (Sup 243, 2024).
TOO_YOUNG = ("Information Object Not found", "SegmentNumber not monotonically increasing")
LABEL_MAP, SEGMENTATION = modules.LABEL_MAP.SOPClassUID, modules.SEGMENTATION.SOPClassUID
MAPS = label_maps(8, 48, 64)


def office_of(root: Path, **forms: Form) -> Office:
    """An office whose destinations have these forms."""
    office = Office(root)
    office.results = Results(office.ledger, office.spool, "Room 3", forms=forms)
    return office


def sent_by(office: Office, *destinations: str) -> dict[tuple[str, str], list]:
    """Everything that is due, as objects read back, by destination and kind."""
    found = {}
    while (leased := office.claim(*destinations)) is not None:
        paths = [saved(item, office.root) for item in office.results.build(leased)]
        found[leased.destination, leased.kind] = [pydicom.dcmread(path) for path in paths]
        delivery.sent(office.ledger, leased)
        delivery.unproven(office.ledger, leased, "")
    return found


def errors_in(dataset: pydicom.Dataset, folder: Path, kind: str = "Segmentation") -> list[str]:
    """What dciodvfy says of an object; it reads no deflated ones, so their content is written anew."""
    dataset.file_meta.TransferSyntaxUID = (
        ExplicitVRLittleEndian
        if dataset.file_meta.TransferSyntaxUID.is_deflated
        else dataset.file_meta.TransferSyntaxUID
    )
    path = folder / "inflated.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    if dataset.SOPClassUID == LABEL_MAP:
        kind = "Error"
    else:
        # In references too: as the older class of segmentations it knows the rules.
        known = path.read_bytes().replace(LABEL_MAP.encode(), SEGMENTATION.encode())
        path.write_bytes(known)
    return [line for line in errors_of(path, kind) if not any(each in line for each in TOO_YOUNG)]


def masks_in(objects: list, folder: Path, frames: list[int]) -> np.ndarray:
    """The label maps that highdicom reads from all objects of a form together."""
    whole = np.zeros((len(frames), 48, 64), np.uint8)
    for number, dataset in enumerate(objects, 1):
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        read = highdicom.seg.segread(path)
        uid = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
        pixels = read.get_pixels_by_source_frame(
            uid.ReferencedSOPInstanceUID, frames, combine_segments=True
        )
        if len(objects) == 1:
            return pixels
        whole[pixels == 1] = number
    return whole


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.key.replace(" ", "-"))
def test_each_form_is_read_back_to_the_pixel_and_has_no_errors(tmp_path, form):
    office = office_of(tmp_path, usb=form)
    office.decide("accepted")
    sent = sent_by(office, "usb")
    objects, (report,) = sent["usb", "seg"], sent["usb", "sr"]
    assert len(objects) == (3 if form.objects == "each" else 1)
    # some_measures has ED on frame 3 and ES on frame 6.
    frames = [3, 6] if form.frames == "ed-es" else list(range(1, 9))
    expected = MAPS[[frame - 1 for frame in frames]]
    assert expected.any()
    assert np.array_equal(masks_in(objects, tmp_path, frames), expected)
    assert {item.SOPClassUID for item in objects} == {form.kind.SOPClassUID}
    assert {item.file_meta.TransferSyntaxUID for item in objects} == {form.kind.TransferSyntaxUID}
    for dataset in objects:
        assert errors_in(dataset, tmp_path) == []
    assert errors_in(report, tmp_path, "ComprehensiveSR") == []


@pytest.mark.parametrize("form", EXPLICIT, ids=lambda form: form.key.replace(" ", "-"))
def test_a_report_names_the_very_segment_and_frame_it_measured(tmp_path, form):
    office = office_of(tmp_path, usb=form)
    office.decide("accepted")
    sent = sent_by(office, "usb")
    objects = {item.SOPInstanceUID: item for item in sent["usb", "seg"]}
    (report,) = sent["usb", "sr"]
    tree = highdicom.sr.ComprehensiveSR.from_dataset(report).content
    groups = tree.get_planar_roi_measurement_groups()
    assert len(groups) == 3
    for group in groups:
        shown, image = group.referenced_segmentation_frame
        held_by = objects[shown.referenced_sop_instance_uid]
        assert shown.referenced_sop_class_uid == held_by.SOPClassUID
        frame = held_by.PerFrameFunctionalGroupsSequence[shown.referenced_frame_numbers[0] - 1]
        (segment,) = [
            item
            for item in held_by.SegmentSequence
            if item.get("TrackingUID") == group.tracking_uid
        ]
        if "SegmentIdentificationSequence" in frame:
            number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            assert number == segment.SegmentNumber
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert [source.ReferencedFrameNumber] == image.referenced_frame_numbers
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    assert set(objects) <= named


def test_uids_belong_to_review_and_form_and_what_is_tracked_to_the_loop(tmp_path):
    forms = {f"place{number}": form for number, form in enumerate(FORMS)}
    office = office_of(tmp_path, **forms)
    office.wanted = [(name, kind) for name in forms for kind in ("seg", "sr")]
    first, second = office.decide("accepted"), None
    before = sent_by(office, *forms)
    again = sent_again(office, forms, first)
    second = office.decide("corrected")
    after = sent_by(office, *forms)
    assert second["id"] != first["id"]

    for name in forms:
        for kind in ("seg", "sr"):
            uids = [item.SOPInstanceUID for item in before[name, kind]]
            assert uids == [item.SOPInstanceUID for item in again[name, kind]]
            assert not set(uids) & {item.SOPInstanceUID for item in after[name, kind]}
        structures = [tracked(found[name, "seg"]) for found in (before, after)]
        assert structures[0] == structures[1] == tracked(before["place0", "seg"])
    every = [item.SOPInstanceUID for items in before.values() for item in items]
    assert len(set(every)) == len(every) == sum(2 if f.objects == "one" else 4 for f in FORMS)
    assert before["place0", "seg"][0].SOPInstanceUID == first["result_sop_instance_uid"]


def tracked(objects: list) -> list[str]:
    found = [segment for item in objects for segment in item.SegmentSequence]
    return [segment.TrackingUID for segment in found if segment.SegmentNumber]


def sent_again(office: Office, forms: dict[str, Form], review: dict) -> dict:
    """What another process would build for the same rows."""
    results = Results(office.ledger, office.spool, "Room 3", forms=forms)
    rows = office.ledger.read("SELECT * FROM outbox WHERE review_id = ?", [review["id"]])
    found = {}
    for row in rows:
        uids = (review["result_sop_instance_uid"], review["result_series_instance_uid"])
        names = ("id", "review_id", "seq", "destination", "kind")
        leased = delivery.Delivery(*(row[name] for name in names), *uids, row["tries"], "again")
        objects = [pydicom.dcmread(saved(item, office.root)) for item in results.build(leased)]
        found[row["destination"], row["kind"]] = objects
    return found


def rejected_by(note: pydicom.Dataset) -> set[str]:
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = [item for series in evidence for item in series.ReferencedSOPSequence]
    content = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert content == {item.ReferencedSOPInstanceUID for item in named}
    return content


@pytest.mark.parametrize("form", EXPLICIT, ids=lambda form: form.key.replace(" ", "-"))
def test_a_note_takes_back_every_object_that_was_sent_in_whatever_form_is_wished_now(
    tmp_path, form
):
    office = office_of(tmp_path, usb=form, pacs=PLAIN)
    office.decide("accepted")
    before = sent_by(office, "usb", "pacs")
    # Somebody changes the configuration meanwhile.
    office.results = Results(office.ledger, office.spool, "Room 3", forms={"pacs": FORMS[-1]})
    office.decide("rejected")
    notes = sent_by(office, "usb", "pacs")
    for name in ("usb", "pacs"):
        (note,) = notes[name, "rejection"]
        sent = [item for kind in ("seg", "sr") for item in before[name, kind]]
        assert rejected_by(note) == {item.SOPInstanceUID for item in sent}
        assert errors_in(note, tmp_path, "KeyObjectSelectionDocument") == []


def test_a_report_replaces_one_that_left_in_another_form(tmp_path):
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.wanted = [("usb", "seg"), ("usb", "sr")]
    office.decide("accepted")
    (before,) = sent_by(office, "usb")["usb", "sr"]
    office.results = Results(office.ledger, office.spool, "Room 3")
    office.decide("corrected")
    (after,) = sent_by(office, "usb")["usb", "sr"]
    series = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    named = series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == before.SOPInstanceUID != after.SOPInstanceUID


def test_a_form_holds_from_the_first_try_on(tmp_path):
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.decide("accepted")
    leased = office.claim("usb")
    (built,) = office.results.build(leased)
    delivery.postpone(office.ledger, leased, "the line went dead, after it had arrived", 0)
    office.results = Results(office.ledger, office.spool, "Room 3")  # BINARY from now on
    after = sent_by(office, "usb")
    (segmentation,), (report,) = after["usb", "seg"], after["usb", "sr"]
    assert segmentation.SOPInstanceUID == built.SOPInstanceUID
    assert segmentation.SegmentationType == "LABELMAP"
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    assert built.SOPInstanceUID in named


def test_a_form_that_is_not_taken_gives_way_to_the_one_that_is_configured_then(tmp_path):
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.decide("accepted")
    leased = office.claim("usb")
    (refused,) = office.results.build(leased)
    delivery.postpone(office.ledger, leased, "takes no label maps", 0, "permission")
    office.results = Results(office.ledger, office.spool, "Room 3")
    (taken,) = sent_by(office, "usb")["usb", "seg"]
    assert taken.SegmentationType == "BINARY"
    assert taken.SOPInstanceUID != refused.SOPInstanceUID
    office.decide("rejected")
    (note,) = sent_by(office, "usb")["usb", "rejection"]
    assert taken.SOPInstanceUID in rejected_by(note)


def test_what_a_release_without_forms_tried_is_taken_back_beside_what_replaced_it(tmp_path):
    office = office_of(tmp_path)
    office.wanted = [("usb", "seg")]
    office.decide("accepted")
    leased = office.claim("usb")
    (plain,) = office.results.build(leased)
    delivery.postpone(office.ledger, leased, "not taken", 0, "permission")
    with office.ledger.transaction() as db:
        db.conn.execute("DELETE FROM result_form")
    office.results = Results(office.ledger, office.spool, "Room 3", forms={"usb": FORMS[-1]})
    sent = sent_by(office, "usb")["usb", "seg"]
    office.decide("rejected")
    (note,) = sent_by(office, "usb")["usb", "rejection"]
    assert rejected_by(note) == {plain.SOPInstanceUID, *(item.SOPInstanceUID for item in sent)}


def test_results_of_a_release_without_forms_are_taken_back_under_their_own_uids(tmp_path):
    office = office_of(tmp_path)
    office.decide("accepted")
    before = sent_by(office, "usb")
    with office.ledger.transaction() as db:
        db.conn.execute("DELETE FROM result_form")
    office.results = Results(office.ledger, office.spool, "Room 3", forms={"usb": FORMS[-1]})
    office.decide("rejected")
    (note,) = sent_by(office, "usb")["usb", "rejection"]
    sent = [item for kind in ("seg", "sr") for item in before["usb", kind]]
    assert rejected_by(note) == {item.SOPInstanceUID for item in sent}


def test_all_frames_go_where_neither_end_of_the_beat_is_known(tmp_path):
    assert Form(frames="ed-es").indexes([0, 1, 2, 3], None, None) == [0, 1, 2, 3]
    assert Form(frames="ed-es").indexes([0, 1, 3], 1, 2) == [1]
    assert Form(frames="ed-es").indexes([0, 1, 3], 3, 1) == [1, 3]


def test_a_label_map_s_background_is_told_and_its_segments_number_their_pixels(tmp_path):
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.decide("accepted")
    (made,) = sent_by(office, "usb")["usb", "seg"]
    numbers = [segment.SegmentNumber for segment in made.SegmentSequence]
    assert numbers == [0, 1, 2, 3]
    assert made.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert (made.PixelPaddingValue, made.SegmentsOverlap, made.BitsAllocated) == (0, "NO", 8)
    assert [str(i.DimensionDescriptionLabel) for i in made.DimensionIndexSequence] == ["Moment"]
    assert not any(
        "SegmentIdentificationSequence" in frame for frame in made.PerFrameFunctionalGroupsSequence
    )
    assert np.array_equal(made.pixel_array, MAPS)


def test_a_label_map_has_what_the_standard_s_modules_ask_for(tmp_path):
    """By highdicom's copy of PS3.3, younger than dciodvfy: type 1 has a value, type 2 is there."""
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.decide("accepted")
    (made,) = sent_by(office, "usb")["usb", "seg"]
    tables = Path(highdicom.__file__).parent / "_standard"
    modules_of = json.loads((tables / "iod_module_map.json").read_text())["segmentation"]
    attributes = json.loads((tables / "module_attribute_map.json").read_text())
    looked_at = 0
    for module in (item["key"] for item in modules_of if item["usage"] == "M"):
        for attribute in attributes[module]:
            if attribute["path"] or attribute["type"] not in ("1", "2"):
                continue
            looked_at += 1
            assert attribute["keyword"] in made, attribute
            if attribute["type"] == "1":
                assert not made[attribute["keyword"]].is_empty, attribute
    assert looked_at > 30


def test_a_form_is_written_down_as_it_is_read(tmp_path):
    for form in FORMS:
        assert Form.parse(form.key) == form
    assert len({form.key for form in FORMS}) == len(FORMS)


def test_forms_of_a_loop_are_kept_over_a_restart(tmp_path):
    office = office_of(tmp_path, usb=Form("LABELMAP"))
    office.decide("accepted")
    leased = office.claim("usb")
    (first,) = office.results.build(leased)
    results = Results(Ledger(tmp_path / "state"), office.spool, "Room 3")
    (again,) = results.build(replace(leased, tries=2))
    assert again.sha256 == first.sha256
    assert worklist.deliveries(office.ledger, office.seq)
