"""What leaves for the central archive: the loop, two segmentations, and nobody's name."""

import shutil
import subprocess
from datetime import datetime, timezone

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from appliance import masks
from appliance.cine import open_cine
from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, review
from appliance.ledger.delivery import Delivery
from appliance.ledger.review import Decision
from appliance.manifest import current_model
from appliance.part10 import identity, read_header
from appliance.sector import calibration, find_sector
from appliance.sector.geometry import Geometry
from appliance.spool import Spool
from appliance.sync.scrub import scrub
from appliance.sync.upstream import Corrections, Refused
from tests.phantom import NAMES, cine_loop
from tests.sync.material import STRUCTURES, analysed, masks_of, saved

CANARY = "KANARIENVOGEL"
_TEXT = ("LO", "SH", "ST", "LT", "UT", "PN", "UC", "AE", "UR")
# Without these a loop is none, or is refused before it is looked at.
_NEEDED = (
    *("SpecificCharacterSet", "PhotometricInterpretation", "Modality", "PatientOrientation"),
    "ContrastBolusAgent",  # a loop with any is kept, and no correction of it can leave
)
_STANDARD_UID = "1.2.840.10008."


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

    def correct(self, source, maps, changes=None, again=False):
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
            reviewer=CANARY,
            reason=CANARY,
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


def uids_in(dataset):
    """Every UID that could lead back, nested ones too."""
    found = set()
    for item in dataset.iterall():
        if item.VR == "UI" and item.value:
            values = item.value if item.VM > 1 else [item.value]
            found |= {str(value) for value in values}
    return {uid for uid in found if len(uid) > 8 and not uid.startswith(_STANDARD_UID)}


def poisoned(dataset):
    """Put the marker wherever a data set can hold text: known elements, sequences, private tags."""
    for item in list(dataset.iterall()):
        if item.VR in _TEXT and item.keyword not in _NEEDED:
            item.value = CANARY
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in _TEXT and 0x0008 <= tag >> 16 < 0x6000 and keyword_for_tag(tag) not in _NEEDED:
            dataset.add_new(tag, vr, CANARY)
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = inner.PatientName = inner.InstitutionName = CANARY
    inner.ReferencedSOPInstanceUID = "1.2.3.777.4444.1"
    inner.add_new(0x00110010, "LO", CANARY)
    outer.RequestAttributesSequence, outer.PatientComments = [inner], CANARY
    for keyword in (
        *("RequestAttributesSequence", "OtherPatientIDsSequence", "ReferencedStudySequence"),
        *("ProcedureCodeSequence", "IssuerOfPatientIDQualifiersSequence", "SourceImageSequence"),
        *("OriginalAttributesSequence", "ReferencedImageSequence", "IconImageSequence"),
    ):
        setattr(dataset, keyword, [outer])
    block = dataset.private_block(0x0029, CANARY, create=True)
    for element, vr in enumerate(("LO", "UN", "OB", "UT", "PN"), 1):
        block.add_new(element, vr, CANARY.encode() if vr in ("UN", "OB") else CANARY)
    dataset.add_new(0x60003000, "OW", (CANARY * 2).encode())
    dataset.add_new(0x60000022, "LO", CANARY)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", CANARY, "0001"]
    dataset.LossyImageCompressionMethod = CANARY
    dataset.PatientBirthDate, dataset.StudyDate = "19610402", "20251103"
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.777.4444.2"
    dataset.file_meta.PrivateInformation = CANARY.encode() + b" "
    dataset.preamble = (CANARY.encode() * 10)[:128]


def with_segments(index, frame):
    """An Exif and a comment segment in a JPEG, as carts write names into them."""
    if not frame.startswith(b"\xff\xd8"):
        return frame
    text = b"Exif\0\0" + CANARY.encode()
    length = (len(text) + 2).to_bytes(2, "big")
    return frame[:2] + b"\xff\xe1" + length + text + b"\xff\xfe" + length + text + frame[2:]


def write_poisoned(dataset, path):
    poisoned(dataset)
    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames))
        changed = [with_segments(index, frame) for index, frame in enumerate(frames)]
        dataset.PixelData = encapsulate(changed)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    assert path.read_bytes().count(CANARY.encode()) > 700
    return path


