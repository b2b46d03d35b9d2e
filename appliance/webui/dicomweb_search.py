"""QIDO-RS (PS3.18 10.6): the studies, series and instances that fit a search."""

from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import Any

from pydicom.datadict import dictionary_VR

from appliance.errors import Part10Error
from appliance.ledger import Ledger, described, served
from appliance.ledger.connection import Row
from appliance.part10 import read_header
from appliance.spool import Spool
from appliance.webui import dicomweb_index as index
from appliance.webui.dicomweb_asked import COUNTED, LEVELS, SERIES, STUDY, Asked, tag_of
from appliance.webui.dicomweb_json import Json, element, model, of_row
from appliance.webui.dicomweb_match import bounds, matches

# What the ledger narrows the search by before any file is opened: column by keyword.
_EXACT = {
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "PatientID": "patient_id",
    "Modality": "modality",
}
_DESCRIBED = "i.study_instance_uid IN (SELECT study_instance_uid FROM described WHERE"
_COLUMNS = {"studies": "study_instance_uid", "series": "series_instance_uid"}
# A study that somebody has said to be one person's may still carry two names: each loop tells its own.
_PATIENT = tuple(tag_of(keyword) for keyword in STUDY if keyword.startswith("Patient"))


def find(ledger: Ledger, spool: Spool, asked: Asked, base: str) -> tuple[list[Json], bool]:
    """Return what fits, studies with the newest objects first; and whether there is more.

    Parameters
    ----------
    ledger, spool
        The box's.
    asked
        The search.
    base
        Address of the service, for RetrieveURL.
    """
    # What came a moment ago, or before there was an index; nothing else is opened.
    index.bring_up_to_date(ledger, spool)
    conditions, parameters = _narrowed(asked.keys)
    studies = served.studies(ledger, conditions, parameters)
    found = (
        result
        for study in studies
        for result in _Study(ledger, served.of_study(ledger, study), spool, base).results(asked)
    )
    page = list(islice(found, asked.offset, asked.offset + asked.limit + 1))
    return page[: asked.limit], len(page) > asked.limit


def _narrowed(keys: dict[str, str]) -> tuple[list[str], list[str]]:
    conditions, parameters = list[str](), list[str]()
    for keyword, column in _EXACT.items():
        wanted = keys.get(keyword, "")
        if wanted in ("", '""') or set(wanted) & set("*?"):
            continue
        exact = keyword in ("PatientID",)
        choices = [wanted.strip()] if exact else wanted.replace(",", "\\").split("\\")
        conditions.append(f"i.{column} IN ({', '.join('?' * len(choices))})")
        parameters += choices
    accession = keys.get("AccessionNumber", "")
    if accession not in ("", '""') and not set(accession) & set("*?"):
        conditions.append(f"{_DESCRIBED} accession_number = ?)")
        parameters.append(accession.strip())
    if keys.get("StudyDate", "") not in ("", '""'):
        conditions.append(f"{_DESCRIBED} study_date BETWEEN ? AND ?)")
        parameters += bounds("DA", keys["StudyDate"])
    name = keys.get("PatientName", "")
    if name not in ("", '""'):
        conditions.append("i.patient_name LIKE ? ESCAPE '!'")
        parameters.append(f"%{''.join(map(_like, name.rstrip('^ ')))}%")
    return conditions, parameters


def _like(character: str) -> str:
    """SQLite knows the two cases of ASCII letters alone: what is beyond is looked at later."""
    if character == "*" or not character.isascii():
        return "%"
    return "_" if character == "?" else f"!{character}" if character in "!%_" else character


