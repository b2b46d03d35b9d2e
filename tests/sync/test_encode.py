"""Elements written by hand are those that pydicom writes."""

from io import BytesIO

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence

from appliance.sync.encode import encoded


def by_pydicom(item):
    buffer = BytesIO()
    stream = DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_data_element(stream, item)
    return buffer.getvalue()


def inner():
    dataset = Dataset()
    dataset.CodeValue, dataset.CodeMeaning = "odd", ["one", "and two"]
    dataset.ReferencedFrameNumber = [3, 4]
    dataset.PhysicalDeltaX = 0.0312
    dataset.DimensionIndexPointer = 0x00620001
    return dataset


def various():
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID = "DOE^JANE", None
    dataset.PatientBirthDate, dataset.SOPInstanceUID = "", "1.2.3"
    dataset.ImageType = ["DERIVED", "PRIMARY", "", "0001"]
    dataset.FrameTime, dataset.FrameTimeVector = "33.330", ["0", "20.5", 30.25]
    dataset.InstanceNumber, dataset.Rows = 7, 480
    dataset.FrameIncrementPointer = 0x00181063
    dataset.RecommendedDisplayCIELabValue = [1, 2, 65535]
    dataset.ReferencePixelX0, dataset.RegionFlags = -7, 2
    dataset.InstitutionName = "Spitäler"
    dataset.ImageComments = "long " * 20_000
    dataset.add_new(0x60003000, "OW", b"\1\2\3\4")
    dataset.RequestAttributesSequence = [inner(), Dataset()]
    dataset.DerivationImageSequence = Sequence()
    dataset.add_new(0x00291001, "FL", 1.5)
    dataset.add_new(0x00291002, "UN", b"abc")
    return dataset


@pytest.mark.parametrize("name", ["", "examples_ybr_color.dcm", "reportsi.dcm"])
def test_every_element_is_as_pydicom_writes_it(name):
    dataset = pydicom.dcmread(get_testdata_file(name)) if name else various()
    if name:
        dataset.pop("PixelData", None)
        for item in list(dataset):
            if item.VR == "SQ":  # theirs are of undefined length
                del dataset[item.tag]
    for tag, data in encoded(dataset).items():
        assert data == by_pydicom(dataset[tag]), dataset[tag].keyword
