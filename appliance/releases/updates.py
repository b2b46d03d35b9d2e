"""Released models, fetched from the central team's signed repository (TUF).

Nothing here makes a model draw: what was fetched waits to be proven. Whatever goes wrong, for
however long, the model that is installed goes on.
"""

import logging
import sqlite3
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from appliance.config import Settings
from appliance.errors import ApplianceError, ManifestError
from appliance.ledger import Ledger, release
from appliance.releases import bundle, model_store, promotion
from appliance.service import Stop

log = logging.getLogger("echocart")

WITHDRAWN = "withdrawn"  # key of a target's `custom`: why it was taken back
_OPERATION = "fetch released models"
_ANSWER_S = (10.0, 30.0)  # to connect, and between two pieces
_PIECE = 1 << 18
_AGAIN_S = 600.0  # after a try that failed


class UpdateError(ApplianceError):
    """The repository can't be reached, or what it says isn't to be believed; nothing has changed."""


class _Fetcher(FetcherInterface):
    """HTTP(S) by requests: proxies and certificates as for every other destination."""

    def _fetch(self, url: str) -> Any:
        answer = requests.get(url, stream=True, timeout=_ANSWER_S)
        if not answer.ok:
            status = answer.status_code
            answer.close()
            raise tuf.DownloadHTTPError(f"status {status}", status)
        return answer.iter_content(_PIECE)


