"""The report of storage commitment: true to the bytes on disk, delivered until it is taken."""

import pydicom
import pytest
import requests

from appliance import pairing
from appliance.ledger import commitment
from tests.box import Box
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.requester import Requester, committed, failed
from tests.scp.objects import ULTRASOUND, ULTRASOUND_LOOP, write_object
from tests.sync.servers import all_proven_at

GONE = "1.2.3.4.5.6.7"


def make_box(root, services=("scp", "sync"), path="pump", extra="") -> Box:
    return Box(root, services, extra, scp=f'archive = true\nreceive_path = "{path}"')


def pair(box: Box, cart: Requester, **given) -> None:
    given = {"commit_port": cart.port, **given}
    pairing.allow(box.settings, box.ledger, cart.title, "127.0.0.1", given, "test")


def spooled(box: Box, SOPInstanceUID: str):
    row = box.ledger.read_one(
        "SELECT sha256 FROM instance WHERE sop_instance_uid = ?", [SOPInstanceUID]
    )
    return box.spool.object_path(row["sha256"])


def all_reported(box: Box) -> bool:
    return not commitment.open_requests(box.ledger)


@pytest.mark.parametrize("path", ["pump", "stock"])
def test_the_report_says_of_each_object_what_the_disk_says(tmp_path, path):
    with make_box(tmp_path, path=path) as box, Requester() as cart:
        pair(box, cart)
        names = ("whole", "rotten", "lost", "other class")
        files = [write_object(tmp_path / f"{name}.dcm") for name in names]
        whole, rotten, lost, other = cart.store(box, *files)
        file = spooled(box, rotten[1])
        file.chmod(0o600)
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        spooled(box, lost[1]).unlink()
        references = [whole, rotten, lost, (ULTRASOUND_LOOP, other[1]), (ULTRASOUND, GONE)]
        status, transaction = cart.ask(box, references)
        assert status == 0x0000
        event_type, information, calling = cart.report()
        box.wait_for(lambda: all_reported(box), "the report to be taken")
        assert cart.reports.empty()
        assert (event_type, calling) == (2, "ECHOCART")
        assert information.TransactionUID == transaction
        assert committed(information) == [whole]
        assert failed(information) == {
            rotten[1]: 0x0110,
            lost[1]: 0x0112,
            other[1]: 0x0119,
            GONE: 0x0112,
        }
        promised = {
            row["sop_instance_uid"]: commitment.promised(box.ledger, row["seq"])
            for row in box.loops()
        }
        assert promised == {whole[1]: True, rotten[1]: False, lost[1]: False, other[1]: False}


def test_when_all_is_kept_no_failure_is_mentioned(tmp_path):
    with make_box(tmp_path) as box, Requester() as cart:
        pair(box, cart)
        files = [write_object(tmp_path / f"{number}.dcm") for number in range(30)]
        references = cart.store(box, *files)
        cart.ask(box, references)
        event_type, information, _ = cart.report()
        assert event_type == 1
        assert committed(information) == references
        assert "FailedSOPSequence" not in information


def test_a_purged_object_that_an_archive_has_proven_counts(tmp_path):
    attic = tmp_path / "attic"
    attic.mkdir()
    extra = f'[[destination]]\nname = "attic"\nkind = "folder"\npath = "{attic}"\ngets = ["originals"]\n'
    with make_box(tmp_path, extra=extra) as box, Requester() as cart:
        pair(box, cart)
        (reference,) = cart.store(box, write_object(tmp_path / "a.dcm"))
        box.wait_for(lambda: all_proven_at(box, "attic"), "the original to be proven")
        spooled(box, reference[1]).unlink()
        cart.ask(box, [reference])
        event_type, information, _ = cart.report()
        assert (event_type, committed(information)) == (1, [reference])


def test_a_cart_that_was_off_gets_its_reports_and_a_restart_loses_none(tmp_path):
    cart = Requester()
    with make_box(tmp_path) as box:
        pair(box, cart)
        references = cart.store(box, write_object(tmp_path / "a.dcm"))
        transactions = {cart.ask(box, references)[1] for _ in range(3)}
        box.wait_for(lambda: "no DICOM receiver answers" in box.log("sync"), "a failed try")
        box.kill("sync")
        transactions.add(cart.ask(box, references)[1])
        box.kill("scp")
        box.start("scp")
        box.start("sync")
        assert len(commitment.open_requests(box.ledger)) == 4
        with cart:
            taken = {cart.report()[1].TransactionUID for _ in range(4)}
            box.wait_for(lambda: all_reported(box), "the reports to be taken")
            assert taken == transactions
            assert cart.reports.empty()


