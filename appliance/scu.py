"""`echocart send`: a storage SCU that sends files as they are, each in its own syntax."""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from appliance.errors import ApplianceError

CONNECT_S = 10.0
ANSWER_S = 120.0  # a receiver that syncs a large loop to a slow disk
_MAXIMUM_PDU = 131072
_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255

Pair = tuple[str, str]  # SOP class UID, transfer syntax UID


class SendError(ApplianceError):
    """The receiver can't be talked to."""


class Outcome(Enum):
    """What became of a file."""

    STORED = "stored"
    SKIPPED = "skipped"
    NOT_DICOM = "not DICOM"
    REFUSED = "refused"


@dataclass(frozen=True)
class Sent:
    """One file's fate.

    Attributes
    ----------
    path
        The file.
    outcome
        What became of it.
    text
        The same for a person, in one line.
    status
        The receiver's C-STORE status; None when none came.
    """

    path: Path
    outcome: Outcome
    text: str
    status: int | None = None

    @property
    def ok(self) -> bool:
        """True unless somebody expected this file to arrive and it didn't."""
        return self.outcome in (Outcome.STORED, Outcome.SKIPPED)


def send(
    paths: Iterable[Path],
    host: str,
    port: int,
    calling_ae: str = "ECHOCART-SEND",
    called_ae: str = "ANY-SCP",
    on_progress: Callable[[Sent], None] = lambda sent: None,
) -> list[Sent]:
    """Send files, and directories with all that is below them.

    Parameters
    ----------
    paths
        Files and directories.
    host, port
        The receiver.
    calling_ae, called_ae
        AE titles, ours and the receiver's.
    on_progress
        Called with each file's fate as soon as it is known.

    Returns
    -------
    list of Sent
        One for each file, in the order they were settled.

    Raises
    ------
    SendError
        When nobody answers at that address, or the association is refused.

    Notes
    -----
    Data sets go out byte for byte. A file nobody can send (text, DICOMDIR) is reported and
    the others are sent.
    """
    _configure()
    results: list[Sent] = []

    def settle(sent: Sent) -> None:
        results.append(sent)
        on_progress(sent)

    sendable: dict[Path, Pair] = {}
    for path in files_below(paths):
        found = examine(path)
        if isinstance(found, Sent):
            settle(found)
        else:
            sendable[path] = found
    ae = AE(calling_ae)
    ae.maximum_pdu_size = _MAXIMUM_PDU
    ae.connection_timeout = CONNECT_S
    ae.dimse_timeout = ANSWER_S
    ae.network_timeout = ANSWER_S
    for batch in batches(sendable):
        for sent in _send_batch(ae, batch, (host, port), called_ae):
            settle(sent)
    return results


def _configure() -> None:
    """Set the libraries' process-wide switches: our own words instead of theirs."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # the file's bytes, not a data set encoded anew
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files given and those below the directories given, each directory sorted."""
    for path in paths:
        if path.is_dir():
            yield from (item for item in sorted(path.rglob("*")) if item.is_file())
        else:
            yield path


def examine(path: Path) -> Pair | Sent:
    """Return what to propose for a file, or why it isn't sent.

    Returns
    -------
    tuple of str, or Sent
        SOP class and transfer syntax UID from the file meta information (PS3.10 7.1).
    """
    try:
        meta = read_file_meta_info(path)
    except OSError as error:
        return Sent(path, Outcome.NOT_DICOM, f"can't be read: {error.strerror}")
    except InvalidDicomError:
        return Sent(path, Outcome.NOT_DICOM, "isn't a DICOM file")
    except Exception:  # noqa: BLE001
        # Any bytes may follow the DICM prefix, and pydicom fails on them in many ways; each
        # means the same to a person.
        return Sent(path, Outcome.NOT_DICOM, "isn't a DICOM file: its beginning is damaged")
    SOPClassUID = str(meta.get("MediaStorageSOPClassUID", ""))
    TransferSyntaxUID = str(meta.get("TransferSyntaxUID", ""))
    if SOPClassUID == MediaStorageDirectoryStorage:
        return Sent(path, Outcome.SKIPPED, "is a DICOMDIR: a list of files, not an image")
    if not (SOPClassUID and TransferSyntaxUID and meta.get("MediaStorageSOPInstanceUID")):
        words = "isn't a whole DICOM file: its meta information names no class, UID or syntax"
        return Sent(path, Outcome.NOT_DICOM, words)
    return SOPClassUID, TransferSyntaxUID


