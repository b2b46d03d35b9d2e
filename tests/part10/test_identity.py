"""The receiver's short way to an identity tells what the long one does, whatever the values are."""

import os
import struct
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from appliance.errors import Part10Error
from appliance.part10 import Identity, identity, read_header, read_identity
from appliance.part10.meta import file_meta
from appliance.part10.plain import TAGS
from tests.phantom import NAMES, cine_loop

LONG = {"OB", "OW", "SQ", "UN", "UT", "UC"}
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "little": ExplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}
plain = st.text("ABCdef 0123456789.^+-", max_size=24).map(str.encode)
odd = st.text("AB01 .^=\\~\0\n\x1b\x7f$(", max_size=24).map(str.encode)
values = st.one_of(plain, odd, st.binary(max_size=24), st.sampled_from([b"\2\0", b"60", b"1e3 "]))
vrs = st.sampled_from(["US", "SS", "UL", "UN", "OB", "DS", "LT", "PN", "UI", "IS", "LO", "TM"])


def element(tag: int, vr: str, value: bytes, kind: str) -> bytes:
    value += b" " * (len(value) % 2)
    order = ">" if kind == "big" else "<"
    start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if kind == "implicit":
        return start + struct.pack("<L", len(value)) + value
    if vr in LONG:
        return start + vr.encode() + struct.pack(order + "2xL", len(value)) + value
    return start + vr.encode() + struct.pack(order + "H", len(value)) + value


def read(path) -> Identity:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found, _ = read_identity(descriptor, os.pread(descriptor, 300, 0))
    finally:
        os.close(descriptor)
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(SYNTAXES)),
    charset=st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13", b"\\ISO 2022 IR 87"]),
    said=st.dictionaries(
        st.sampled_from(sorted(TAGS)), st.tuples(st.none() | vrs, values), min_size=1
    ),
)
def test_any_value_is_told_as_the_whole_header_tells_it(tmp_path, kind, charset, said):
    data = file_meta("1.2.3", "1.2.4", SYNTAXES[kind])
    elements = {TAGS[keyword]: (vr, value) for keyword, (vr, value) in said.items()}
    elements[TAGS["SpecificCharacterSet"]] = (None, charset)
    for tag, (vr, value) in sorted(elements.items()):
        data += element(tag, vr or dictionary_VR(tag), value, kind)
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    try:
        expected = identity(read_header(path).dataset)
    except Part10Error:
        # Also a value nobody asked for can make a whole header unreadable.
        return
    assert asdict(read(path)) == asdict(expected)


@pytest.mark.parametrize("charset", sorted(NAMES))
def test_a_name_is_told_in_its_own_script(tmp_path, charset):
    said = {"SpecificCharacterSet": charset, "PatientName": NAMES[charset]}
    loop = cine_loop(frames=2, rows=60, columns=80, **said)
    path = loop.write(tmp_path / "a.dcm")
    assert read(path).PatientName == NAMES[charset]


def test_of_an_element_that_comes_twice_the_later_counts(tmp_path):
    data = file_meta("1.2.3", "1.2.4", ExplicitVRLittleEndian)
    data += element(0x00100020, "LO", b"FIRST", "little")
    data += element(0x00100020, "LO", b"LATER", "little")
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    assert read(path).PatientID == identity(read_header(path).dataset).PatientID == "LATER"
