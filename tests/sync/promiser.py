"""A PACS of pynetdicom that stores everything and answers for it when it is told to."""

import queue
from collections.abc import Sequence
from types import TracebackType

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context, build_role

from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from tests.box import Box, free_port
from tests.requester import Reference, committed


class Promiser:
    """Context manager around one.

    Parameters
    ----------
    here
        Reports what it was asked for at once, on the association that asked.
    """

    def __init__(self, title: str = "PACS", here: bool = False) -> None:
        self.title, self.here = title, here
        self.port = free_port()
        self.status = 0x0000  # its answer to requests
        self.stored: list[str] = []
        self.asked: queue.Queue[tuple[str, list[Reference]]] = queue.Queue()

    def toml(self, name: str = "pacs", gets: str = '"originals"', more: str = "") -> str:
        return (
            f'[[destination]]\nname = "{name}"\nkind = "dicom"\nhost = "127.0.0.1"\n'
            f'port = {self.port}\ncalled_ae = "{self.title}"\ngets = [{gets}]\n{more}\n'
        )

    def __enter__(self) -> "Promiser":
        ae = AE(self.title)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        ae.add_supported_context(PUSH_MODEL)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._promise)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _promise(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        self.asked.put((str(information.TransactionUID), committed(information)))
        if self.here and self.status == 0x0000:
            self._association = event.assoc
            event.assoc.bind(evt.EVT_DIMSE_SENT, self._report_here, [information])
        return self.status, None

    def _report_here(self, event: evt.Event, information: Dataset) -> None:
        event.assoc.unbind(evt.EVT_DIMSE_SENT, self._report_here)
        import threading

        def send() -> None:
            event.assoc.send_n_event_report(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)

        threading.Thread(target=send, daemon=True).start()

    def report(
        self,
        box: Box,
        transaction: str,
        kept: Sequence[Reference],
        lost: Sequence[tuple[Reference, int]] = (),
        calling: str = "",
    ) -> int | None:
        """Report over a new association; return the status, None when the box lets it not in."""
        information = Dataset()
        information.TransactionUID = transaction
        information.ReferencedSOPSequence = [_item(*reference) for reference in kept]
        information.FailedSOPSequence = [_item(*ref, reason) for ref, reason in lost]
        association = AE(calling or self.title).associate(
            *("127.0.0.1", box.dicom_port),
            contexts=[build_context(PUSH_MODEL)],
            ae_title="ECHOCART",
            ext_neg=[build_role(PUSH_MODEL, scp_role=True)],
        )
        if not association.is_established:
            return None
        answer, _ = association.send_n_event_report(
            *(information, 2 if lost else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        )
        association.release()
        return int(answer.Status)


def _item(SOPClassUID: str, SOPInstanceUID: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOPClassUID, SOPInstanceUID
    if reason is not None:
        item.FailureReason = reason
    return item