def assert_nameless(objects, source, fan, folder):
    """No marker, no UID, no date of the source in any byte; nothing lit outside the fan."""
    original = pydicom.dcmread(source)
    for item in objects:
        data = whole(item)
        assert CANARY.encode() not in data
        assert CANARY.encode("utf-16-le") not in data
        for uid in uids_in(original) | {original.file_meta.MediaStorageSOPInstanceUID}:
            assert str(uid).encode() not in data
        for date in (b"19610402", b"20251103"):
            assert date not in data
        assert original.PixelData[200:232] not in data
    loop, *segmentations = [pydicom.dcmread(path) for path in paths_of(objects, folder)]
    assert not loop.pixel_array[:, ~fan].any()
    assert loop.pixel_array[:, fan].any()
    for dataset in (loop, *segmentations):
        assert dataset.PatientName == ""
        assert dataset.get("ContentCreatorName", "") == ""
        assert dataset.PatientIdentityRemoved == "YES"
        assert not any(item.tag.is_private for item in dataset.iterall())


def errors_of(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt install dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert any("Segmentation" in line or "USMultiFrame" in line for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def assert_read_by_others(paths, maps, changed):
    loop = pydicom.dcmread(paths[0], stop_before_pixels=True)
    frames = range(1, len(maps) + 1)
    assert np.array_equal(masks_of(paths[1], loop.SOPInstanceUID, frames), maps)
    assert np.array_equal(masks_of(paths[2], loop.SOPInstanceUID, frames), changed)
    assert [errors_of(path) for path in paths] == [[], [], []]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless])
def test_nothing_of_a_poisoned_phantom_leaves(tmp_path, syntax):
    loop = cine_loop(
        frames=9,
        transfer_syntax=syntax,
        photometric="RGB",
        banner=CANARY,
        ecg=True,
        PatientName=CANARY,
        PatientID=CANARY,
    )
    source = write_poisoned(loop.dataset, tmp_path / "source.dcm")
    site = Site(tmp_path / "box")
    delivery = site.correct(source, loop.labels)
    objects = site.objects(delivery)
    with open_cine(source) as cine:
        fan = find_sector(cine).fan
    assert_nameless(objects, source, fan, tmp_path / "out")
    changed = loop.labels.copy()
    changed[2] = np.roll(loop.labels[2], 5)
    assert_read_by_others(paths_of(objects, tmp_path / "out"), loop.labels, changed)


def test_nothing_of_a_poisoned_real_file_leaves_and_the_unsure_ones_stay(tmp_path, shared_data):
    left, reasons = set(), []
    for number, path in enumerate(sorted(shared_data.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            continue
        dataset.NumberOfFrames = dataset.get("NumberOfFrames", 1)
        source = write_poisoned(dataset, tmp_path / f"{number}.dcm")
        try:
            with open_cine(source) as cine:
                fan = scrub(cine).sector.fan
        except ApplianceError as refused:
            reasons.append(str(refused))
            continue
        left.add(path.name)
        maps = maps_for(source)
        site = Site(tmp_path / f"box{number}")
        objects = site.objects(site.correct(source, maps, {0: maps[-1]}))
        assert_nameless(objects, source, fan, tmp_path / f"out{number}")
        changed = maps.copy()
        changed[0] = maps[-1]
        assert_read_by_others(paths_of(objects, tmp_path / f"out{number}"), maps, changed)
    assert left == {"color3d_jpeg_baseline.dcm", "examples_ybr_color.dcm"}
    assert len(reasons) > 15
    assert not any(CANARY in reason for reason in reasons)


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
    (tmp_path / "box" / "upstream.key").write_bytes(b"\1" * 32)
    assert not set(first) & {item.sha256 for item in site.objects(delivery)}


def test_a_study_says_which_segmentation_is_which_and_which_model_drew(tmp_path):
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box", site="Ward 7")
    objects = site.objects(site.correct(loop.write(tmp_path / "source.dcm"), loop.labels))
    image, drawn, corrected = [pydicom.dcmread(p) for p in paths_of(objects, tmp_path / "out")]
    model = current_model()
    named = f"{model.name} {model.version}"
    assert {item.StudyInstanceUID for item in objects} == {image.StudyInstanceUID}
    for dataset in (image, drawn, corrected):
        assert dataset.StudyDescription == f"Echocart correction of {named}"
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
    assert errors_of(path) == []


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
