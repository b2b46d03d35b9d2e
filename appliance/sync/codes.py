"""The coded concepts of our results, in one table.

Written out because pydicom's dictionary of all codes takes 0.4 s to import; a test holds this
table against it.
"""

from functools import lru_cache
from typing import NamedTuple

from pydicom.dataset import Dataset

from appliance.views import APICAL


class Code(NamedTuple):
    """A coded concept (PS3.3 section 8): value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
BACKGROUND = Code("125040", "DCM", "Background")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
SEGMENTATION = Code("113076", "DCM", "Segmentation")  # CID 7203
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202

# The report: what is measured, how, in which unit (PS3.16 CID 12200 to 12228, 42).
ECHOCARDIOGRAPHY = Code("40701008", "SCT", "Echocardiography")
EJECTION_FRACTION = Code("18043-0", "LN", "Left Ventricular Ejection Fraction by US")
END_DIASTOLIC_VOLUME = Code("18026-5", "LN", "Left Ventricular End Diastolic Volume")
END_SYSTOLIC_VOLUME = Code("18148-7", "LN", "Left Ventricular End Systolic Volume")
DIASTOLIC_AREA = Code("399109006", "SCT", "Left Ventricular Diastolic Area")
SYSTOLIC_AREA = Code("399030000", "SCT", "Left Ventricular Systolic Area")
ATRIAL_VOLUME = Code("399235004", "SCT", "Left Atrium Systolic Volume")
STROKE_VOLUME = Code("90096001", "SCT", "Stroke Volume")
DISKS = Code("125208", "DCM", "Method of Disks, Single Plane")
AREA_LENGTH = Code("125205", "DCM", "Area-Length Single Plane")
BIPLANE_DISKS = Code("125207", "DCM", "Method of Disks, Biplane")
BIPLANE_AREA_LENGTH = Code("125204", "DCM", "Area-Length Biplane")
IMAGE_VIEW = Code("111031", "DCM", "Image View")
VALUE_UNKNOWN = Code("114010", "DCM", "Value unknown")
COMMENT = Code("121106", "DCM", "Comment")
PERCENT = Code("%", "UCUM", "Percent")
MILLILITRE = Code("ml", "UCUM", "ml")
SQUARE_CENTIMETRE = Code("cm2", "UCUM", "Centimeter**2")

REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")  # CID 7010


# Views are named once for page and results: PS3.16 CID 12226.
VIEWS = {name: Code(view.code, "SCT", view.meaning) for name, view in APICAL.items()}


@lru_cache(maxsize=256)
def item(code: Code) -> Dataset:
    """Return a code as an item of a code sequence (PS3.3 8.8); one for all, never to be changed.

    A correction names a hundred, and pydicom takes 0.1 ms to make one.
    """
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = code
    return dataset
