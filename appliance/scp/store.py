"""From a received file to a kept object: in this order, or not at all.

Room, whole, the object it was said to be, on disk, in the ledger; only then success.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from appliance import part10
from appliance.errors import ApplianceError, LedgerError, Part10Error, SpoolError
from appliance.ledger import Ledger, reception
from appliance.scp import mishap, orphans
from appliance.scp.arriving import ArrivingFile
from appliance.scp.incoming import Incoming
from appliance.scp.metrics import Metrics
from appliance.scp.quarantine import Quarantine
from appliance.scp.recorder import Recorder
from appliance.spool import Linked, Spool, spool_error

log = logging.getLogger("echocart.scp")

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3: A700 to A7FF
NOT_WHAT_WAS_SAID = 0xA900  # A900 to A9FF: data set does not match SOP class
NOT_UNDERSTOOD = 0xC000  # C000 to CFFF
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.7
_OUTCOMES = {
    OUT_OF_RESOURCES: "no_room",
    NOT_WHAT_WAS_SAID: "mismatch",
    NOT_UNDERSTOOD: "not_dicom",
}
_COMMENT_LENGTH = 64  # ErrorComment is LO
_HELPERS = 8  # threads that hash and sync


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

    Raises
    ------
    SpoolError
        When the folders of objects can't be made.
    """

    def __init__(
        self, spool: Spool, ledger: Ledger, space_floor: int, originals: Sequence[str] = ()
    ) -> None:
        spool.make_object_folders()
        self.spool = spool
        self.ledger = ledger
        self.space_floor = space_floor
        self.metrics = Metrics()
        self._recorder = Recorder(ledger, originals)
        self._aside = Quarantine(spool, ledger)
        self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="disk")

    def begin(self, announced: Announced, TransferSyntaxUID: str) -> Incoming:
        """Begin an object whose data set is about to come; never raises.

        Parameters
        ----------
        announced
            What the C-STORE command said.
        TransferSyntaxUID
            Of the presentation context it comes by.
        """
        return Incoming(self, announced, TransferSyntaxUID)

    def receive(self, event: Event) -> Dataset:
        """Answer a C-STORE request: the status, and a comment when it is not success.

        Handler of EVT_C_STORE of pynetdicom's own reception, which has written the file. It is
        gone from `spool.incoming` afterwards.
        """
        path = event.dataset_path
        try:
            return _answer(*self.answer(lambda: self._keep_path(path, _announced(event))))
        finally:
            path.unlink(missing_ok=True)

    def answer(self, keep: Callable[[], reception.Recorded]) -> tuple[int, str]:
        """Return the status, and a comment, that what `keep` does or raises stands for."""
        status, comment, outcome = self._outcome(keep)
        self.metrics.count(outcome)
        return status, comment

    def _outcome(self, keep: Callable[[], reception.Recorded]) -> tuple[int, str, str]:
        try:
            recorded = keep()
        except ApplianceError as error:
            log.warning("an object was not kept: %s", error)
            return _told(error)
        except OSError as error:
            failed = spool_error(self.spool.incoming, error)
            log.warning("an object was not kept: %s", failed)
            return _told(failed)
        except Exception as error:  # noqa: BLE001
            # The edge: whatever else failed, the sender must hear that it isn't kept. Its
            # text may hold patient data, so the log gets its kind and place only.
            log.error("an object was not kept: %s", mishap.of(type(error), error.__traceback__))
            return PROCESSING_FAILURE, "the receiver failed", "failed"
        return SUCCESS, "", _kind(recorded)

    def arriving(self) -> ArrivingFile:
        """Open a file for an object that begins to arrive.

        Raises
        ------
        OSError
            When it can't be made.
        """
        return ArrivingFile.create(self.spool.incoming, self._helpers)

    def require_room(self) -> None:
        """Raise NoRoomError when less is free than must stay free."""
        if self.spool.free_bytes() < self.space_floor:
            raise NoRoomError(
                "store a received object",
                "out of space on the box",
                f"Free space below {self.spool.root}: scp.space_floor_mb must stay free.",
                retry=True,
            )

    def keep(self, file: ArrivingFile, announced: Announced) -> reception.Recorded:
        """Make a received file a kept object.

        Parameters
        ----------
        file
            Written to its end. Its name in `spool.incoming` is removed once the row is on
            disk; when this raises, it is the caller's to discard.
        announced
            What the sender said it would be.

        Returns
        -------
        Recorded
            The object's row. File, directory and row are on disk.

        Raises
        ------
        NoRoomError, Part10Error, MismatchError, SpoolError, LedgerError, OSError
            See `status_of` for the status each stands for.
        """
        self.require_room()
        file.start_sync()
        with self.metrics.stage("check"):
            identity, TransferSyntaxUID = part10.read_identity(file.descriptor, file.head)
        with self.metrics.stage("sync"):
            received = _received(identity, TransferSyntaxUID, announced, file)
        try:
            _require_match(identity, announced)
        except MismatchError as error:
            self._aside.take(file, received, announced, error.subject)
            raise
        with self.metrics.stage("record"):
            recorded, was_whole = self._settle(file, received)
        file.path.unlink(missing_ok=True)
        self.metrics.bytes.inc(file.size)
        log.info("kept object %d%s", recorded.seq, _news(recorded, was_whole))
        return recorded

    def _settle(
        self, file: ArrivingFile, received: reception.Received
    ) -> tuple[reception.Recorded, bool]:
        """Link and record; tell also whether the same content was there before, and whole."""
        with self.spool.alone_with(received.sha256):
            recorded, linked = self._link_and_record(file, received)
            if recorded.duplicate:
                # Its file may just have been purged, before or after it was looked for here.
                with self.spool.purging(may=False):
                    recorded, again = self._link_and_record(file, received)
                    linked = again if linked is Linked.KNOWN else linked
        return recorded, linked is Linked.KNOWN

    def _link_and_record(
        self, file: ArrivingFile, received: reception.Received
    ) -> tuple[reception.Recorded, Linked]:
        linked = self.spool.link(file.path, received.sha256)
        try:
            recorded = self._recorder.record(received)
            if recorded.duplicate and linked is not Linked.KNOWN:
                reception.whole_again(self.ledger, recorded.seq)
            return recorded, linked
        except sqlite3.Error as error:
            if linked is Linked.NEW:
                self._take_back(file, received)
            raise LedgerError(
                "record a received object",
                f"the ledger did not take the row ({type(error).__name__})",
                "Check the disk and the rights of the state directory; the sender was told.",
            ) from error

    def _take_back(self, file: ArrivingFile, received: reception.Received) -> None:
        """Remove the final name of an object that got no row."""
        try:
            known = reception.find(self.ledger, received.SOPInstanceUID, received.sha256)
        except sqlite3.Error:
            file.leave()  # whether it has a row can't be told now: the next start settles it
            return
        if known is None:
            self.spool.object_path(received.sha256).unlink(missing_ok=True)

    def _keep_path(self, path: Path, announced: Announced) -> reception.Recorded:
        file = ArrivingFile.opened(path, self._helpers)
        try:
            return self.keep(file, announced)
        finally:
            file.discard()

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
        for path in orphans.files(self.spool.incoming):
            # A second name means that the file was whole, checked and linked. With one name
            # only, a cut between two elements would pass for a whole file: remove it.
            if path.stat().st_nlink > 1 and self._record_again(path):
                recorded += 1
            else:
                removed += 1
            path.unlink(missing_ok=True)
        return recorded, removed

    def sweep(self) -> int:
        """Settle or remove received files that nobody holds open; return how many were removed."""
        for path in orphans.files(self.spool.incoming):
            if orphans.is_linked(path):
                self._settle_later(path)
        return orphans.sweep(self.spool.incoming)

    def _settle_later(self, path: Path) -> None:
        """An object that was left because the ledger couldn't be read has its row now, or waits."""
        try:
            self._record_again(path)
            path.unlink(missing_ok=True)
        except (LedgerError, SpoolError, OSError):
            log.debug("a linked object still waits for its row")

    def _record_again(self, path: Path) -> bool:
        file = ArrivingFile.opened(path, self._helpers)
        try:
            file.start_sync()
            identity, TransferSyntaxUID = part10.read_identity(file.descriptor, file.head)
            announced = Announced(identity.SOPInstanceUID, identity.SOPClassUID, "", "")
            received = _received(identity, TransferSyntaxUID, announced, file)
            self._settle(file, received)
        except Part10Error:
            return False  # it was whole when it was linked: the disk has lost it since
        except OSError as error:
            raise spool_error(path.parent, error) from error
        finally:
            file.close()
        return True


def _told(error: ApplianceError) -> tuple[int, str, str]:
    status = status_of(error)
    return status, error.subject, _OUTCOMES.get(status, "failed")


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
    identity: part10.Identity, TransferSyntaxUID: str, announced: Announced, file: ArrivingFile
) -> reception.Received:
    values = dict(vars(identity))
    for keyword in ("SeriesNumber", "InstanceNumber"):
        values[keyword] = part10.whole_number(values[keyword])
    return reception.Received(
        **values,
        TransferSyntaxUID=TransferSyntaxUID,
        sha256=file.sha256(),
        size=file.size,
        calling_ae_title=announced.calling_ae_title,
        peer=announced.peer,
    )


def _answer(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment.encode("ascii", "replace").decode()[:_COMMENT_LENGTH]
    return answer


def _kind(recorded: reception.Recorded) -> str:
    return "duplicate" if recorded.duplicate else "differs" if recorded.differs else "kept"


def _news(recorded: reception.Recorded, was_whole: bool) -> str:
    if recorded.duplicate and not was_whole:
        return " (known already, its file gone or damaged: it is whole here again)"
    if recorded.duplicate:
        return " (it was here already)"
    return " (same UID as an earlier object, other content: both kept)" if recorded.differs else ""
