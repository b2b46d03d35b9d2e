"""A cart that asks for storage commitment, and listens for the report (PS3.4 Annex J)."""

import queue
import ssl
from pathlib import Path
from types import TracebackType

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from appliance.scu import send
from tests.box import Box, free_port

Reference = tuple[str, str]  # SOP class UID, SOP instance UID


class Requester:
    """Context manager around a cart's listening side; `asked` works without it, too.

    Parameters
    ----------
    title
        Its AE title.
    listens_as
        The title it takes reports under, when that is another one.
    secure
        Takes them by TLS only.
    """

    def __init__(
        self, title: str = "CART", listens_as: str = "", secure: ssl.SSLContext | None = None
    ) -> None:
        self.title, self.listens_as = title, listens_as or title
        self.port = free_port()
        self.status = 0x0000  # its answer to reports
        self.reports: queue.Queue[tuple[int, Dataset, str]] = queue.Queue()
        self._secure = secure
        self._server = None

    def __enter__(self) -> "Requester":
        ae = AE(self.listens_as)
        ae.require_called_aet = True
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        address = ("127.0.0.1", self.port)
        self._server = ae.start_server(
            address, block=False, evt_handlers=handlers, ssl_context=self._secure
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        calling = event.assoc.requestor.ae_title
        self.reports.put((event.event_type, event.event_information, calling))
        return self.status, None

    def store(self, box: Box, *paths: Path) -> list[Reference]:
        """Send files and return what to ask for."""
        import pydicom

        assert all(sent.ok for sent in send(paths, "127.0.0.1", box.dicom_port, self.title))
        read = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
        return [(item.SOPClassUID, item.SOPInstanceUID) for item in read]

    def associate(self, box: Box, called: str = "ECHOCART", secure: ssl.SSLContext | None = None):
        ae = AE(self.title)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        association = ae.associate(
            "127.0.0.1",
            box.settings.scp.tls_port if secure else box.dicom_port,
            tls_args=(secure, "127.0.0.1") if secure else None,
            contexts=[build_context(PUSH_MODEL)],
            ae_title=called,
            evt_handlers=handlers,
        )
        assert association.is_established
        return association

    def ask(
        self,
        box: Box,
        references: list[Reference],
        called: str = "ECHOCART",
        transaction: str = "",
        secure: ssl.SSLContext | None = None,
    ) -> tuple[int, str]:
        """Ask, hang up, and return the N-ACTION's status and the transaction's UID."""
        association = self.associate(box, called, secure)
        answer = self.ask_on(association, references, transaction)
        association.release()
        return answer

    def ask_on(
        self, association, references: list[Reference], transaction: str = ""
    ) -> tuple[int, str]:
        information = wanted(references, transaction)
        answer, _ = association.send_n_action(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        return int(answer.Status), str(information.TransactionUID)

    def report(self, seconds: float = 60) -> tuple[int, Dataset, str]:
        """Wait for a report: event type, event information, calling AE title."""
        return self.reports.get(timeout=seconds)


def wanted(references: list[Reference], transaction: str = "") -> Dataset:
    """Return the action information of a request."""
    information = Dataset()
    information.TransactionUID = transaction or generate_uid()
    information.ReferencedSOPSequence = []
    for SOPClassUID, SOPInstanceUID in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOPClassUID, SOPInstanceUID
        information.ReferencedSOPSequence.append(item)
    return information


def committed(information: Dataset) -> list[Reference]:
    """Return what a report says is kept."""
    return [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in information.get("ReferencedSOPSequence", [])
    ]


def failed(information: Dataset) -> dict[str, int]:
    """Return the failure reason of each object that a report says isn't."""
    return {
        item.ReferencedSOPInstanceUID: item.FailureReason
        for item in information.get("FailedSOPSequence", [])
    }
