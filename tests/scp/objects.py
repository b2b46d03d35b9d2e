"""Small real objects to send: ultrasound frames of a few bytes under any class, syntax and identity."""

import struct
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_LOOP = "1.2.840.10008.5.1.4.1.1.3.1"
RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
RETIRED_ULTRASOUND_LOOP = "1.2.840.10008.5.1.4.1.1.3"
PRIVATE_CLASS = "1.2.840.113543.6.6.1.3.10002"  # Philips 3D


def write_object(
    path: Path,
    SOPClassUID: str = ULTRASOUND,
    TransferSyntaxUID: str = ExplicitVRLittleEndian,
    SOPInstanceUID: str = "",
    PatientName: str = "CANARY^PATIENT",
    pixels: bytes = b"\x80" * 4096,
) -> Path:
    """Write a Part 10 file of 64 x 64 grey pixels, or more when `pixels` is longer."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(TransferSyntaxUID)
    data.SOPClassUID = SOPClassUID
    data.SOPInstanceUID = SOPInstanceUID or generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientName, data.PatientID = PatientName, "CANARY-ID"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "US", 3, 7
    data.Rows, data.Columns, data.SamplesPerPixel = len(pixels) // 64, 64, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    syntax = UID(TransferSyntaxUID)
    encapsulated = syntax.is_transfer_syntax and syntax.is_encapsulated
    data.PixelData = encapsulate([pixels]) if encapsulated else pixels
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path


def data_set_bytes(path: Path) -> bytes:
    """Return a Part 10 file without its preamble and file meta information.

    Group 2 is walked: real files exist whose FileMetaInformationGroupLength is wrong.
    """
    data, at = path.read_bytes(), 128 + 4
    while data[at : at + 2] == b"\2\0":
        long = data[at + 4 : at + 6] in (b"OB", b"UN", b"UT")
        length = struct.unpack_from("<L" if long else "<H", data, at + (8 if long else 6))[0]
        at += (12 if long else 8) + length
    return data[at:]
