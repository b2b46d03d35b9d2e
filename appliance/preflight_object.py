"""A small ultrasound loop of nobody, to see whether a destination takes one."""

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

PATIENT = "ECHOCART^TEST"
_FRAMES, _ROWS, _COLUMNS = 2, 16, 16


def written(folder: Path) -> Path:
    """Write a test object with fresh UIDs and return its file."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = PATIENT, "ECHOCART-TEST"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "", "", "TEST"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = dataset.SeriesDescription = "Test of a connection: delete it"
    dataset.Modality, dataset.Manufacturer = "US", "Echocart"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = None
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = _FRAMES, _ROWS, _COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.FrameTime, dataset.FrameIncrementPointer = "40", pydicom.tag.Tag("FrameTime")
    dataset.LossyImageCompression = "00"
    dataset.PixelData = bytes(_FRAMES * _ROWS * _COLUMNS)
    path = folder / "test.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def uids_of(path: Path) -> tuple[str, str, str]:
    """Return StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID of a file."""
    found = pydicom.dcmread(path, stop_before_pixels=True)
    return found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID
