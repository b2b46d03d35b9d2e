"""What leaves for the central archive: loop, segmentations, the review's record, and nobody's name."""

from dataclasses import replace
from datetime import date, datetime, timezone

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from appliance import __version__, masks
from appliance.cine import open_cine
from appliance.config import Settings
from appliance.ledger import Ledger, review, user
from appliance.ledger.delivery import Delivery
from appliance.ledger.review import Decision
from appliance.manifest import current_model
from appliance.part10 import identity, read_header
from appliance.sector import calibration, find_sector
from appliance.sector.geometry import Geometry
from appliance.spool import Spool
from appliance.sync import record
from appliance.sync.record import values_of
from appliance.sync.upstream import Corrections, Refused
from appliance.webui import words
from tests.phantom import NAMES, cine_loop
from tests.sync.canary import CANARY
from tests.sync.material import STRUCTURES, analysed, errors_of, masks_of, reviewed, saved

KINDS = ("USMultiFrame", "Segmentation", "Segmentation", "ComprehensiveSR")


class Site:
    """A box with a ledger of its own, and the corrections made on it."""

    def __init__(self, folder, **upstream):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ledger, self.spool = Ledger(folder), Spool(folder)
        self.settings = Settings.model_validate(
            {"box": {"ae_title": CANARY, "station_name": CANARY, "state_dir": str(folder)}}
            | {"upstream": upstream}
        )

    def accept(self, source, maps):
        """Take a loop to an accepted review that is sent upstream; return its delivery."""
        row = reviewed(self.ledger, self.spool, source, maps, [("archive", "correction")])
        uids = (row["result_sop_instance_uid"], row["result_series_instance_uid"])
        return Delivery(1, row["id"], row["seq"], "archive", "correction", *uids, 1, "sync")

    def correct(self, source, maps, changes=None, again=False, **more):
        """Take a loop to a corrected review; return its delivery."""
        if again:
            row = self.ledger.read_one("SELECT seq, sha256 FROM analysis ORDER BY id DESC LIMIT 1")
            seq, sha256 = row["seq"], row["sha256"]
        else:
            seq, sha256 = analysed(self.ledger, self.spool, source, maps)
        changes = changes if changes is not None else {2: np.roll(maps[2], 5)}
        chunks = [
            (index, 1, self.spool.put_chunk(masks.encode_chunk(changed[None])))
            for index, changed in changes.items()
        ]
        decision = Decision(
            seq=seq,
            analysis_sha256=sha256,
            patient_id=identity(read_header(source).dataset).PatientID,
            decision="corrected",
            reviewer=more.pop("reviewer", CANARY),
            reason=more.pop("reason", CANARY),
            **more,
            key=f"{seq} {again}",
            chunks=chunks,
            geometry=Geometry.identity(*maps.shape[1:]).to_dict(),
        )
        row = review.record(self.ledger, decision, [("archive", "correction")])
        uids = (row["result_sop_instance_uid"], row["result_series_instance_uid"])
        return Delivery(1, row["id"], seq, "archive", "correction", *uids, 1, "sync")

    def objects(self, delivery):
        return Corrections(self.ledger, self.spool, self.settings).objects(delivery)


def whole(file):
    return b"".join(bytes(part) for part in file.parts)


def paths_of(objects, folder):
    folder.mkdir(exist_ok=True)
    return [saved(item, folder) for item in objects]


