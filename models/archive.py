"""The central archive as a reader sees it: QIDO-RS and WADO-RS, with errors a person understands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import hexdigits
from typing import Any

import requests

from appliance.dicomweb import Client
from appliance.errors import ApplianceError

_PULL = "pull corrections"
_STUDY, _DESCRIPTION, _MODALITY = "0020000D", "00081030", "00080060"
_MACHINE = ("00081010", "00080070", "00081090")  # StationName, Manufacturer, ManufacturerModelName
_HASH_DIGITS = 16  # of a StudyID, as appliance/sync/upstream.py writes it


class ArchiveError(ApplianceError):
    """The archive can't be asked, or doesn't answer as a DICOMweb server does."""


@dataclass(frozen=True)
class Wanted:
    """Which corrections are asked for; what is empty asks for all.

    Attributes
    ----------
    model
        NAME, NAME-VERSION, or the first 16 digits or more of a network's SHA-256.
    since, until
        First and last StudyDate, `YYYYMMDD`.
    scanner
        In the make and model of the machine, whatever its case.
    site
        What the site calls itself.
    """

    model: str = ""
    since: str = ""
    until: str = ""
    scanner: str = ""
    site: str = ""

    @property
    def filters(self) -> dict[str, str]:
        """What every QIDO-RS server can be asked for (PS3.18 table 10.6.1-5)."""
        made = {"ModalitiesInStudy": "SEG"}
        if self._is_hash:
            made["StudyID"] = self.model[:_HASH_DIGITS].lower()
        if self.since or self.until:
            made["StudyDate"] = f"{self.since}-{self.until}"
        return made

    def drawn_by(self, described: str) -> bool:
        """Tell whether the words for a model, "NAME VERSION", are those that are asked for."""
        named = (described.replace(" ", "-"), described.partition(" ")[0])
        return not self.model or self._is_hash or self.model in named

    def made_by(self, scanner: str) -> bool:
        """Tell whether a machine is one that is asked for."""
        return self.scanner.lower() in scanner.lower()

    def made_at(self, site: str) -> bool:
        """Tell whether a site is the one that is asked for."""
        return not self.site or self.site == site

    @property
    def _is_hash(self) -> bool:
        return len(self.model) >= _HASH_DIGITS and not set(self.model.lower()) - set(hexdigits)


EVERY = Wanted()


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
    SecretError
        When the file can't be read.
    """

    def __init__(self, url: str, user: str = "", password_file: Path | None = None) -> None:
        self._url = url
        with self._understood():
            self._client = Client(url, user, password_file)

    def studies(self, description: str, wanted: Wanted = EVERY) -> Iterator[str]:
        """Yield the StudyInstanceUID of each study with a SEG whose description begins so.

        Descriptions are compared here: Orthanc takes a wildcard or a space that a client has
        percent-encoded, as dicomweb-client does, for the characters of its code.
        """
        listed: set[str] = set()
        while True:
            with self._understood():
                # Without a limit: Orthanc counts it before the offset where it filters, and
                # would have no second page. Who sends less than all at once is asked for the rest.
                page = self._client.search_for_studies(
                    search_filters=wanted.filters, fields=["StudyDescription"], offset=len(listed)
                )
                told = [(_text(item, _STUDY), _text(item, _DESCRIPTION)) for item in page]
            new = {uid: text for uid, text in told if uid not in listed}
            if not new:
                return
            listed |= new.keys()
            for uid, text in new.items():
                head, _, model = text.partition(" of ")
                if head == description and wanted.drawn_by(model):
                    yield uid

    def has(self, StudyInstanceUID: str, wanted: Wanted) -> bool | None:
        """Tell whether a study is of the scanner and site asked for; None when it doesn't say."""
        fields = ["StationName", "Manufacturer", "ManufacturerModelName"]
        with self._understood():
            found = self._client.search_for_series(StudyInstanceUID, fields=fields)
            loops = [item for item in found if _text(item, _MODALITY) == "US"]
            told = [[_text(item, tag) for tag in _MACHINE] for item in loops]
        if not told or not all(tag in loops[0] for tag in _MACHINE):
            return None
        site, *scanner = told[0]
        return wanted.made_at(site) and wanted.made_by(" ".join(scanner))

    def fetch(self, StudyInstanceUID: str, folder: Path) -> list[Path]:
        """Write every instance of a study, as it is stored, into a Part 10 file.

        In one answer, taken piece by piece: a request for each instance takes several times as long.
        """
        paths = []
        with self._understood():
            for number, content in enumerate(self._client.study_files(StudyInstanceUID)):
                path = folder / f"{number}.dcm"
                path.write_bytes(content)
                paths.append(path)
        return paths

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