class Updates:
    """What the repository offers this box.

    Parameters
    ----------
    settings, ledger
        The box's; `settings.updates` names the repository.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._home = settings.box.state_dir / "updates"

    def fetch(self) -> list[str]:
        """Fetch what is new, verify it, keep it beside the other models; leave what was withdrawn.

        Returns
        -------
        list of str
            Names of the models fetched.

        Raises
        ------
        UpdateError
            When the repository isn't reached, or its signatures aren't those that root names, are
            too old, or older than what this box has seen.
        """
        updater = self._refreshed()
        offered = self._offered()
        known = release.newest(self._ledger)
        fetched = []
        for target, file in sorted(offered.items()):
            name, sha256 = target.removesuffix(bundle.SUFFIX), file.hashes.get("sha256", "")
            before = known.get(name)
            if why := _custom(file).get(WITHDRAWN):
                self._leave(name, sha256, str(why))
            elif before is None or before["sha256"] != sha256:
                fetched += [name] if self._take(updater, target, name, sha256) else []
        return fetched

    def _root(self) -> bytes:
        """Read the root that a person gave: a damaged one isn't the repository's fault."""
        root = self._settings.updates.root
        assert root
        content = root.read_bytes()
        try:
            is_root = isinstance(Metadata[Root].from_bytes(content).signed, Root)
        except DeserializationError:
            is_root = False
        if not is_root:
            hint = "Copy metadata/1.root.json of the repository there once more."
            raise UpdateError(_OPERATION, f"{root} is no root of a repository", hint)
        return content

    def _refreshed(self) -> Updater:
        url, root = self._settings.updates.url, self._settings.updates.root
        assert url
        places = [self._home / name for name in ("metadata", "bundles")]
        try:
            for place in places:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            updater = Updater(
                str(places[0]),
                f"{url.rstrip('/')}/metadata/",
                str(places[1]),
                f"{url.rstrip('/')}/targets/",
                _Fetcher(),
                UpdaterConfig(),
                bootstrap=self._root(),
            )
            updater.refresh()
        except OSError as error:
            what = f"{error.filename or root} can't be used ({error.strerror})"
            raise UpdateError(
                _OPERATION, what, "Mend it; updates.root names 1.root.json."
            ) from error
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            raise _why(error, url) from error
        return updater

    def _offered(self) -> Mapping[str, TargetFile]:
        """Everything released, from the metadata that was verified just now."""
        path = self._home / "metadata" / "targets.json"
        every = Metadata[Targets].from_file(str(path)).signed.targets
        return {name: file for name, file in every.items() if name.endswith(bundle.SUFFIX)}

    def _take(self, updater: Updater, target: str, name: str, sha256: str) -> bool:
        path = self._home / "bundles" / f"{name}{bundle.SUFFIX}"
        try:
            file = updater.get_targetinfo(target)
            if file is None or file.length > bundle.MOST_BYTES or "/" in target:
                raise ManifestError(
                    _OPERATION, f"{target} is no bundle of a model", "Ask its makers."
                )
            updater.download_target(file, str(path))
            keep(self._settings, self._ledger, path, name, sha256)
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            raise _why(error, str(self._settings.updates.url)) from error
        except ManifestError as error:
            # Signed, and not to be used: known by its hash, so it isn't fetched again and again.
            release.step(self._ledger, name, sha256, "refused", f"{error.subject}. {error.hint}")
            log.warning("%s is refused: %s", name, error)
            return False
        finally:
            path.unlink(missing_ok=True)
        return True

    def _leave(self, name: str, sha256: str, why: str) -> None:
        """Take a withdrawn model out of use: the one before it draws from the next loop on."""
        before = release.newest(self._ledger).get(name)
        if before is None or before["state"] == WITHDRAWN:
            return
        in_force = model_store.resolved(model_store.chosen(self._ledger, self._settings))
        models: list[str] = []
        if name in in_force:
            earlier = promotion.falls_back_to(self._ledger, self._settings, name)
            models = list(dict.fromkeys(earlier if item == name else item for item in in_force))
        release.step(self._ledger, name, sha256, WITHDRAWN, why, models=models)
        log.warning("%s is withdrawn: %s", name, why)


def keep(settings: Settings, ledger: Ledger, path: Path, name: str, sha256: str) -> None:
    """Unpack a bundle whose signature was verified, and keep its model beside the others.

    Parameters
    ----------
    settings, ledger
        The box's.
    path
        The bundle.
    name, sha256
        As they were signed.

    Raises
    ------
    ManifestError
        When it is another model, or can't be used on this box.
    """
    state_dir = settings.box.state_dir
    unpacked = bundle.unpack(path, bundle.unpacked(state_dir, name))
    if model_store.name_of(unpacked.manifest) != name:
        what = f"it says it is {model_store.name_of(unpacked.manifest)}"
        raise ManifestError(_OPERATION, what, "Ask its makers.")
    model_store.add(state_dir, unpacked.folder)
    release.step(ledger, name, sha256, "fetched", "")
    log.info("%s was fetched and is whole", name)


def watch(settings: Settings, stop: Stop) -> None:
    """Fetch now and then, in a thread of its own, where a repository is named."""
    if settings.updates.url:
        threading.Thread(target=_watch, args=(settings, stop), name="updates", daemon=True).start()


def _watch(settings: Settings, stop: Stop) -> None:
    updates = Updates(settings, Ledger(settings.box.state_dir))
    while True:
        pause_s = settings.updates.every_h * 3600.0
        try:
            updates.fetch()
        except (ApplianceError, sqlite3.Error, OSError) as problem:
            # Weeks without a network are normal.
            log.info(
                "%s", problem if isinstance(problem, ApplianceError) else type(problem).__name__
            )
            pause_s = min(pause_s, _AGAIN_S)
        if stop.wait(pause_s):
            return


def _custom(file: TargetFile) -> Mapping[str, Any]:
    found = file.unrecognized_fields.get("custom")
    return found if isinstance(found, dict) else {}


def _why(error: Exception, url: str) -> UpdateError:
    """Say in words what TUF found; the installed model goes on in each case."""
    now = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    found: dict[type[Exception], tuple[str, str]] = {
        tuf.DownloadLengthMismatchError: ("a file is longer than was signed", _TELL),
        tuf.ExpiredMetadataError: (
            f"its signatures have expired (this box's clock says {now})",
            "Check the clock; else the makers must sign it again.",
        ),
        tuf.BadVersionNumberError: ("it offers an older state than this box has seen", _TELL),
        tuf.UnsignedMetadataError: ("it isn't signed by the keys that root names", _TELL),
        tuf.LengthOrHashMismatchError: ("a file isn't the one that was signed", _TELL),
        tuf.DownloadError: ("it can't be reached", "Check updates.url and the network."),
    }
    for kind, (what, hint) in found.items():
        if isinstance(error, kind):
            return UpdateError(_OPERATION, f"{url}: {what}", hint, retry=True)
    return UpdateError(_OPERATION, f"{url}: it isn't as it should be", _TELL, retry=True)


_TELL = "Tell those who publish it; the installed model goes on."