def maps_for(source):
    """Discs that beat, quickly drawn, for a loop of any size."""
    dataset = read_header(source).dataset
    maps = np.zeros((int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns), np.uint8)
    middle, radius = (dataset.Columns // 2, dataset.Rows // 2), dataset.Rows // 8
    for index, drawn in enumerate(maps):
        for label in (2, 1):
            cv2.circle(drawn, middle, radius * label // 2 + index % 7, 3 - label, -1)
        cv2.circle(drawn, (middle[0], middle[1] + 2 * radius), radius // 2, 3, -1)
    return maps


def assert_read_by_others(paths, maps, changed):
    loop = pydicom.dcmread(paths[0], stop_before_pixels=True)
    frames = range(1, len(maps) + 1)
    assert np.array_equal(masks_of(paths[1], loop.SOPInstanceUID, frames), maps)
    assert np.array_equal(masks_of(paths[2], loop.SOPInstanceUID, frames), changed)
    found = [errors_of(path, kind) for path, kind in zip(paths, KINDS, strict=True)]
    assert found == [[], [], [], []]


@pytest.mark.parametrize("character_set", NAMES)
def test_no_name_of_any_character_set_leaves(tmp_path, character_set):
    name = NAMES[character_set]
    loop = cine_loop(frames=8, PatientName=name, SpecificCharacterSet=character_set)
    source = loop.write(tmp_path / "source.dcm")
    written = read_header(source).dataset.get_item("PatientName").value.strip()
    site = Site(tmp_path / "box")
    objects = site.objects(site.correct(source, loop.labels))
    parts = [
        part for form in (written, name.encode()) for part in form.replace(b"=", b"^").split(b"^")
    ]
    for item in objects:
        assert not any(part in whole(item) for part in parts if len(part) >= 5)


def test_the_same_review_gives_the_same_bytes_in_every_try(tmp_path):
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box")
    delivery = site.correct(loop.write(tmp_path / "source.dcm"), loop.labels)
    first = [item.sha256 for item in site.objects(delivery)]
    assert [item.sha256 for item in Site(tmp_path / "box").objects(delivery)] == first
    (tmp_path / "box" / "secret" / "upstream.key").write_bytes(b"\1" * 32)
    assert not set(first) & {item.sha256 for item in site.objects(delivery)}


def test_what_another_release_began_goes_anew_under_other_uids(tmp_path):
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box")
    first = site.correct(loop.write(tmp_path / "source.dcm"), loop.labels)
    begun = [item.SOPInstanceUID for item in site.objects(first)]
    here = replace(first, tries=2, first_release=__version__)
    assert [item.SOPInstanceUID for item in site.objects(here)] == begun
    other = replace(first, tries=2, first_release="0.0.1")
    anew = site.objects(other)
    assert not set(begun) & {item.SOPInstanceUID for item in anew}
    assert len({item.StudyInstanceUID for item in anew}) == 1
    again = site.objects(replace(other, tries=3))
    assert [item.sha256 for item in again] == [item.sha256 for item in anew]
    paths = paths_of(anew, tmp_path / "anew")
    changed = np.array(
        [np.roll(drawn, 5) if at == 2 else drawn for at, drawn in enumerate(loop.labels)]
    )
    assert_read_by_others(paths, loop.labels, changed)


def test_a_study_says_which_segmentation_is_which_and_which_model_drew(tmp_path):
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box", site="Ward 7")
    objects = site.objects(site.correct(loop.write(tmp_path / "source.dcm"), loop.labels))
    image, drawn, corrected, _ = [pydicom.dcmread(p) for p in paths_of(objects, tmp_path / "out")]
    model = current_model()
    named = f"{model.name} {model.version}"
    assert {item.StudyInstanceUID for item in objects} == {image.StudyInstanceUID}
    for dataset in (image, drawn, corrected):
        assert dataset.StudyDescription == f"Echocart correction of {named}"
        assert dataset.StudyID == "ab" * 8
        assert dataset.StudyDate == f"{datetime.now(timezone.utc).year}0101"
        assert dataset.StationName == "Ward 7"
        assert dataset.SeriesDescription.startswith("RESEARCH USE ONLY - ")
        codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113101"]
    assert image.BurnedInAnnotation == "NO"
    assert (image.SeriesNumber, drawn.SeriesNumber, corrected.SeriesNumber) == (1, 9001, 9002)
    assert drawn.SeriesDescription.endswith(f"Model {named}")
    assert corrected.SeriesDescription.endswith(f"Correction of {named}")
    assert corrected.ContentDescription.endswith("by: bedside reviewer")
    kinds = [d.SegmentSequence[0].SegmentAlgorithmType for d in (drawn, corrected)]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC"]
    algorithm = drawn.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmParameters == f"sha256={'ab' * 32}"
    assert len(drawn.SegmentSequence) == len(STRUCTURES)


def test_a_later_correction_of_a_loop_is_known_to_replace_the_earlier(tmp_path):
    loop = cine_loop(frames=8)
    source = loop.write(tmp_path / "source.dcm")
    site = Site(tmp_path / "box")
    rounds = [site.correct(source, loop.labels), site.correct(source, loop.labels, again=True)]
    files = [site.objects(delivery) for delivery in rounds]
    before, after = [pydicom.dcmread(paths_of(item, tmp_path / "out")[0]) for item in files]
    one, two = (d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in (before, after))
    assert one == two != loop.dataset.SOPInstanceUID
    assert before.PatientID == after.PatientID
    assert (before.InstanceNumber, after.InstanceNumber) == (1, 2)
    assert not {f.SOPInstanceUID for f in files[0]} & {f.SOPInstanceUID for f in files[1]}


@pytest.mark.parametrize("timing", ["FrameTime", "FrameTimeVector", "uneven", "missing"])
@pytest.mark.parametrize("regions", ["trusted", "zero"])
def test_a_puller_finds_the_timing_the_scale_and_the_fan_of_the_loop(tmp_path, timing, regions):
    uneven = {"FrameTimeVector": ["0", "20", "30", "40", "30", "30", "25", "30"]}
    loop = cine_loop(
        frames=8,
        timing="FrameTimeVector" if timing == "uneven" else timing,
        regions=regions,
        pixel_aspect=1.2,
        elements=uneven if timing == "uneven" else {},
    )
    source = loop.write(tmp_path / "source.dcm")
    site = Site(tmp_path / "box")
    path = paths_of(site.objects(site.correct(source, loop.labels)), tmp_path / "out")[0]
    with open_cine(source) as before, open_cine(path) as after:
        assert after.refusal() is None
        assert np.allclose(after.timing.frame_times_ms, before.timing.frame_times_ms, atol=0.01)
        one, two = find_sector(before), find_sector(after)
        assert two.certain
        assert (one.fan ^ two.fan).mean() < 0.002
        scales = calibration(before, one), calibration(after, two)
        assert scales[1].trusted == scales[0].trusted == (regions == "trusted")
        assert scales[1].mm_per_px_x == pytest.approx(scales[0].mm_per_px_x)
        assert scales[1].aspect == pytest.approx(scales[0].aspect, rel=1e-3)
    assert errors_of(path, KINDS[0]) == []


def test_what_the_original_lost_to_compression_is_told(tmp_path, real_loop):
    site = Site(tmp_path / "box")
    delivery = site.correct(real_loop, maps_for(real_loop))
    image = pydicom.dcmread(paths_of(site.objects(delivery)[:1], tmp_path / "out")[0])
    assert (image.LossyImageCompression, image.LossyImageCompressionRatio) == ("01", 19)
    assert (image.Manufacturer, image.NumberOfFrames) == ("SonoSite", 120)
    assert image.file_meta.TransferSyntaxUID == RLELossless


def test_an_unsure_loop_is_refused_in_words(tmp_path):
    loop = cine_loop(frames=8, colour_doppler=True, photometric="RGB")
    site = Site(tmp_path / "box")
    delivery = site.correct(loop.write(tmp_path / "source.dcm"), loop.labels)
    with pytest.raises(Refused, match="Doppler"):
        site.objects(delivery)


def record_of(site, delivery, folder):
    paths = paths_of(site.objects(delivery), folder)
    dataset = pydicom.dcmread(paths[-1])
    assert errors_of(paths[-1], KINDS[3]) == []
    return dataset, values_of(dataset)


def test_the_record_tells_how_it_was_decided_and_by_nobody(tmp_path):
    machine = {
        "Manufacturer": "GE Vingmed Ultrasound",
        "ManufacturerModelName": "Vivid E95",
        "SoftwareVersions": "204.66.0 DOE^JANE",
    }
    loop = cine_loop(frames=8, elements=machine)
    site = Site(tmp_path / "box")
    user.add(site.ledger, "AK", ["sonographer", "expert"], "", "test")
    delivery = site.correct(
        loop.write(tmp_path / "source.dcm"),
        loop.labels,
        {2: np.roll(loop.labels[2], 5), 5: np.roll(loop.labels[5], 5), 6: loop.labels[6]},
        reviewer="AK",
        reason="Confirms the correction made before.",
        seconds=41,
        strokes=7,
    )
    dataset, told = record_of(site, delivery, tmp_path / "out")
    model = current_model()
    assert told == {
        "decision": "corrected",
        "role": "expert",
        "reason": "Confirms the correction made before.",
        "seconds": 41,
        "strokes": 7,
        "changed-frames": 2,
        "111001": model.name,
        "111003": model.version,
        "111002": f"sha256={'ab' * 32}",
        "engine": "openvino",
        "precision": "f32",
        "113878": "GE",
        "113879": "Vivid E95",
        "scanner-software": "204.66.0",
    }
    assert (dataset.SeriesNumber, dataset.VerificationFlag) == (9003, "UNVERIFIED")
    images = [item for item in dataset.ContentSequence if item.ValueType == "IMAGE"]
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]
    assert named == [item.SOPInstanceUID for item in site.objects(delivery)[:3]]


def test_a_sentence_that_a_person_typed_stays(tmp_path):
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box")
    delivery = site.correct(loop.write(tmp_path / "s.dcm"), loop.labels, reason="Mrs Doe moved")
    _, told = record_of(site, delivery, tmp_path / "out")
    assert told["reason"] == "other"
    assert not {"seconds", "strokes"} & set(told)
    assert told["role"] == "bedside reviewer"


def test_the_reasons_that_may_be_told_are_the_page_s():
    assert set(words.REASONS) <= set(record.REASONS)


def test_an_accepted_loop_leaves_with_the_model_s_drawing_alone(tmp_path):
    loop = cine_loop(frames=8, PatientID="P1")
    site = Site(tmp_path / "box")
    delivery = site.accept(loop.write(tmp_path / "source.dcm"), loop.labels)
    paths = paths_of(site.objects(delivery), tmp_path / "out")
    files = [pydicom.dcmread(path) for path in paths]
    assert [file.Modality for file in files] == ["US", "SEG", "SR"]
    model = current_model()
    assert {file.StudyDescription for file in files} == {
        f"Echocart accepted {model.name} {model.version}"
    }
    told = values_of(files[-1])
    assert (told["decision"], told["changed-frames"]) == ("accepted", 0)
    kinds = [KINDS[0], KINDS[1], KINDS[3]]
    assert [errors_of(path, kind) for path, kind in zip(paths, kinds, strict=True)] == [[]] * 3


def test_dates_and_the_machine_are_told_where_the_site_retains_them(tmp_path):
    sent = {}
    for number, day in enumerate(("20240227", "20240302")):
        machine = {"StudyDate": day, "DeviceSerialNumber": "012345VS"}
        loop = cine_loop(frames=8, seed=number, elements=machine)
        source = loop.write(tmp_path / f"{number}.dcm")
        site = Site(tmp_path / "box", dates="shifted", device_identity=True)
        objects = site.objects(site.correct(source, loop.labels))
        assert not any(day.encode() in whole(item) for item in objects)
        sent[day] = [pydicom.dcmread(path) for path in paths_of(objects, tmp_path / "out")]
        codes = [item.CodeValue for item in sent[day][0].DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113101", "113107", "113109"]
        assert sent[day][0].DeviceSerialNumber == "012345VS"
        assert len({file.StudyDate for file in sent[day]}) == 1
    early, late = (date.fromisoformat(files[0].StudyDate) for files in sent.values())
    assert (late - early).days == 4
    assert date(2023, 2, 27) <= early < date(2024, 2, 27)


def test_the_serial_number_stays_where_the_site_does_not_ask_for_it(tmp_path):
    loop = cine_loop(frames=8, elements={"DeviceSerialNumber": "012345VS"})
    site = Site(tmp_path / "box")
    for item in site.objects(site.correct(loop.write(tmp_path / "source.dcm"), loop.labels)):
        assert b"012345VS" not in whole(item)
