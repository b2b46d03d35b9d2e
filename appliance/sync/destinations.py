"""What the courier knows of a place that results go to: a folder, PACS, archive or FHIR server."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from appliance import tls
from appliance.config import Destination as Setting
from appliance.config import DicomPeer, FhirPeer, Settings
from appliance.config import Folder as FolderSetting
from appliance.errors import DeliveryError
from appliance.sync.brake import Brake
from appliance.sync.seg import Part10


class Unreachable(DeliveryError):
    """The destination itself can't be used now: nothing else can be delivered there either."""


class Absent(DeliveryError):
    """The destination doesn't hold the object as it was sent; sending it again can help."""


class NotTaken(DeliveryError):
    """The destination takes no such object, or not in this syntax: only its administrator helps."""


@dataclass(frozen=True)
class Proof:
    """The destination gave the object back: SHA-256 and size of the file that it stands for."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Unproven:
    """The destination offers no way to read an object back; `why` says so for a person."""

    why: str


@dataclass(frozen=True)
class Awaited:
    """The destination is to be asked for storage commitment; its report will be the proof."""

    SOPClassUID: str
    SOPInstanceUID: str


class Destination(Protocol):
    """A place that results go to. Every method may be called again at any time."""

    def is_there(self) -> bool:
        """Tell quickly whether the destination answers at all."""

    def check(self) -> None:
        """Raise `Unreachable` when it is known, at little cost, that nothing can be delivered."""

    def put(self, result: Part10) -> None:
        """Hand an object over; the same object again changes nothing.

        Raises
        ------
        Unreachable
            When nothing can be delivered there now.
        DeliveryError
            When this object isn't taken.
        """

    def prove(self, result: Part10) -> Proof | Unproven | Awaited:
        """Read an object back and compare it.

        Raises
        ------
        Absent
            When it isn't there as it was sent, and sending it again can help.
        Unreachable
            When nothing can be read there now.
        DeliveryError
            When something else lies there under its UID.
        """


def made_from(settings: Settings) -> dict[str, tuple[Setting, Destination, Brake]]:
    """Return the destinations of a configuration by name, each with its setting and its brake."""
    found = {}
    for item in settings.destination:
        brake = Brake(item.mbit_per_s, item.at_once)
        found[item.name] = (item, _made(item, settings, brake), brake)
    return found


def _made(item: Setting, settings: Settings, brake: Brake) -> Destination:
    # Each imports what the others don't need: a box with a stick loads no HTTP client.
    if isinstance(item, FolderSetting):
        from appliance.sync.folder import Folder

        return Folder(Path(item.path), brake)
    if isinstance(item, DicomPeer):
        from appliance.dimse import Peer
        from appliance.sync.pacs import Pacs

        peer = Peer(item.host, item.port, item.called_ae, settings.box.ae_title)
        elsewhere = bool(item.commit_ae or item.commit_port)
        secure = partial(tls.client_context, settings.scp) if item.tls else None
        return Pacs(peer, item.proof, elsewhere, secure, brake)
    if isinstance(item, FhirPeer):
        from appliance.preflight_fhir import client_of
        from appliance.sync.fhir_server import FhirServer

        return FhirServer(client_of(item), brake)
    from appliance.sync.archive import Archive

    return Archive(item.url, item.user, item.password_file, brake)
