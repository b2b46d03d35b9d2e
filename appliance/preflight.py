"""`echocart destination test`: what a destination takes and proves, before anything depends on it.

Nothing is written there unless a test object is asked for.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.config import (
    Destination,
    DicomPeer,
    DicomWebPeer,
    FhirPeer,
    Folder,
    Settings,
)
from appliance.errors import ApplianceError

OPERATION = "test a destination"


@dataclass(frozen=True)
class Line:
    """One thing that was tried.

    Attributes
    ----------
    word
        "ok", "no" (something that the configuration needs doesn't work) or "note".
    text
        What was found, for a person.
    """

    word: str
    text: str


@dataclass(frozen=True)
class Result:
    """What was found, in order, and lines for the destination's table in the TOML file."""

    lines: tuple[Line, ...]
    proposed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything that the configuration needs works."""
        return all(line.word != "no" for line in self.lines)


Found = Iterator[Line | str]  # a string is a line to propose


def examine(settings: Settings, name: str, store: bool = False) -> Result:
    """Try a destination out.

    Parameters
    ----------
    settings
        The box's.
    name
        The destination's.
    store
        Also hand over a test object, under a test patient, and read it back. It stays there.

    Raises
    ------
    ApplianceError
        When no destination has this name.
    """
    item = next((item for item in settings.destination if item.name == name), None)
    if item is None:
        names = ", ".join(other.name for other in settings.destination)
        hint = f"Destinations: {names}." if names else "The file names none."
        raise ApplianceError(OPERATION, f"none is called {name!r}", hint)
    found = list(_kinds(item)(settings, store))
    lines = tuple(line for line in found if isinstance(line, Line))
    return Result(lines, tuple(line for line in found if isinstance(line, str)))


def _kinds(item: Destination) -> Callable[[Settings, bool], Found]:
    if isinstance(item, Folder):
        return lambda settings, store: _folder(item)
    if isinstance(item, DicomPeer):
        from appliance.preflight_dicom import look

        return lambda settings, store: look(item, settings, store)
    if isinstance(item, FhirPeer):
        from appliance import preflight_fhir

        return lambda settings, store: preflight_fhir.look(item, store)
    return lambda settings, store: _web(item, store)


def _folder(item: Folder) -> Found:
    path = item.path
    if not path.is_dir():
        yield Line("no", f"{path} is not there. Plug in the stick, mount the share, or make it")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".echocart-test-") as file:
            file.write(b"test")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        words = os.strerror(error.errno or 0)
        yield Line("no", f"{path} can't be written to ({words}). Give the service the right to")
        return
    yield Line("ok", f"{path} takes files, and syncs them")
    free = shutil.disk_usage(path).free // 1_000_000
    yield Line("ok" if free > 1000 else "note", f"{free} MB are free there")
    if os.stat(path).st_dev == os.stat(path.parent).st_dev:
        yield Line(
            "note",
            f"{path} lies on the same disk as {path.parent}: on a stick or share, name a"
            " directory on it, so that results wait when it is unplugged",
        )


def _web(item: DicomWebPeer, store: bool) -> Found:
    import requests

    from appliance.dicomweb import Client, SecretError

    try:
        client = Client(item.url, item.user, item.password_file, 10.0, 30.0)
        client.search_for_studies(limit=1)
    except SecretError as error:
        yield Line("no", f"{error.subject}. {error.hint.rstrip('.')}")
        return
    except requests.exceptions.SSLError:
        words = "shows a certificate that isn't trusted here, or speaks no TLS on this port"
        yield Line("no", f"{item.url} {words}. Install the authority's certificate on the box")
        return
    except requests.HTTPError as error:
        yield from _answered(item, 0 if error.response is None else error.response.status_code)
        return
    except Exception as error:  # noqa: BLE001
        # No network, no such host, no DICOMweb: the kind says enough, the text may be long.
        yield Line("no", f"{item.url} gives no answer ({type(error).__name__}). Does it run?")
        return
    yield Line("ok", f"{item.url} answers a search (QIDO-RS)")
    secure = item.url.startswith("https://")
    yield Line("ok" if secure else "note", "TLS" if secure else "no TLS: the line isn't secret")
    if store:
        yield from _stowed(client, item)


def _answered(item: DicomWebPeer, status: int) -> Found:
    words = {
        401: "refuses the user or the password. Correct user and password_file",
        403: "doesn't allow this user to search. Give it the right to search, store and read",
        404: "has no DICOMweb service at this address. Correct url",
        405: "has no DICOMweb service at this address. Correct url",
    }
    yield Line("no", f"{item.url} {words.get(status, f'answers {status} to a search. Check url')}")
    if status not in (401, 403):
        for service in ("dicom-web", "dicomweb", "rs"):
            if _searches(item, f"{item.url}/{service}"):
                yield f'url = "{item.url}/{service}"'


def _searches(item: DicomWebPeer, url: str) -> bool:
    from appliance.dicomweb import Client

    try:
        Client(url, item.user, item.password_file, 5.0, 10.0).search_for_studies(limit=1)
    except Exception:  # noqa: BLE001
        return False  # whatever it is, it isn't this one
    return True


def _stowed(client: object, item: DicomWebPeer) -> Found:
    from appliance.dicomweb import Client
    from appliance.preflight_object import PATIENT, uids_of, written

    assert isinstance(client, Client)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder))
        try:
            client.store_file(path.read_bytes())
            yield Line("ok", f"took a test object of the patient {PATIENT} (STOW-RS)")
            client.retrieve_original(*uids_of(path))
            yield Line("ok", "gave it back (WADO-RS)")
        except Exception as error:  # noqa: BLE001
            yield Line("no", f"{item.url} didn't take or give back an object: {_kind(error)}")


def _kind(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"status {response.status_code}" if response is not None else type(error).__name__
