"""The destination `dicom`: a PACS, reached by C-STORE and asked again by C-GET.

An object goes out byte for byte in its own transfer syntax. A status of success proves nothing (a
PACS may answer it to a second object under a known UID and keep the first), so the object is
fetched back and compared. A PACS that offers no C-GET is asked for storage commitment (see
`asking`); with neither, its objects are `unproven`, and say so.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dsutils import decode, split_dataset
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context, build_role

from appliance import dimse, tls
from appliance.commitment import PUSH_MODEL
from appliance.dimse import AssociationError, NothingAccepted, Peer
from appliance.errors import DeliveryError
from appliance.sync.brake import Brake
from appliance.sync.content import content, identity_of, is_filed, on_disk
from appliance.sync.destinations import (
    Absent,
    Awaited,
    NotTaken,
    Proof,
    Unproven,
    Unreachable,
)
from appliance.sync.door import Door
from appliance.sync.modules import class_name
from appliance.sync.seg import Part10

StudyRootGet = UID("1.2.840.10008.5.1.4.1.2.2.3")  # Query/Retrieve Information Model (PS3.4 C.6.2)
_OPERATION = "deliver to a PACS"
_WAITS = "The object waits; nothing is lost."
_NOT_TAKEN = (0x0122, 0x0124)  # SOP class not supported, not authorized (PS3.7 Annex C)


class Pacs:
    """A Storage SCP.

    Parameters
    ----------
    peer
        Its address and the two AE titles.
    proof
        How it proves an object: "read-back", "commitment", or "auto": by C-GET where it offers
        that, else by commitment where it offers that.
    commits_elsewhere
        It has an address or a title of its own for storage commitment.
    secure
        Gives the context of TLS; read anew for each association, as certificates change.
    brake
        How fast objects may leave.
    """

    def __init__(
        self,
        peer: Peer,
        proof: str = "auto",
        commits_elsewhere: bool = False,
        secure: Callable[[], ssl.SSLContext] | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._peer = peer
        self._proof = proof
        self._commits_elsewhere = commits_elsewhere
        self._secure = secure
        self._brake = brake or Brake(0)
        self._door = Door(peer.host, peer.port)
        self._name = f"{peer.called_ae} at {peer.host}:{peer.port}"

    def is_there(self) -> bool:
        """Tell whether it takes connections."""
        return self._door.answers()

    def check(self) -> None:
        """Raise `Unreachable` when it took no connection last time and still takes none."""
        if not self._door.is_shut():
            return
        subject, hint = f"{self._name} doesn't answer", "Check that it runs."
        if self._door.is_unknown:
            subject, hint = f"{self._peer.host} is not a known host", "Check the address."
        raise Unreachable(_OPERATION, subject, f"{hint} {_WAITS}", retry=True)

    def put(self, result: Part10) -> None:
        """Store an object.

        Raises
        ------
        Unreachable
            When there is no association, or the PACS has no room.
        NotTaken
            When it refuses this class of object, or this transfer syntax.
        DeliveryError
            When it refuses this object.
        """
        longest_s = self._brake.longest_s(result.size)
        with on_disk(result) as path:
            kind = _kind_of(path)
            try:
                with self._association([build_context(*kind)], longest_s) as association:
                    answer = dimse.store(association, path)
            except NothingAccepted as error:
                raise self._takes_no(*kind) from error
        if answer.stored:
            return
        subject = f"{self._name}: {answer.text}"
        if answer.status is None or answer.status >> 8 == dimse.OUT_OF_RESOURCES:
            raise Unreachable(_OPERATION, subject, _WAITS, retry=True)
        hint = "Ask the PACS's administrator; it is tried again."
        kind_of_error = NotTaken if answer.status in _NOT_TAKEN else DeliveryError
        raise kind_of_error(_OPERATION, subject, hint, retry=True)

    def prove(self, result: Part10) -> Proof | Unproven | Awaited:
        """Fetch an object back and compare it; see `content` for what must be equal.

        Where it is to be asked for storage commitment instead, that is returned.

        Raises
        ------
        Absent
            When the PACS doesn't have it.
        Unreachable
            When there is no association.
        DeliveryError
            When another object lies there under its UID, or it can't be fetched now.
        """
        with on_disk(result) as path:
            if self._proof == "commitment":
                return Awaited(_kind_of(path)[0], result.SOPInstanceUID)
            fetched = self._fetch(path, result.SOPInstanceUID)
            if not isinstance(fetched, bytes):
                return fetched
            if not _is_in(path, fetched):
                raise DeliveryError(
                    _OPERATION,
                    f"{self._name} holds another object under this UID",
                    "It keeps the first of two: have the wrong one removed there.",
                    retry=True,
                )
        return Proof(result.sha256, result.size)

    @contextmanager
    def _association(
        self,
        contexts: list[PresentationContext],
        longest_s: float = 0.0,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        on_store: Callable[[Event], int] | None = None,
    ) -> Iterator[Association]:
        ae = dimse.entity(self._peer.calling_ae, answer_s=dimse.ANSWER_S + longest_s)
        sending = self._brake if self._brake else None
        try:
            secure = self._secure() if self._secure else None
            association = dimse.associate(
                *(ae, self._peer, contexts, _OPERATION, roles, on_store),
                secure=secure,
                sending=sending,
            )
        except NothingAccepted:
            raise
        except (AssociationError, tls.TlsError) as error:
            self._door.found_shut()
            hint = f"{error.hint} {_WAITS}"
            raise Unreachable(_OPERATION, error.subject, hint, retry=True) from error
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _fetch(self, path: Path, SOPInstanceUID: str) -> bytes | Unproven | Awaited:
        """Return the data set that the PACS gives back, in the object's own transfer syntax."""
        found: list[bytes] = []

        def keep(event: Event) -> int:
            found.append(bytes(event.request.DataSet.getvalue()))  # type: ignore[union-attr]
            return 0x0000

        SOPClassUID, TransferSyntaxUID = _kind_of(path)
        awaited = Awaited(SOPClassUID, SOPInstanceUID)
        contexts = [build_context(StudyRootGet), build_context(SOPClassUID, TransferSyntaxUID)]
        contexts += [build_context(PUSH_MODEL)] if self._proof == "auto" else []
        commits = self._commits_elsewhere and self._proof == "auto"
        try:
            roles = [build_role(SOPClassUID, scp_role=True)]
            with self._association(contexts, 0.0, roles, keep) as association:
                taken = {item.abstract_syntax: item for item in association.accepted_contexts}
                commits = commits or UID(PUSH_MODEL) in taken
                gives = SOPClassUID in taken and taken[UID(SOPClassUID)].as_scp
                if StudyRootGet not in taken or not gives:
                    what = f" {class_name(SOPClassUID)}" if StudyRootGet in taken else " anything"
                    return awaited if commits else self._unproven(what)
                status = self._get(association, path)
        except NothingAccepted:
            return awaited if commits else self._unproven(" anything")
        if found:
            return found[0]
        # Nothing matched; some (Orthanc) call that "unable to process" (PS3.4 C.4.3.1.4).
        if status is not None and (status == 0 or status & 0xF000 == 0xC000):
            raise Absent(_OPERATION, f"{self._name} doesn't have the object", _WAITS, retry=True)
        if commits and (status is None or status in _NOT_TAKEN):
            return awaited  # some negotiate C-GET and then refuse it, or hang up
        subject = f"{self._name} could not give the object back (status {_hex(status)})"
        raise DeliveryError(_OPERATION, subject, "It is asked again.", retry=True)

    def _get(self, association: Association, path: Path) -> int | None:
        identity = identity_of(path)
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = identity.StudyInstanceUID
        query.SeriesInstanceUID = identity.SeriesInstanceUID
        query.SOPInstanceUID = identity.SOPInstanceUID
        status = None
        for answer, _ in association.send_c_get(query, StudyRootGet):
            status = int(answer.Status) if "Status" in answer else None
        return status

    def _unproven(self, what: str) -> Unproven:
        return Unproven(f"{self._name} doesn't offer to give{what} back by C-GET")

    def _takes_no(self, SOPClassUID: str, TransferSyntaxUID: str) -> NotTaken:
        what, how = class_name(SOPClassUID), UID(TransferSyntaxUID).name
        return NotTaken(
            _OPERATION,
            f"{self._name} refuses {what} in {how}",
            "Have it allowed at the PACS; the object is tried again.",
            retry=True,
        )


def _kind_of(path: Path) -> tuple[str, str]:
    meta, _ = split_dataset(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def _is_in(path: Path, fetched: bytes) -> bool:
    meta, offset = split_dataset(path)
    with path.open("rb") as stream:
        stream.seek(offset)
        sent = stream.read()
    if sent == fetched:
        return True
    syntax = UID(meta.TransferSyntaxUID)
    how = (syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    ours, theirs = (content(decode(BytesIO(data), *how)) for data in (sent, fetched))
    return is_filed(ours, theirs)


def _hex(status: int | None) -> str:
    return "none" if status is None else f"0x{status:04X}"
