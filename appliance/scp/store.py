"""From a received file to a kept object: in this order, or not at all.

Room, whole, the object it was said to be, on disk, in the ledger; only then success.
"""

import gc
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from appliance import part10
from appliance.errors import ApplianceError, LedgerError, Part10Error, SpoolError
from appliance.ledger import Ledger, reception
from appliance.spool import Adopted, Spool

log = logging.getLogger("echocart.scp")

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3: A700 to A7FF
NOT_WHAT_WAS_SAID = 0xA900  # A900 to A9FF: data set does not match SOP class
NOT_UNDERSTOOD = 0xC000  # C000 to CFFF
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.7
_COMMENT_LENGTH = 64  # ErrorComment is LO
_STALE_S = 5.0  # without a byte: a slow sender, or one whose association is dead


class NoRoomError(ApplianceError):
    """Less space is left than the site wants to keep free."""


class MismatchError(ApplianceError):
    """The data set is not the object that the C-STORE command announced."""


@dataclass(frozen=True)
class Announced:
    """What the C-STORE command said, and who sent it.

    Attributes
    ----------
    SOPInstanceUID, SOPClassUID
        Affected SOP Instance and Class UID of the command (PS3.7 9.1.1.1).
    calling_ae_title
        As the peer calls itself.
    peer
        The peer's IP address.
    """

    SOPInstanceUID: str
    SOPClassUID: str
    calling_ae_title: str
    peer: str


class Store:
    """Keeps received objects.

    Parameters
    ----------
    spool, ledger
        Where bytes and rows go.
    space_floor
        Bytes that must stay free; below it objects are refused.
    originals
        Destinations that get every object as it came.
    """

    def __init__(
        self, spool: Spool, ledger: Ledger, space_floor: int, originals: Sequence[str] = ()
    ) -> None:
        self.spool = spool
        self.ledger = ledger
        self.originals = originals
        self.space_floor = space_floor
        # SQLite has one writer: senders that wait in line here don't wait in its busy handler,
        # which sleeps up to 100 ms, and an association doesn't pay for opening the file.
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    def receive(self, event: Event) -> Dataset:
        """Answer a C-STORE request: the status, and a comment when it is not success.

        Handler of EVT_C_STORE. The received file is gone from `spool.incoming` afterwards.
        """
        incoming = event.dataset_path
        try:
            self.keep(incoming, _announced(event))
            return _answer(SUCCESS, "")
        except ApplianceError as error:
            log.warning("an object was not kept: %s", error)
            return _answer(status_of(error), error.subject)
        except Exception as error:  # noqa: BLE001
            # The edge: whatever else failed, the sender must hear that it isn't kept. Its
            # text may hold patient data, so the log gets its kind and place only.
            log.error("an object was not kept: %s at %s", type(error).__name__, _place(error))
            return _answer(PROCESSING_FAILURE, "the receiver failed")
        finally:
            incoming.unlink(missing_ok=True)

    def keep(self, incoming: Path, announced: Announced) -> reception.Recorded:
        """Make a received file a kept object.

        Parameters
        ----------
        incoming
            Part 10 file in `spool.incoming`, written to its end. Its name is removed once the
            row is on disk; when this raises, it is the caller's to remove.
        announced
            What the sender said it would be.

        Returns
        -------
        Recorded
            The object's row. File, directory and row are on disk.

        Raises
        ------
        NoRoomError, Part10Error, MismatchError, SpoolError, LedgerError
            See `status_of` for the status each stands for.
        """
        self._require_room()
        header = part10.read_header(incoming)
        identity = part10.identity(header.dataset)
        _require_match(identity, announced)
        adopted = self.spool.adopt(incoming)
        received = _received(identity, header.TransferSyntaxUID, announced, adopted)
        recorded = self._record(received)
        incoming.unlink(missing_ok=True)
        log.info("kept object %d%s", recorded.seq, _news(recorded))
        return recorded

    def recover(self) -> tuple[int, int]:
        """Settle what an earlier run left in `spool.incoming`. Call before listening.

        Returns
        -------
        recorded, removed
            Objects that were on disk while their row was missing or not yet looked for, and
            files that were still arriving. None of either kind was acknowledged.

        Raises
        ------
        SpoolError, LedgerError
            When an object can't be synced or recorded; the next start tries again.
        """
        recorded = removed = 0
        for path in self._incoming():
            # A second name means that the file was whole, checked and linked. With one name
            # only, a cut between two elements would pass for a whole file: remove it.
            if path.stat().st_nlink > 1 and self._record_again(path):
                recorded += 1
            else:
                removed += 1
            path.unlink(missing_ok=True)
        return recorded, removed

    def sweep(self) -> int:
        """Remove received files that nobody holds open; return how many.

        pynetdicom leaves its temporary file when an association ends inside an object. It
        holds the file open while an object arrives and until its status is decided, so a
        name listed here and then found in no descriptor has no user left.
        """
        names = list(self._incoming())
        if not names:
            return 0
        held = set(_open_files())
        orphans = [path for path in names if str(path) not in held]
        for path in orphans:
            path.unlink(missing_ok=True)
        if any(_age(path) > _STALE_S for path in names):
            # An association that died by an exception (the disk full in the middle of an
            # object) is a reference cycle that still holds its file: the next sweep gets it.
            gc.collect()
        return len(orphans)

    def _incoming(self) -> Iterator[Path]:
        for path in sorted(self.spool.incoming.iterdir()):
            if path.is_file():
                yield path

    def _require_room(self) -> None:
        if self.spool.free_bytes() < self.space_floor:
            raise NoRoomError(
                "store a received object",
                "out of space on the box",
                f"Free space below {self.spool.root}: scp.space_floor_mb must stay free.",
                retry=True,
            )

    def _record(self, received: reception.Received) -> reception.Recorded:
        try:
            record = self._recorder.submit(reception.record, self.ledger, received, self.originals)
            return record.result()
        except sqlite3.Error as error:
            raise LedgerError(
                "record a received object",
                f"the ledger did not take the row ({type(error).__name__})",
                "Check the disk and the rights of the state directory; the sender was told.",
            ) from error

    def _record_again(self, path: Path) -> bool:
        try:
            header = part10.read_header(path)
        except Part10Error:
            return False  # it was whole when it was linked: the disk has lost it since
        identity = part10.identity(header.dataset)
        announced = Announced(identity.SOPInstanceUID, identity.SOPClassUID, "", "")
        adopted = self.spool.adopt(path)
        self._record(_received(identity, header.TransferSyntaxUID, announced, adopted))
        return True


