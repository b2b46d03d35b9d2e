"""A word put wherever an object can hold one, and looked for in everything that leaves."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from appliance.sync.seg import Part10

CANARY = "KANARIENVOGEL"  # 13 letters: legal in every VR of text but those for dates and numbers
BIRTH, STUDY = "19610402", "20251103"  # dates that must not leave
OUI = "1.2.3.777.4444.1"
_TEXT = ("LO", "SH", "ST", "LT", "UT", "PN", "UC", "AE", "UR", "CS")
# Without these a loop is none, or is refused before it is looked at.
_NEEDED = (
    *("SpecificCharacterSet", "PhotometricInterpretation", "Modality", "PatientOrientation"),
    "ContrastBolusAgent",  # a loop with any is kept, and no correction of it can leave
    *("ImageType", "LossyImageCompression", "UltrasoundColorDataPresent"),
)
_STANDARD_UID = "1.2.840.10008."
_SCALES = (0.48, 0.5)  # of the letters, in units of OpenCV: a phantom's banner, and ours
_JPEG = "1.2.840.10008.1.2.4."  # what is uncompressed, or RLE, may be encoded alike
_VARIED = 12  # different bytes: others may meet by chance
_SURE = 0.6  # correlation; a picture without the word stays below 0.45


def poisoned(dataset: Dataset) -> None:
    """Put the word into known elements, sequences, private tags, overlays and the file's head."""
    for item in list(dataset.iterall()):
        if item.VR in _TEXT and item.keyword not in _NEEDED:
            item.value = CANARY
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in _TEXT and 0x0008 <= tag >> 16 < 0x6000 and keyword_for_tag(tag) not in _NEEDED:
            dataset.add_new(tag, vr, CANARY)
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = inner.PatientName = inner.InstitutionName = CANARY
    inner.ReferencedSOPInstanceUID = OUI
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
    _overlays(dataset)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", CANARY, "0001"]
    dataset.LossyImageCompressionMethod = CANARY
    dataset.PatientBirthDate, dataset.StudyDate = BIRTH, STUDY
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.777.4444.2"
    dataset.file_meta.PrivateInformation = CANARY.encode() + b" "
    dataset.preamble = (CANARY.encode() * 10)[:128]


def _overlays(dataset: Dataset) -> None:
    """Two planes (PS3.3 C.9.2) that hold the word as text, and drawn."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    plane = np.zeros((rows, columns), np.uint8)
    cv2.putText(plane, CANARY, (4, rows // 2), 0, 0.5, 1)
    bits = np.packbits(plane.ravel(), bitorder="little").tobytes()
    for group in (0x6000, 0x6002):
        for element, vr, value in (
            (0x0010, "US", rows),
            (0x0011, "US", columns),
            (0x0022, "LO", CANARY),
            (0x0040, "CS", "G"),
            (0x0050, "SS", [1, 1]),
            (0x0100, "US", 1),
            (0x0102, "US", 0),
            (0x1500, "LO", CANARY),
            (0x3000, "OW", bits + b"\0" * (len(bits) % 2)),
        ):
            dataset.add_new(group << 16 | element, vr, value)


def with_segments(frame: bytes) -> bytes:
    """Put Exif, a vendor's segment and a comment into a JPEG, as carts write names into them."""
    if not frame.startswith(b"\xff\xd8"):
        return frame
    text = b"Exif\0\0" + CANARY.encode()
    length = (len(text) + 2).to_bytes(2, "big")
    marked = b"".join(marker + length + text for marker in (b"\xff\xe1", b"\xff\xec", b"\xff\xfe"))
    return frame[:2] + marked + frame[2:]


def write_poisoned(dataset: Dataset, path: Path) -> Path:
    poisoned(dataset)
    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames))
        dataset.PixelData = encapsulate([with_segments(frame) for frame in frames])
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    assert path.read_bytes().count(CANARY.encode()) > 700
    return path


