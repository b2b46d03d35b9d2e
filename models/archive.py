"""The central archive as a reader sees it: QIDO-RS and WADO-RS, with errors a person understands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from pydicom import dcmwrite

from appliance.dicomweb import Client
from appliance.errors import ApplianceError

_PULL = "pull corrections"
_PAGE = 100  # studies asked for at once
_SERIES, _CLASS, _INSTANCE, _STUDY = "0020000E", "00080016", "00080018", "0020000D"
_DESCRIPTION = "00081030"


class ArchiveError(ApplianceError):
    """The archive can't be asked, or doesn't answer as a DICOMweb server does."""


@dataclass(frozen=True)
class Found:
    """An instance in the archive."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPInstanceUID: str
    SOPClassUID: str


class Archive:
    """Reads from a DICOMweb server.

    Parameters
    ----------
    url
        Base of QIDO-RS and WADO-RS.
    user, password_file
        For HTTP basic authentication.

    Raises
    ------
    ArchiveError
        When the URL is none.
    PasswordError
        When the file can't be read.
    """

    def __init__(self, url: str, user: str = "", password_file: Path | None = None) -> None:
        self._url = url
        with self._understood():
            self._client = Client(url, user, password_file)

    def studies(self, description: str) -> Iterator[str]:
        """Yield the StudyInstanceUID of each study with a SEG whose description begins so.

        The beginning is compared here: Orthanc takes a wildcard or a space that a client has
        percent-encoded, as dicomweb-client does, for the characters of its code.
        """
        offset = 0
        while True:
            with self._understood():
                page = self._client.search_for_studies(
                    search_filters={"ModalitiesInStudy": "SEG"},
                    fields=["StudyDescription"],
                    limit=_PAGE,
                    offset=offset,
                )
                uids = [
                    _text(item, _STUDY)
                    for item in page
                    if _text(item, _DESCRIPTION).startswith(description)
                ]
            yield from uids
            if len(page) < _PAGE:
                return
            offset += len(page)

    def instances(self, StudyInstanceUID: str) -> list[Found]:
        """Return every instance of a study."""
        with self._understood():
            found = self._client.search_for_instances(StudyInstanceUID)
            return [
                Found(
                    StudyInstanceUID,
                    _text(item, _SERIES),
                    _text(item, _INSTANCE),
                    _text(item, _CLASS),
                )
                for item in found
            ]

    def fetch(self, found: Found, path: Path) -> Path:
        """Write an instance, as it is stored, into a Part 10 file."""
        with self._understood():
            dataset = self._client.retrieve_original(
                found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID
            )
        dcmwrite(path, dataset, enforce_file_format=True)
        return path

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turn what a network and a stranger's server can do into words."""
        no_server = "Look at --from: the base of QIDO-RS, as in http://host:8042/dicom-web."
        try:
            yield
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                hint = "Give --user and --password-file of somebody who may read there."
                raise self._error(f"refuses to let us read ({status})", hint) from None
            raise self._error(f"answers {status}", no_server) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            hint = "Look whether it runs and the network reaches it; then call this again."
            raise ArchiveError(_PULL, f"{self._url} can't be reached", hint, retry=True) from error
        # What isn't JSON, or is JSON of another kind, comes from no DICOMweb server.
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._error("doesn't answer as DICOMweb does", no_server) from error
        except requests.RequestException as error:
            raise self._error("can't be asked", no_server) from error

    def _error(self, what: str, hint: str) -> ArchiveError:
        return ArchiveError(_PULL, f"{self._url} {what}", hint)


def _text(item: dict[str, Any], tag: str) -> str:
    """Return the first value of an element of a DICOM JSON object (PS3.18 F.2), "" without."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])