def status_of(error: ApplianceError) -> int:
    """Return the C-STORE status (PS3.4 B.2.3, PS3.7 Annex C) an error stands for."""
    if isinstance(error, NoRoomError) or (isinstance(error, SpoolError) and error.retry):
        return OUT_OF_RESOURCES
    if isinstance(error, MismatchError):
        return NOT_WHAT_WAS_SAID
    if isinstance(error, Part10Error):
        return NOT_UNDERSTOOD
    return PROCESSING_FAILURE


def _announced(event: Event) -> Announced:
    request, requestor = cast(C_STORE, event.request), event.assoc.requestor
    return Announced(
        SOPInstanceUID=str(request.AffectedSOPInstanceUID),
        SOPClassUID=str(request.AffectedSOPClassUID),
        calling_ae_title=requestor.ae_title.strip(),
        peer=requestor.address,
    )


def _require_match(identity: part10.Identity, announced: Announced) -> None:
    for keyword in ("SOPInstanceUID", "SOPClassUID"):
        if getattr(identity, keyword) != getattr(announced, keyword):
            raise MismatchError(
                "store a received object",
                f"{keyword} in the data set is not the announced one",
                "The sender made two different objects of one; have its service look at it.",
            )


def _received(
    identity: part10.Identity, TransferSyntaxUID: str, announced: Announced, adopted: Adopted
) -> reception.Received:
    values = asdict(identity)
    for keyword in ("SeriesNumber", "InstanceNumber"):
        values[keyword] = _whole_number(values[keyword])
    return reception.Received(
        **values,
        TransferSyntaxUID=TransferSyntaxUID,
        sha256=adopted.sha256,
        size=adopted.size,
        calling_ae_title=announced.calling_ae_title,
        peer=announced.peer,
    )


def _whole_number(text: str) -> int:
    """An Integer String (PS3.5 6.2) as a number; 0 when it is none."""
    try:
        return int(text) if len(text) <= 12 else 0
    except ValueError:
        return 0


def _answer(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment.encode("ascii", "replace").decode()[:_COMMENT_LENGTH]
    return answer


def _news(recorded: reception.Recorded) -> str:
    if recorded.duplicate:
        return " (it was here already)"
    return " (same UID as an earlier object, other content: both kept)" if recorded.differs else ""


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


def _age(path: Path) -> float:
    """Seconds since a file was written to; 0 when it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _open_files() -> Iterator[str]:
    """The paths of this process's open files."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue  # closed since it was listed