def batches(sendable: dict[Path, Pair]) -> Iterator[dict[Path, Pair]]:
    """Split files so that each part needs at most 128 presentation contexts."""
    batch: dict[Path, Pair] = {}
    pairs: set[Pair] = set()
    for path, pair in sendable.items():
        if pair not in pairs and len(pairs) == _MOST_CONTEXTS:
            yield batch
            batch, pairs = {}, set()
        batch[path] = pair
        pairs.add(pair)
    if batch:
        yield batch


def _send_batch(
    ae: AE, batch: dict[Path, Pair], address: tuple[str, int], called_ae: str
) -> Iterator[Sent]:
    association = _associate(ae, set(batch.values()), address, called_ae)
    for path, pair in batch.items():
        if not association.is_established:
            # The receiver gave up on the file before; that need not concern this one.
            association = _associate(ae, set(batch.values()), address, called_ae)
        yield _send_one(association, path, pair)
    if association.is_established:
        association.release()


def _associate(ae: AE, pairs: set[Pair], address: tuple[str, int], called_ae: str) -> Association:
    contexts = [build_context(*pair) for pair in sorted(pairs)]
    host, port = address
    try:
        association = ae.associate(
            host,
            port,
            contexts=contexts,
            ae_title=called_ae,
            max_pdu=_MAXIMUM_PDU,
            evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)],
        )
    except OSError as error:
        raise SendError("send", f"{host} is not a known host", "Check --to.") from error
    if association.is_established:
        return association
    if association.is_rejected:
        raise SendError(
            "send",
            f"{host}:{port} refuses the association of {ae.ae_title} with {called_ae}",
            "Allow this AE title at the receiver, or name the one it expects.",
        )
    raise SendError(
        "send",
        f"no DICOM receiver answers at {host}:{port}",
        "Check the address and that the receiver runs (echoscu tells).",
        retry=True,
    )


def _without_delay(event: Event) -> None:
    """Send small packets at once: with Nagle each object waits 45 ms for a delayed ACK."""
    connection = event.assoc.dul.socket
    if connection and connection.socket:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _send_one(association: Association, path: Path, pair: Pair) -> Sent:
    try:
        answer = association.send_c_store(path)
    except ValueError:
        SOPClass, TransferSyntax = (UID(uid).name for uid in pair)
        words = f"the receiver takes no {SOPClass} in {TransferSyntax}"
        return Sent(path, Outcome.REFUSED, words)
    except OSError as error:
        return Sent(path, Outcome.NOT_DICOM, f"can't be read: {error.strerror}")
    if "Status" not in answer:
        if association.is_established:
            # pynetdicom learns of a lost connection a moment later; until then it would wait
            # `ANSWER_S` for an answer to the next file.
            association.abort()
        return Sent(path, Outcome.REFUSED, "the receiver ended the connection without an answer")
    status = int(answer.Status)
    words = text_of(status)
    if comment := str(answer.get("ErrorComment", "")):
        words += f" ({comment})"
    stored = status == 0 or status & 0xF000 == 0xB000
    return Sent(path, Outcome.STORED if stored else Outcome.REFUSED, words, status)


def text_of(status: int) -> str:
    """Say a C-STORE status (PS3.4 B.2.3, PS3.7 Annex C) in words."""
    if status == 0:
        return "stored"
    known = {
        0x0110: "the receiver failed while storing",
        0x0117: "the receiver calls its UID invalid",
        0x0122: "the receiver doesn't take this class of object",
        0x0124: "the receiver doesn't allow it",
    }
    families = {
        0xA7: "the receiver is out of space",
        0xA9: "its data set isn't the object its file meta information names",
        0xB0: "stored, with a warning",
    }
    if status in known:
        words = known[status]
    elif status & 0xF000 == 0xC000:
        words = "the receiver can't understand it"
    else:
        words = families.get(status >> 8, "refused")
    return f"{words} (status 0x{status:04X})"
