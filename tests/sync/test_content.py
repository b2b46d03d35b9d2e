"""What counts as the same object when a server has written it down its own way."""

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pynetdicom.dsutils import decode

from appliance.sync.content import content, is_filed, is_the_same


def an_object(**changed) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.PurposeOfReferenceCodeSequence = "1.2.3", [Dataset()]
    dataset = Dataset()
    dataset.SOPInstanceUID, dataset.PatientID, dataset.PatientName = "1.2.4", "P1", "DOE^JANE"
    dataset.Rows, dataset.SourceImageSequence = 0, Sequence([item])
    dataset.add_new(0x00091001, "UN", b"private")
    dataset.PixelData = b"\1\2\0\0"
    dataset["PixelData"].VR = "OB"
    for keyword, value in changed.items():
        setattr(dataset, keyword, value)
    return dataset


def read(dataset: Dataset, undefined: bool = False) -> Dataset:
    """Write a data set down and read it, sequences with or without their length."""
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, dataset)
    return decode(BytesIO(stream.getvalue()), False, True)


def test_how_sequences_are_written_makes_no_difference():
    assert is_the_same(content(read(an_object())), content(read(an_object(), undefined=True)))


def test_group_lengths_and_padding_make_no_difference():
    padded = an_object()
    padded.add_new(0x00080000, "UL", 64)
    padded.add_new(0xFFFCFFFC, "OB", b"\0" * 8)
    assert is_the_same(content(read(an_object())), content(read(padded)))


@pytest.mark.parametrize(
    "changed",
    [
        {"PixelData": b"\1\2\0\1"},
        {"PixelData": b"\1\2"},
        {"Rows": 1},
        {"PatientID": "P2"},
        {"SourceImageSequence": []},
        {"StudyID": "new"},
    ],
)
def test_any_other_difference_counts(changed):
    assert not is_the_same(content(read(an_object())), content(read(an_object(**changed))))


def test_a_change_inside_a_sequence_counts():
    other = an_object()
    other.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.9"
    assert not is_the_same(content(read(an_object())), content(read(other)))
    assert not is_filed(content(read(an_object())), content(read(other)))


def test_a_pacs_may_reconcile_the_patient_and_add_elements():
    filed = an_object(PatientID="HOSPITAL", PatientName="DOE^JANE^B", RetrieveAETitle="PACS")
    assert is_filed(content(read(an_object())), content(read(filed)))


@pytest.mark.parametrize("changed", [{"PixelData": b"\1\2\0\1"}, {"SOPInstanceUID": "1.2.5"}])
def test_a_pacs_may_change_nothing_else(changed):
    assert not is_filed(content(read(an_object())), content(read(an_object(**changed))))


def test_a_missing_element_counts():
    cut = an_object()
    del cut[0x00091001]
    assert not is_filed(content(read(an_object())), content(read(cut)))


def test_a_real_loop_is_itself(real_loop):
    dataset = pydicom.dcmread(real_loop)
    assert is_the_same(content(dataset), content(pydicom.dcmread(real_loop)))
