"""The segmentation as others read it: highdicom, dciodvfy, pydicom."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from appliance.errors import DeliveryError, Part10Error
from appliance.part10 import read_header
from appliance.sync.seg import segmentation
from appliance.sync.segments import Structure, cielab
from tests.phantom import cine_loop
from tests.sync.material import (
    AUTOMATIC,
    CORRECTED,
    STRUCTURES,
    a_review,
    errors_of,
    label_maps,
    masks_of,
    saved,
    write_source,
)

# Values taken over as they are: dates with dots, test UIDs, two frames in a class for stills.
SOURCES_OWN = (
    *("invalid for this VR", "Illegal root for UID", "contains invalid data values"),
    "Referenced SOP Class that is not multi-frame",
)


def build(source, maps, review=None, provenance=AUTOMATIC, structures=STRUCTURES):
    indexes = range(len(maps))
    header = read_header(source)
    return segmentation(
        header, lambda i: maps[i], indexes, structures, provenance, review or a_review()
    )


def build_and_read(folder, source, review=None, **more):
    header = read_header(source).dataset
    maps = label_maps(2, header.Rows, header.Columns)
    path = saved(build(source, maps, review, **more), folder)
    return pydicom.dcmread(path)


@pytest.mark.parametrize(("rows", "columns"), [(48, 64), (333, 601), (7, 9), (1, 3)])
@pytest.mark.parametrize("frames", [2, 13])
def test_the_masks_come_back_to_the_pixel(tmp_path, rows, columns, frames):
    source = write_source(tmp_path / "source.dcm", rows, columns, frames)
    maps = label_maps(frames, rows, columns)
    path = saved(build(source, maps), tmp_path)
    uid = pydicom.dcmread(source).SOPInstanceUID
    assert np.array_equal(masks_of(path, uid, range(1, frames + 1)), maps)
    assert errors_of(path) == []


def test_the_real_loop_gives_a_segmentation_without_errors(tmp_path, real_loop):
    source = pydicom.dcmread(real_loop, stop_before_pixels=True)
    maps = label_maps(120, 480, 640)
    path = saved(build(real_loop, maps), tmp_path)
    assert errors_of(path) == []
    assert np.array_equal(masks_of(path, source.SOPInstanceUID, range(1, 121)), maps)
    result = pydicom.dcmread(path, stop_before_pixels=True)
    assert result.StudyInstanceUID == source.StudyInstanceUID
    assert (result.LossyImageCompression, result.LossyImageCompressionRatio) == ("01", 19)


def test_every_real_file_gives_a_segmentation_whose_errors_are_the_source_s_own(
    tmp_path, shared_data
):
    built = 0
    for source in sorted(shared_data.rglob("*.dcm")):
        try:
            header = read_header(source)
            maps = np.zeros((1, header.dataset.Rows, header.dataset.Columns), np.uint8)
            result = build(source, maps)
        except (Part10Error, DeliveryError, AttributeError):
            continue  # no image, or one without UIDs
        built += 1
        for line in errors_of(saved(result, tmp_path)):
            assert any(kind in line for kind in SOURCES_OWN), f"{source.name}: {line}"
    assert built >= 10


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, ExplicitVRLittleEndian])
def test_a_phantom_loop_s_own_masks_come_back_to_the_pixel(tmp_path, syntax):
    phantom = cine_loop(frames=6, rows=333, columns=601, transfer_syntax=syntax, photometric="RGB")
    source = phantom.write(tmp_path / "source.dcm")
    path = saved(build(source, phantom.labels), tmp_path)
    uid = pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID
    assert np.array_equal(masks_of(path, uid, range(1, 7)), phantom.labels)
    assert errors_of(path) == []
    lossy = "01" if syntax == JPEGBaseline8Bit else "00"
    assert pydicom.dcmread(path).LossyImageCompression == lossy


def test_a_still_is_referred_to_as_a_whole(tmp_path):
    source = write_source(tmp_path / "source.dcm", frames=1)
    path = saved(build(source, label_maps(1, 48, 64)), tmp_path)
    group = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence[0]
    assert "ReferencedFrameNumber" not in group.DerivationImageSequence[0].SourceImageSequence[0]
    assert errors_of(path) == []


def test_the_same_review_gives_the_same_bytes(tmp_path):
    source = write_source(tmp_path / "source.dcm")
    maps = label_maps(8, 48, 64)
    assert build(source, maps).sha256 == build(source, maps).sha256


def test_an_empty_frame_is_there_and_a_frame_without_a_label_map_is_not(tmp_path):
    source = write_source(tmp_path / "source.dcm", frames=6)
    maps = label_maps(6, 48, 64)
    result = segmentation(
        read_header(source), lambda i: maps[i], [0, 2, 4], STRUCTURES, AUTOMATIC, a_review()
    )
    path = saved(result, tmp_path)
    assert errors_of(path) == []
    dataset = pydicom.dcmread(path)
    assert dataset.NumberOfFrames == 9
    groups = dataset.PerFrameFunctionalGroupsSequence
    contents = [group.FrameContentSequence[0] for group in groups]
    assert [item.TemporalPositionIndex for item in contents] == [1, 2, 3] * 3
    assert [item.DimensionIndexValues for item in contents[:3]] == [[1, 1], [1, 2], [1, 3]]
    derivation = groups[1].DerivationImageSequence[0].SourceImageSequence[0]
    assert derivation.ReferencedFrameNumber == 3
    assert derivation.SpatialLocationsPreserved == "YES"
    assert not maps[4].any()
    assert "FrameOfReferenceUID" not in dataset
    assert dataset["PatientOrientation"].is_empty


# Names as they stand in files: PS3.5 Annexes H, I, J, K, and what carts do against them.
NAMES = {
    "latin": ("ISO_IR 100", "Buc^Jérôme".encode("latin-1")),
    "utf-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东".encode()),
    "japanese": (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "korean": ("\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    # The second byte of the last character is a backslash.
    "gb18030": ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\x81\x5c"),
    "utf-8 said to be latin": ("ISO_IR 100", "Müller^Zoë".encode()),
    "an unknown set": ("ISO_IR 999", b"M\xfcller^\x81\xff"),
    "no set at all": (None, b"M\xfcller^Zo\xeb"),
    "lower case": ("utf-8", "Müller^Zoë".encode()),
}


def raw(path, keyword):
    dataset = read_header(path).dataset
    return dataset.get_item(pydicom.tag.Tag(keyword)).value.rstrip(b" \0")


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("name", NAMES)
def test_names_are_carried_byte_for_byte(tmp_path, name, syntax):
    character_set, written = NAMES[name]
    written += b" " * (len(written) % 2)
    stand_in = b"QZ" * (len(written) // 2)
    sets = {} if character_set is None else {"SpecificCharacterSet": character_set.split("\\")}
    source = write_source(
        tmp_path / "source.dcm",
        syntax=syntax,
        replaced=(stand_in, written),
        PatientName=stand_in.decode(),
        ReferringPhysicianName=stand_in.decode(),
        StudyDescription=stand_in.decode()[:64],
        **sets,
    )
    path = saved(build(source, label_maps(1, 48, 64)), tmp_path)
    for keyword in ("PatientName", "ReferringPhysicianName", "StudyDescription"):
        assert raw(path, keyword) == written.rstrip(b" ")
    carried = ["PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyTime"]
    for keyword in [*carried, "SpecificCharacterSet"] if sets else carried:
        assert raw(path, keyword) == raw(source, keyword)


def test_issuer_and_codes_inside_sequences_are_carried_from_every_byte_order(tmp_path):
    issuer, procedure = pydicom.Dataset(), pydicom.Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    issuer.add_new(0x00091010, "LO", "a private element stays behind")
    procedure.CodeValue, procedure.CodingSchemeDesignator = "40701008", "SCT"
    procedure.CodeMeaning = "Échocardiographie"
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        source = write_source(
            tmp_path / "source.dcm",
            syntax=syntax,
            SpecificCharacterSet="ISO_IR 192",
            IssuerOfPatientIDQualifiersSequence=[issuer],
            ProcedureCodeSequence=[procedure],
        )
        result = build_and_read(tmp_path, source)
        assert result.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
        assert len(result.IssuerOfPatientIDQualifiersSequence[0]) == 2
        assert result.ProcedureCodeSequence[0] == procedure


def test_study_attributes_the_source_lacks_are_there_and_empty(tmp_path):
    source = write_source(tmp_path / "source.dcm", StudyDate=None, StudyTime=None)
    dataset = pydicom.dcmread(source)
    for keyword in ("PatientName", "PatientSex", "StudyDate", "StudyID"):
        del dataset[keyword]
    dataset.save_as(source)
    path = saved(build(source, label_maps(1, 48, 64)), tmp_path)
    result = pydicom.dcmread(path)
    for keyword in ("PatientName", "PatientSex", "StudyDate", "StudyID", "AccessionNumber"):
        assert result[keyword].is_empty
    assert errors_of(path) == []


@pytest.mark.parametrize(
    ("character_set", "reviewer", "expected"),
    [
        ("ISO_IR 100", "JÉ", "JÉ"),
        ("ISO_IR 192", "王", "王"),
        (["", "ISO 2022 IR 87"], "山田", "山田"),
        ("GB18030", "王", "王"),
        ("ISO_IR 100", "王É", "E"),
        ("ISO_IR 999", "JÉ", "JE"),
        (None, "JÉ", "JE"),
        ("ISO_IR 100", "王", "?"),
        ("ISO_IR 100", "A\\B=C\n", "A B C"),
    ],
)
def test_the_reviewer_is_written_in_the_character_set_of_the_source(
    tmp_path, character_set, reviewer, expected
):
    sets = {} if character_set is None else {"SpecificCharacterSet": character_set}
    source = write_source(tmp_path / "source.dcm", **sets)
    result = build_and_read(tmp_path, source, a_review(reviewer=reviewer))
    assert str(result.ContentCreatorName) == expected


def test_research_use_is_said_while_the_manifest_says_so(tmp_path):
    source = write_source(tmp_path / "source.dcm")
    research = build_and_read(tmp_path, source)
    assert research.ContentLabel == "RESEARCH USE"
    assert research.SeriesDescription.startswith("RESEARCH USE ONLY")
    assert research.ContentDescription.startswith("RESEARCH USE ONLY")
    released = build_and_read(tmp_path, source, a_review(research_use=False))
    assert "RESEARCH" not in str(released)


def test_a_correction_is_a_new_object_about_the_same_structures(tmp_path):
    source = write_source(tmp_path / "source.dcm")
    first = build_and_read(tmp_path, source)
    second = build_and_read(tmp_path, source, a_review(2), provenance=CORRECTED)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    for before, after in zip(first.SegmentSequence, second.SegmentSequence, strict=True):
        assert before.TrackingUID == after.TrackingUID
        assert before.SegmentAlgorithmType == "AUTOMATIC"
        assert after.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert len({item.TrackingUID for item in first.SegmentSequence}) == 3


def test_the_model_is_named_with_version_and_hash(tmp_path):
    segment = build_and_read(tmp_path, write_source(tmp_path / "s.dcm")).SegmentSequence[1]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert segment.SegmentAlgorithmName == "first-network 1.0.0"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("first-network", "1.0.0")
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "49848007"


def test_times_are_in_the_zone_the_source_declares(tmp_path):
    source = write_source(tmp_path / "source.dcm", TimezoneOffsetFromUTC="+0530")
    result = build_and_read(tmp_path, source)
    assert result.TimezoneOffsetFromUTC == "+0530"
    assert (result.ContentDate, result.ContentTime) == ("20261121", "040015.123000")
    assert result.StudyTime == "221500"


@pytest.mark.parametrize("offset", [None, "EST", "+9900", "-0000", "0530"])
def test_a_zone_the_source_does_not_declare_is_not_declared_for_its_study_times(tmp_path, offset):
    extra = {} if offset is None else {"TimezoneOffsetFromUTC": offset}
    source = write_source(tmp_path / "source.dcm", **extra)
    local = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(timedelta(hours=1)))
    result = build_and_read(tmp_path, source, a_review(created=local))
    assert "TimezoneOffsetFromUTC" not in result
    assert (result.ContentDate, result.ContentTime) == ("20261120", "233000.000000")
    contribution = result.ContributingEquipmentSequence[0].ContributionDateTime
    assert str(contribution) == "20261120233000.000000+0100"


def test_colours_are_those_highdicom_reads_back(tmp_path):
    import highdicom

    for structure in [*STRUCTURES, Structure(4, "x", "1", "x", "#000000")]:
        red, green, blue = (int(structure.colour[i : i + 2], 16) for i in (1, 3, 5))
        theirs = highdicom.color.CIELabColor.from_rgb(red, green, blue).value
        assert np.allclose(cielab(structure.colour), theirs, atol=2)


def test_names_outside_the_default_repertoire_never_spoil_the_object(tmp_path):
    odd = [Structure(1, "Löv\\x", "87878005", "Herzkammer é", "#56B4E9")]
    source = write_source(tmp_path / "source.dcm", SpecificCharacterSet="ISO_IR 192")
    result = build_and_read(tmp_path, source, a_review(station_name="Büro"), structures=odd)
    assert result.SegmentSequence[0].SegmentLabel == "Lv x"
    assert result.StationName == "Bro"


def test_a_label_map_of_another_size_is_refused(tmp_path):
    source = write_source(tmp_path / "source.dcm", 48, 64)
    with pytest.raises(DeliveryError, match="size"):
        build(source, label_maps(1, 64, 48))


def test_a_loop_without_study_is_refused_in_words(tmp_path):
    source = write_source(tmp_path / "source.dcm", StudyInstanceUID="")
    with pytest.raises(DeliveryError, match="StudyInstanceUID"):
        build(source, label_maps(1, 48, 64))


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("uid", [b"1.2.ABCD", b"a loop of ours", b"1..2"])
def test_a_uid_that_is_none_is_carried_as_it_came(tmp_path, keyword, uid):
    stand_in = b"9." + b"7" * (len(uid) - 2)
    source = write_source(
        tmp_path / "source.dcm", replaced=(stand_in, uid), **{keyword: stand_in.decode()}
    )
    result = build_and_read(tmp_path, source)
    series = result.ReferencedSeriesSequence[0]
    found = {
        "SOPInstanceUID": series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID,
        "StudyInstanceUID": result.StudyInstanceUID,
        "SeriesInstanceUID": series.SeriesInstanceUID,
    }
    assert found[keyword] == uid.decode()


def test_a_garbled_compression_ratio_stops_nothing(tmp_path):
    source = write_source(
        tmp_path / "source.dcm",
        replaced=(b"97", b"ab"),
        LossyImageCompression="01",
        LossyImageCompressionRatio="97",
    )
    path = saved(build(source, label_maps(2, 48, 64)), tmp_path)
    assert pydicom.dcmread(path).LossyImageCompression == "01"
    assert raw(path, "LossyImageCompressionRatio") == b"ab"


def test_any_damage_to_the_source_gives_an_object_or_a_reason(tmp_path):
    issuer = pydicom.Dataset()
    issuer.UniversalEntityID = "1.2.3"
    source = write_source(
        tmp_path / "source.dcm",
        SpecificCharacterSet="ISO_IR 192",
        IssuerOfPatientIDQualifiersSequence=[issuer],
        LossyImageCompression="01",
        TimezoneOffsetFromUTC="+0100",
    )
    whole, chance = source.read_bytes(), np.random.default_rng(7)
    maps, built = label_maps(2, 48, 64), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in chance.integers(132, len(whole), 3):
            damaged[place] = chance.integers(256)
        source.write_bytes(damaged)
        try:
            build(source, maps, a_review(reviewer="JÉ"))
            built += 1
        except (Part10Error, DeliveryError):
            continue
    assert built > 50