class _Study:
    """A study's instances that are served, and their elements as they are asked for."""

    def __init__(self, ledger: Ledger, rows: list[Row], spool: Spool, base: str) -> None:
        self._rows = rows
        self._described = described.of(ledger, [row["sha256"] for row in rows])
        self._spool = spool
        self._base = base
        self._tellers: dict[str, dict[str, Row]] = {}

    def results(self, asked: Asked) -> Iterator[Json]:
        """Give a result for each study, series or instance of it that fits."""
        rows = self._fitting(asked.keys)
        column = _COLUMNS.get(asked.level)
        groups: Callable[[Row], Any] = (
            (lambda row: row[column]) if column else (lambda row: row["sop_instance_uid"])
        )
        for _, members in groupby(rows, groups):
            yield self._result(next(members), asked)

    def _fitting(self, keys: dict[str, str]) -> list[Row]:
        rows = self._rows
        for keyword, wanted in keys.items():
            sequence, _, inner = keyword.rpartition(".")
            vr = dictionary_VR(int(tag_of(inner), 16))
            if keyword in COUNTED:
                counted = self._counted(keyword)
                rows = rows if matches(counted, vr, wanted) else []
            elif sequence:
                rows = [row for row in rows if self._has_item(row, sequence, inner, vr, wanted)]
            else:
                rows = [row for row in rows if matches(self._element(row, keyword), vr, wanted)]
        return rows

    def _has_item(self, row: Row, sequence: str, keyword: str, vr: str, wanted: str) -> bool:
        items = (self._element(row, sequence) or {}).get("Value", [])
        found = [item.get(tag_of(keyword)) for item in items or [{}]]
        return any(matches(each, vr, wanted) for each in found)

    def _element(self, row: Row, keyword: str) -> Json | None:
        tag = tag_of(keyword)
        if keyword in STUDY and tag not in _PATIENT:
            row = self._first(row, "study_instance_uid")
        elif keyword in SERIES:
            row = self._first(row, "series_instance_uid")
        if tag in index.KEPT:
            return self._kept(row).get(tag)
        return everything(self._spool, row).get(tag)

    def _kept(self, row: Row) -> Json:
        """The elements that every search looks at, as the index has them."""
        return self._described.get(row["sha256"]) or of_row(row)

    def _first(self, row: Row, column: str) -> Row:
        """The instance that tells of its study or series: the first whose file is here."""
        if column not in self._tellers:
            there = sorted(self._rows, key=lambda other: bool(other["purged_at"]))
            self._tellers[column] = {other[column]: other for other in reversed(there)}
        return self._tellers[column][row[column]]

    def _counted(self, keyword: str) -> Json:
        column = {"Modality": "modality", "SOPClassUID": "sop_class_uid"}[COUNTED[keyword]]
        return element(keyword, *sorted({row[column] for row in self._rows if row[column]}))[1]

    def _result(self, row: Row, asked: Asked) -> Json:
        levels = list(LEVELS)[: list(LEVELS).index(asked.level) + 1]
        found: Json = {}
        for level in levels:
            column = _COLUMNS.get(level)
            teller = self._first(row, column) if column else row
            said = self._kept(teller)
            found |= {tag: said.get(tag, _blank(tag)) for tag in map(tag_of, LEVELS[level])}
        own = self._kept(row)
        found |= {tag: own[tag] for tag in _PATIENT if tag in own}
        if asked.everything or not asked.include <= found.keys():
            said = everything(self._spool, row)
            more = said.keys() if asked.everything and asked.level == "instances" else asked.include
            found |= {tag: said[tag] for tag in more if tag in said}
        found |= self._made(row, asked.level)
        return dict(sorted(found.items()))

    def _made(self, row: Row, level: str) -> Json:
        """What no object says: counts, availability, and where to fetch it."""
        uids = [row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]]
        path = "/studies/" + uids[0]
        members = self._rows
        if level != "studies":
            path += "/series/" + uids[1]
            members = [one for one in members if one["series_instance_uid"] == uids[1]]
        if level == "instances":
            path += "/instances/" + uids[2]
            members = [row]
        found = dict(
            [
                element("RetrieveURL", self._base + path),
                element("InstanceAvailability", availability(members)),
            ]
        )
        if level == "studies":
            series = {one["series_instance_uid"] for one in members}
            found[tag_of("ModalitiesInStudy")] = self._counted("ModalitiesInStudy")
            found |= [element("NumberOfStudyRelatedSeries", len(series))]
            found |= [element("NumberOfStudyRelatedInstances", len(members))]
        if level == "series":
            found |= [element("NumberOfSeriesRelatedInstances", len(members))]
        return found


def availability(rows: list[Row]) -> str:
    """Return the worst InstanceAvailability (PS3.3 C.4.23.1.1) of some instances."""
    return "UNAVAILABLE" if any(row["purged_at"] for row in rows) else "ONLINE"


def _blank(tag: str) -> Json:
    return {"vr": dictionary_VR(int(tag, 16))}


def everything(spool: Spool, row: Row) -> Json:
    """Return all elements of an instance but long binary values; the ledger's without a file."""
    if row["purged_at"]:
        return of_row(row)
    try:
        return model(read_header(spool.served_path(row)).dataset)
    except Part10Error:
        return of_row(row)
