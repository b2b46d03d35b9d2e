"""Outgoing associations: what is said when there is none, however the machine's threads take turns."""

import time
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from appliance import dimse
from appliance.dimse import AssociationError, Peer
from tests.box import free_port

VERIFICATION = "1.2.840.10008.1.1"


class _Late(AE):
    """Its own thread gets no processor between the request and the first look at the connection."""

    def associate(self, *where: Any, evt_handlers: list[Any], **more: Any) -> Association:
        waits = (evt.EVT_REQUESTED, lambda event: time.sleep(0.5))
        return super().associate(*where, evt_handlers=[*evt_handlers, waits], **more)


@pytest.mark.parametrize("kind", [AE, _Late])
def test_a_refusal_is_told_as_one_however_late_it_is_looked_at(kind, monkeypatch):
    monkeypatch.setattr(dimse, "AE", kind)
    pacs, port = AE("PACS"), free_port()
    pacs.require_called_aet = True
    pacs.add_supported_context(VERIFICATION)
    server = pacs.start_server(("127.0.0.1", port), block=False)
    try:
        with pytest.raises(AssociationError, match="refuses the association of BOX with WRONG"):
            dimse.associate(
                dimse.entity("BOX", 10.0, 10.0),
                Peer("127.0.0.1", port, "WRONG", "BOX"),
                [build_context(VERIFICATION)],
                "test",
            )
    finally:
        server.shutdown()
