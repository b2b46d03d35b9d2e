import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from appliance.errors import Part10Error
from appliance.part10 import Identity, identity, inflate, number, read_header, text
from tests.phantom import NAMES, cine_loop

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
]


def small(**options):
    return cine_loop(frames=2, rows=60, columns=80, **options)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_whole_file_is_read_in_its_own_encoding(tmp_path, syntax):
    header = read_header(small(transfer_syntax=syntax).write(tmp_path / "a.dcm"))
    assert header.TransferSyntaxUID == syntax
    assert header.implicit_vr == (syntax == ImplicitVRLittleEndian)
    assert header.little_endian == (syntax != ExplicitVRBigEndian)
    assert identity(header.dataset).Rows == 60
    assert "PixelData" not in header.dataset


def test_pixel_offset_points_at_the_native_pixels(tmp_path):
    loop = small()
    path = loop.write(tmp_path / "a.dcm")
    header = read_header(path)
    found = path.read_bytes()[header.pixel_offset :][: header.pixel_length]
    assert found == loop.grey.tobytes()


def test_offsets_of_a_deflated_file_count_in_the_inflated_data_set(tmp_path):
    loop = small(transfer_syntax=DeflatedExplicitVRLittleEndian)
    path = loop.write(tmp_path / "a.dcm")
    header = read_header(path)
    assert header.deflated
    assert inflate(path)[header.pixel_offset :][: header.pixel_length] == loop.grey.tobytes()


@pytest.mark.parametrize("offsets", [True, False])
def test_every_fragment_is_found_with_and_without_an_offset_table(tmp_path, offsets):
    loop = small(transfer_syntax=JPEGBaseline8Bit, fragments_per_frame=3, offsets=offsets)
    path = loop.write(tmp_path / "a.dcm")
    header = read_header(path)
    assert len(header.fragments) == 6
    assert len(header.basic_offsets) == (2 if offsets else 0)
    assert header.pixel_length is None
    first = header.fragments[0]
    assert path.read_bytes()[first.offset : first.offset + 2] == b"\xff\xd8"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, syntax):
    whole = small(transfer_syntax=syntax).bytes()
    path = tmp_path / "cut.dcm"
    choose = random.Random(7)
    for _ in range(120):
        path.write_bytes(whole[: choose.randrange(len(whole) - 1)])
        try:
            header = read_header(path)
        except Part10Error:
            continue
        # What ends between two elements is whole, though it lacks the rest.
        assert header.pixel_offset is None


def test_a_file_cut_inside_its_last_frame_is_refused(tmp_path):
    path = tmp_path / "cut.dcm"
    for syntax in (ExplicitVRLittleEndian, JPEGBaseline8Bit):
        path.write_bytes(small(transfer_syntax=syntax).bytes()[:-300])
        with pytest.raises(Part10Error, match="cut"):
            read_header(path)


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 50, bytes(132) + b"DICM"])
def test_what_is_not_dicom_is_refused(tmp_path, content):
    path = tmp_path / "note.txt"
    path.write_bytes(content)
    with pytest.raises(Part10Error):
        read_header(path)


def test_a_missing_file_may_be_tried_again(tmp_path):
    with pytest.raises(Part10Error) as caught:
        read_header(tmp_path / "none.dcm")
    assert caught.value.retry


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    return [small(transfer_syntax=syntax, regions="ecg").bytes() for syntax in SYNTAXES]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.integers(0, len(SYNTAXES) - 1),
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=12),
    cut=st.none() | st.integers(0, 2**20),
)
def test_no_bytes_whatever_raise_anything_but_a_part10_error(tmp_path, seeds, which, changes, cut):
    data = bytearray(seeds[which])
    for place, value in changes:
        # Most of the structure lies in the first 2 kB.
        data[place % min(len(data), 2500)] = value
    path = tmp_path / "fuzz.dcm"
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    try:
        header = read_header(path)
    except Part10Error:
        return
    assert isinstance(identity(header.dataset), Identity)


def test_nested_sequences_of_undefined_length_are_walked(tmp_path):
    inner, outer = Dataset(), Dataset()
    inner.CodeValue = "1"
    inner.is_undefined_length_sequence_item = True
    outer.ConceptCodeSequence = Sequence([inner])
    outer["ConceptCodeSequence"].is_undefined_length = True
    outer.is_undefined_length_sequence_item = True
    loop = small(elements={"ContentSequence": Sequence([outer])})
    loop.dataset["ContentSequence"].is_undefined_length = True
    header = read_header(loop.write(tmp_path / "a.dcm"))
    item = header.dataset.ContentSequence[0].ConceptCodeSequence[0]
    assert item.CodeValue == "1"
    assert header.pixel_offset is not None


def test_private_bulk_is_left_out_and_named(tmp_path):
    loop = small()
    block = loop.dataset.private_block(0x7FE1, "GEMS_Ultrasound_MovieGroup_001", create=True)
    block.add_new(0x01, "OB", bytes(200_000))
    header = read_header(loop.write(tmp_path / "a.dcm"))
    assert header.omitted == (0x7FE11001,)


@pytest.mark.parametrize("charset", NAMES)
def test_names_are_decoded_by_their_character_set(tmp_path, charset):
    loop = small(SpecificCharacterSet=charset, PatientName=NAMES[charset])
    header = read_header(loop.write(tmp_path / "a.dcm"))
    assert identity(header.dataset).PatientName == NAMES[charset]


@pytest.mark.parametrize("wrong", ["ISO_IR 192", "NOT A CHARACTER SET", "ISO 2022 IR 87\\NONSENSE"])
def test_a_wrong_character_set_never_stops_reading(tmp_path, wrong):
    data = small(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jérôme").bytes()
    path = tmp_path / "a.dcm"
    path.write_bytes(_with_charset(data, wrong.encode()))
    name = identity(read_header(path).dataset).PatientName
    assert name.startswith("M")
    assert "^J" in name


def _with_charset(data: bytes, value: bytes) -> bytes:
    """The file with another SpecificCharacterSet written over (0008,0005)."""
    start = data.index(b"\x08\x00\x05\x00CS") + 6
    old = int.from_bytes(data[start : start + 2], "little")
    value += b" " * (len(value) % 2)
    return data[:start] + len(value).to_bytes(2, "little") + value + data[start + 2 + old :]


def test_garbled_values_read_as_nothing():
    dataset = Dataset()
    dataset.Rows = 5
    dataset.add_new("NumberOfFrames", "IS", None)
    assert identity(dataset).NumberOfFrames == 0
    assert text(dataset, "PatientName") == ""
    assert number(dataset, "FrameTime") == 0.0


def test_every_real_file_is_whole(shared_data: Path):
    for path in sorted(shared_data.glob("*/*.dcm")):
        assert identity(read_header(path).dataset).SOPInstanceUID, path.name
