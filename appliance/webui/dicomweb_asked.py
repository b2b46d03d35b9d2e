"""What a search asks for (PS3.18 8.3.4): keys, further elements, how many results."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from werkzeug.datastructures import MultiDict

from appliance.webui.app import Refused
from appliance.webui.dicomweb_json import key

MOST = 1000  # results of one answer
_TOO_LONG = 2**31

# PS3.18 tables 10.6.3-3 to 10.6.3-5, and what viewers list beside them.
STUDY = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
)
SERIES = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "RequestAttributesSequence",
)
INSTANCE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
)
LEVELS = {"studies": STUDY, "series": SERIES, "instances": INSTANCE}
# What no object of a study says by itself, and what its objects say.
COUNTED = {
    "ModalitiesInStudy": "Modality",
    "SOPClassesInStudy": "SOPClassUID",
}
_PARAMETERS = frozenset(["limit", "offset", "includefield", "fuzzymatching", "accept"])


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> str:
    """Return how the JSON model writes a keyword's tag."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return key(tag)


@dataclass(frozen=True)
class Asked:
    """A search.

    Attributes
    ----------
    level
        "studies", "series" or "instances".
    keys
        Keyword, or those of a sequence and an element in it with a dot between, to the value asked
        for.
    limit, offset
        How many results, and how many are left out before them.
    include
        Keys (PS3.18 annex F) of further elements to return.
    everything
        Whether all elements of that level are to be returned.
    """

    level: str
    keys: dict[str, str]
    limit: int = MOST
    offset: int = 0
    include: frozenset[str] = frozenset()
    everything: bool = False


def parse(level: str, arguments: "MultiDict[str, str]", **uids: str) -> Asked:
    """Return the search that an address's query asks for, within the UIDs of its path.

    Raises
    ------
    Refused
        With 400, when it can't be understood or the box can't search so.
    """
    keys = {}
    for name in arguments:
        if name not in _PARAMETERS:
            keyword = _keyword(name)
            values = arguments.getlist(name)
            if len(values) > 1 or keyword in keys:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword} is asked for twice.")
            keys[keyword] = values[0]
    for keyword, uid in uids.items():
        if keys.get(keyword, uid) != uid:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword} is another one in the path.")
        keys[keyword] = uid
    fields = [name for text in arguments.getlist("includefield") for name in text.split(",")]
    wanted = frozenset(tag_of(_keyword(name)) for name in fields if name not in ("", "all"))
    wanted |= {tag_of(name.partition(".")[0]) for name in keys if name not in COUNTED}
    return Asked(
        level,
        keys,
        min(MOST, _count(arguments, "limit", MOST)),
        _count(arguments, "offset", 0),
        wanted,
        "all" in fields,
    )


def _keyword(name: str) -> str:
    """The keyword of a parameter, which may be one or a tag of eight digits.

    Of an element in the items of a sequence (PS3.18 8.3.4.1): the two with a dot between.
    """
    sequence, _, inner = name.rpartition(".")
    keyword = _known(inner)
    if not sequence:
        return keyword
    outer = _known(sequence)
    if dictionary_VR(outer) != "SQ" or dictionary_VR(keyword) == "SQ":
        sentence = f"{outer}.{keyword} is no element of a sequence."
        raise Refused(HTTPStatus.BAD_REQUEST, sentence)
    return f"{outer}.{keyword}"


def _known(name: str) -> str:
    tag = None
    if len(name) == 8:
        with suppress(ValueError):
            tag = int(name, 16)
    keyword = name if tag is None else keyword_for_tag(tag)
    if tag_for_keyword(keyword) is None:
        sentence = "A parameter is neither a keyword nor a tag of DICOM's dictionary."
        if "." in name:
            sentence = "The box searches within sequences, not within sequences of sequences."
        raise Refused(HTTPStatus.BAD_REQUEST, sentence)
    return keyword


def _count(arguments: "MultiDict[str, str]", name: str, otherwise: int) -> int:
    text = arguments.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit()) or int(text[:11]) > _TOO_LONG:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number from 0 on.")
    return int(text)
