"""`echocart send`: a storage SCU that sends files as they are, each in its own syntax."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from appliance import dimse
from appliance.dimse import NothingAccepted, Peer

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255

Pair = tuple[str, str]  # SOP class UID, transfer syntax UID


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
    called_ae: str = "ECHOCART",
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
    AssociationError
        When nobody answers at that address, or the association is refused.

    Notes
    -----
    Data sets go out byte for byte. A file nobody can send (text, DICOMDIR) is reported and
    the others are sent.
    """
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
    peer = Peer(host, port, called_ae, calling_ae)
    ae = dimse.entity(calling_ae)
    for batch in batches(sendable):
        for sent in _send_batch(ae, batch, peer):
            settle(sent)
    return results


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


def _send_batch(ae: AE, batch: dict[Path, Pair], peer: Peer) -> Iterator[Sent]:
    contexts = [build_context(*pair) for pair in sorted(set(batch.values()))]
    try:
        association = dimse.associate(ae, peer, contexts, "send")
    except NothingAccepted:
        yield from (_not_taken(path, pair) for path, pair in batch.items())
        return
    for path, pair in batch.items():
        if not association.is_established:
            # The receiver gave up on the file before; that need not concern this one.
            association = dimse.associate(ae, peer, contexts, "send")
        yield _send_one(association, path, pair)
    if association.is_established:
        association.release()


def _not_taken(path: Path, pair: Pair) -> Sent:
    SOPClass, TransferSyntax = (UID(uid).name for uid in pair)
    return Sent(path, Outcome.REFUSED, f"the receiver takes no {SOPClass} in {TransferSyntax}")


def _send_one(association: Association, path: Path, pair: Pair) -> Sent:
    try:
        answer = dimse.store(association, path)
    except ValueError:
        return _not_taken(path, pair)
    except OSError as error:
        return Sent(path, Outcome.NOT_DICOM, f"can't be read: {error.strerror}")
    return Sent(
        path, Outcome.STORED if answer.stored else Outcome.REFUSED, answer.text, answer.status
    )