def written_on(
    frames: np.ndarray, place: tuple[int, int], level: int = 230, scale: float = 0.5
) -> np.ndarray:
    """Return uint8[frames, rows, columns] with the word drawn on each; `place` is its x, y."""
    drawn = frames.copy()
    for frame in drawn:
        cv2.putText(frame, CANARY, place, 0, scale, level)
    return drawn


def in_grey(dataset: Dataset, frames: np.ndarray) -> Dataset:
    """Give an object other pixels, uncompressed."""
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    for keyword in ("PlanarConfiguration", "NumberOfFrames"):
        dataset.pop(keyword, None)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.tobytes() + b"\0" * (frames.size % 2)
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def match(pictures: Iterable[np.ndarray]) -> float:
    """How well the best place of any picture looks like the word, or half of it, up to 1."""
    best = 0.0
    for picture in pictures:
        for stamp in _stamps():
            if picture.shape[0] >= stamp.shape[0] and picture.shape[1] >= stamp.shape[1]:
                found = cv2.matchTemplate(picture, stamp, cv2.TM_CCOEFF_NORMED)
                best = max(best, float(np.nan_to_num(found, posinf=0.0, neginf=0.0).max()))
    return best


def _stamps() -> Iterable[np.ndarray]:
    half = len(CANARY) // 2
    for scale in _SCALES:
        for word in (CANARY[:half], CANARY[half:]):
            (width, height), below = cv2.getTextSize(word, 0, scale, 1)
            stamp = np.zeros((height + below, width), np.uint8)
            cv2.putText(stamp, word, (0, height), 0, scale, 255)
            yield stamp


def shows_the_word(frames: np.ndarray) -> bool:
    """Tell whether the word can be read in uint8[frames, rows, columns], bright or dark."""
    darkest, brightest = frames.min(0), frames.max(0)
    # Negatives too, for dark letters: they stand out where the picture is brightest.
    return match([darkest, brightest, frames[0], frames[-1], 255 - brightest]) > _SURE


def uids_in(dataset: Dataset) -> set[str]:
    """Every UID that could lead back, nested ones too."""
    found: set[str] = set()
    for item in dataset.iterall():
        if item.VR == "UI" and item.value:
            values = item.value if item.VM > 1 else [item.value]
            found |= {str(value) for value in values}
    return {uid for uid in found if len(uid) > 8 and not uid.startswith(_STANDARD_UID)}


def canaries(objects: Iterable[Part10], source: Path) -> list[str]:
    """Name whatever of a poisoned source is found in what leaves: in bytes, and in pixels."""
    original = pydicom.dcmread(source)
    word = CANARY.encode()
    middle = len(original.PixelData) // 2
    encoded = original.PixelData[middle : middle + 32]
    is_jpeg = original.file_meta.TransferSyntaxUID.startswith(_JPEG)
    varied = len(set(encoded)) > _VARIED
    swapped = np.frombuffer(word + b"\0", "u2").byteswap().tobytes().rstrip(b"\0")
    traces = {
        "the word": [word, word.lower(), CANARY.encode("utf-16-le"), CANARY.encode("utf-16-be")],
        "the word with its bytes swapped": [swapped],
        "a date": [BIRTH.encode(), STUDY.encode()],
        "a UID": [
            uid.encode()
            for uid in uids_in(original) | {str(original.file_meta.MediaStorageSOPInstanceUID)}
        ],
        "pixels as they were encoded": [encoded] if is_jpeg and varied else [],
    }
    found = []
    for item in objects:
        data = b"".join(bytes(part) for part in item.parts)
        found += [what for what, forms in traces.items() if any(form in data for form in forms)]
        dataset = pydicom.dcmread(BytesIO(data))
        if any(element.tag.is_private for element in dataset.iterall()):
            found.append("a private element")
        if any(element.tag.group in range(0x6000, 0x6100) for element in dataset.iterall()):
            found.append("an overlay")
        if "PixelData" in dataset:
            frames = np.atleast_3d(dataset.pixel_array)
            drawn = frames.max() == 1  # a segmentation's
            if shows_the_word(frames * np.uint8(255) if drawn else frames):
                found.append("the word in the pixels")
    return found
