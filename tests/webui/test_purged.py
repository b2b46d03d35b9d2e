"""A loop whose file was removed to make room is said to be kept elsewhere; nothing is broken."""

from http import HTTPStatus
from json import dumps
from pathlib import Path
from uuid import uuid4

import pytest

from appliance.ledger import delivery, reception
from appliance.purge import Purge
from tests.box import Box
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page

KEPT = "Kept in the archive pacs, removed here on 20"


@pytest.fixture
def box(tmp_path: Path):
    with Box(tmp_path / "box", ["webui"]) as box:
        incoming = cine_loop(frames=2, rows=60, columns=80).write(box.spool.incoming / "a.dcm")
        adopted = box.spool.adopt(incoming)
        incoming.unlink()
        received = reception.Received(
            SOPInstanceUID="1.2.3",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
            TransferSyntaxUID="1.2.840.10008.1.2.1",
            sha256=adopted.sha256,
            size=adopted.size,
            calling_ae_title="CART",
            peer="10.0.0.1",
            StudyInstanceUID="1.2",
        )
        reception.record(box.ledger, received, ["pacs"])
        box.ledger.db.conn.execute("UPDATE instance SET state = 'analysed'")
        claimed = delivery.claim(box.ledger, "test", 60.0, ["pacs"])
        delivery.proven(box.ledger, claimed, adopted.sha256, adopted.size)
        assert len(Purge(box.settings, box.ledger, box.spool).some(1)) == 1
        yield box


def test_the_page_says_where_a_purged_loop_is(box: Box) -> None:
    page = Page(box)
    shown = page.get("/api/loops/1")
    assert shown["words"].startswith(KEPT)
    assert shown["blocked"].startswith(KEPT)
    assert shown["frames"] == 0
    assert page.ask("/loop/1")[0] == HTTPStatus.OK
    assert KEPT in page.ask("/")[2].decode()
    status, _, text = page.ask("/api/loops/1/frames")
    assert status == HTTPStatus.GONE
    assert KEPT in text.decode()


def test_a_purged_loop_can_not_be_decided_on(box: Box) -> None:
    page = Page(box)
    body = dumps(
        {
            "decision": "accepted",
            "analysis_sha256": "ab" * 32,
            "patient_id": "",
            "key": str(uuid4()),
        }
    ).encode()
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    status, _, text = page.ask("/api/loops/1/reviews", body, headers)
    assert status == HTTPStatus.CONFLICT, text
    assert KEPT in text.decode()
