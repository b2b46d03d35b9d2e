"""The coded concepts of our results, in one table.

Written out because pydicom's dictionary of all codes takes 0.4 s to import; a test holds this
table against it.
"""

from typing import NamedTuple

from pydicom.dataset import Dataset


class Code(NamedTuple):
    """A coded concept (PS3.3 section 8): value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
SEGMENTATION = Code("113076", "DCM", "Segmentation")  # CID 7203
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202


def item(code: Code) -> Dataset:
    """Return a code as an item of a code sequence (PS3.3 8.8)."""
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = code
    return dataset