def test_a_report_that_the_cart_refuses_is_sent_again(tmp_path):
    with make_box(tmp_path) as box, Requester() as cart:
        pair(box, cart)
        cart.status = 0x0110
        cart.ask(box, cart.store(box, write_object(tmp_path / "a.dcm")))
        cart.report()
        box.wait_for(lambda: commitment.open_requests(box.ledger)[0]["problem"], "the problem")
        assert "answered status 0x0110" in commitment.open_requests(box.ledger)[0]["problem"]
        cart.status = 0x0000
        cart.report()
        box.wait_for(lambda: all_reported(box), "the report to be taken")


def test_without_an_address_the_report_waits_for_a_person_and_then_goes_at_once(tmp_path):
    with make_box(tmp_path) as box, Requester() as cart:
        cart.ask(box, cart.store(box, write_object(tmp_path / "a.dcm")))

        def problem():
            return commitment.open_requests(box.ledger)[0]["problem"]

        box.wait_for(problem, "the problem to be told")
        assert "no address" in problem()
        assert "echocart carts allow CART@127.0.0.1 --commit PORT" in problem()
        pair(box, cart)
        cart.report()
        box.wait_for(lambda: all_reported(box), "the report to be taken")


def test_a_commit_server_of_its_own_title_asks_and_is_told(tmp_path):
    with make_box(tmp_path) as box, Requester("COMMIT-SRV") as server:
        cart = Requester("CART")
        pair(box, cart, commit_ae="COMMIT-SRV", commit_port=server.port)
        references = cart.store(box, write_object(tmp_path / "a.dcm"))
        server.ask(box, references)
        assert committed(server.report()[1]) == references
        # Asked under the cart's own title, the report goes to the commit server as well.
        cart.ask(box, references)
        assert committed(server.report()[1]) == references
        box.wait_for(lambda: all_reported(box), "the reports to be taken")


@pytest.mark.parametrize("path", ["pump", "stock"])
def test_a_cart_that_waits_is_told_on_the_association_that_asked(tmp_path, path):
    with make_box(tmp_path, path=path) as box:
        cart = Requester()
        pair(box, cart, same_association=True, commit_port=None)
        references = cart.store(box, write_object(tmp_path / "a.dcm"))
        association = cart.associate(box)
        for _ in range(12):
            status, transaction = cart.ask_on(association, references)
            assert status == 0x0000
            event_type, information, _ = cart.report()
            assert (event_type, information.TransactionUID) == (1, transaction)
        box.wait_for(lambda: all_reported(box), "the reports to be taken")
        association.release()
        assert association.is_released
        assert "Traceback" not in box.log("scp")


@pytest.mark.parametrize("path", ["pump", "stock"])
def test_a_cart_that_did_not_wait_is_told_over_a_new_association(tmp_path, path):
    with make_box(tmp_path, path=path) as box, Requester() as cart:
        pair(box, cart, same_association=True)
        references = cart.store(box, write_object(tmp_path / "a.dcm"))
        association = cart.associate(box)
        association._handlers.clear()  # it answers no report here
        cart.ask_on(association, references)
        association.abort()
        assert committed(cart.report(30)[1]) == references
        box.wait_for(lambda: all_reported(box), "the report to be taken")


def test_orthanc_asks_and_believes_the_report(tmp_path):
    box = make_box(tmp_path / "box")
    with Orthanc(tmp_path / "orthanc", box_port=box.dicom_port) as orthanc, box:
        given = {"commit_port": orthanc.dicom_port}
        pairing.allow(box.settings, box.ledger, "ORTHANC", "127.0.0.1", given, "test")
        base = f"http://127.0.0.1:{orthanc.http_port}"
        session = requests.Session()
        session.auth = (USER, PASSWORD)
        files = [write_object(tmp_path / f"{number}.dcm") for number in range(3)]
        uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]
        ids = [
            session.post(f"{base}/instances", data=path.read_bytes()).json()["ID"] for path in files
        ]
        body = {"Resources": ids[:2], "StorageCommitment": True, "Synchronous": True}
        done = session.post(f"{base}/modalities/box/store", json=body)
        assert done.ok, done.text
        transaction = done.json()["StorageCommitmentTransactionUID"]

        def report(number: str) -> dict:
            found = session.get(f"{base}/storage-commitment/{number}").json()
            return found if found["Status"] != "Pending" else {}

        found = box.wait_for(lambda: report(transaction), "Orthanc to have the report")
        assert found["Status"] == "Success"
        assert {item["SOPInstanceUID"] for item in found["Success"]} == set(uids[:2])
        # The third one was never sent.
        done = session.post(f"{base}/modalities/box/storage-commitment", json={"Resources": ids})
        number = done.json()["ID"]
        found = box.wait_for(lambda: report(number), "Orthanc to have the second report")
        assert found["Status"] == "Failure"
        (missing,) = found["Failures"]
        assert (missing["SOPInstanceUID"], missing["FailureReason"]) == (uids[2], 0x0112)
        box.wait_for(lambda: all_reported(box), "the reports to be taken")
