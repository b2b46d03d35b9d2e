"""N-ACTION: recorded before it is answered, refused where nobody can keep the promise."""

import sqlite3

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom.pdu import A_ASSOCIATE_AC

from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from appliance.ledger import commitment
from appliance.scp.commitment import MOST_ITEMS
from tests.box import Box
from tests.requester import Requester, wanted
from tests.scp.objects import ULTRASOUND, write_object
from tests.scp.peer import Peer

DEFLATED = "1.2.840.10008.1.2.1.99"
PATHS = ["pump", pytest.param("stock", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=PATHS)
def box(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("box")
    with Box(root, ["scp"], scp=f'archive = true\nreceive_path = "{request.param}"') as box:
        yield box


def test_success_means_that_the_request_is_on_disk_although_the_receiver_dies(box, tmp_path):
    cart = Requester()
    references = cart.store(box, write_object(tmp_path / "a.dcm"))
    association = cart.associate(box)
    status, _ = cart.ask_on(association, references)
    box.kill("scp")
    association.abort()
    assert status == 0x0000
    (row,) = commitment.open_requests(box.ledger)
    assert (row["calling_ae"], row["peer"], row["objects"]) == ("CART", "127.0.0.1", 1)
    (item,) = commitment.items(box.ledger, row["id"])
    assert (item.sop_class_uid, item.sop_instance_uid) == references[0]
    # The cart may have deleted its copy as soon as the report comes: nothing purges it.
    assert commitment.promised(box.ledger, box.loops()[0]["seq"])
    box.start("scp")


def test_an_object_nobody_asked_about_is_not_promised(box, tmp_path):
    Requester().store(box, write_object(tmp_path / "a.dcm"))
    assert not commitment.promised(box.ledger, box.loops()[0]["seq"])


def test_asking_again_replaces_a_request_that_waits(box):
    references, transaction = [(ULTRASOUND, generate_uid())], generate_uid()
    before = len(commitment.open_requests(box.ledger))
    for _ in range(3):
        assert Requester("AGAIN").ask(box, references, transaction=transaction)[0] == 0x0000
    assert len(commitment.open_requests(box.ledger)) == before + 1


def asked(box: Box, information: Dataset | None, action: int = 1, instance=PUSH_MODEL_INSTANCE):
    association = Requester().associate(box)
    answer, _ = association.send_n_action(information, action, PUSH_MODEL, instance)
    association.release()
    return answer.Status


def without(keyword: str) -> Dataset:
    information = wanted([(ULTRASOUND, "1.2.3")])
    for dataset in (information, information.ReferencedSOPSequence[0]):
        if keyword in dataset:
            del dataset[keyword]
    return information


@pytest.mark.parametrize(
    ("information", "action", "instance", "status"),
    [
        (None, 1, PUSH_MODEL_INSTANCE, 0x0115),
        (without("TransactionUID"), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (without("ReferencedSOPSequence"), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (without("ReferencedSOPInstanceUID"), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (wanted([]), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (wanted([(ULTRASOUND, "1.2.3")]), 2, PUSH_MODEL_INSTANCE, 0x0123),
        (wanted([(ULTRASOUND, "1.2.3")]), 1, "1.2.3.4", 0x0112),
        ([("1.2", "1.3")] * (MOST_ITEMS + 1), 1, PUSH_MODEL_INSTANCE, 0x0213),
    ],
)
def test_a_request_that_can_not_be_kept_is_refused_with_its_reason(
    box, information, action, instance, status
):
    if isinstance(information, list):  # too long to be made for every collection of the tests
        information = wanted(information)
    before = len(commitment.open_requests(box.ledger))
    assert asked(box, information, action, instance) == status
    assert len(commitment.open_requests(box.ledger)) == before
    assert "Traceback" not in box.log("scp")


def test_without_an_archive_and_without_being_one_the_box_promises_nothing(tmp_path):
    with Box(tmp_path, ["scp"]) as box:
        status, _ = Requester().ask(box, [(ULTRASOUND, "1.2.3")])
        assert status == 0x0124
        assert commitment.open_requests(box.ledger) == []
        assert "asked for storage commitment: refused" in box.log("scp")


def test_a_destination_that_gets_originals_is_an_archive(tmp_path):
    extra = (
        f'[[destination]]\nname = "a"\nkind = "folder"\npath = "{tmp_path}"\ngets = ["originals"]\n'
    )
    with Box(tmp_path, ["scp"], extra) as box:
        assert Requester().ask(box, [(ULTRASOUND, "1.2.3")])[0] == 0x0000


def test_a_ledger_that_takes_no_row_is_a_failure_not_a_promise(box):
    association = Requester().associate(box)
    other = sqlite3.connect(box.ledger.path, isolation_level=None)
    other.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON commitment BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    try:
        status, _ = Requester().ask_on(association, [(ULTRASOUND, "1.2.3")])
    finally:
        other.execute("DROP TRIGGER broken")
        other.close()
    association.release()
    assert status == 0x0110


@pytest.mark.parametrize(
    ("roles", "answer"),
    [(None, None), ((1, 0), (True, False)), ((1, 1), (True, True)), ((0, 1), (False, True))],
)
def test_commitment_is_accepted_in_any_role_and_never_deflated(box, roles, answer):
    syntaxes = [DEFLATED, ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    with Peer(box.dicom_port) as peer:
        pdu = A_ASSOCIATE_AC()
        pdu.decode(peer.associate([(PUSH_MODEL, syntaxes)], roles and {PUSH_MODEL: roles}))
    (context,) = pdu.presentation_context
    assert (context.result, context.transfer_syntax) == (0, ExplicitVRLittleEndian)
    given = pdu.user_information.role_selection.get(PUSH_MODEL)
    assert (given and (bool(given.scu_role), bool(given.scp_role))) == answer


def test_deflated_alone_is_refused(box):
    with Peer(box.dicom_port) as peer:
        pdu = A_ASSOCIATE_AC()
        pdu.decode(peer.associate([(PUSH_MODEL, [DEFLATED])]))
    assert [context.result for context in pdu.presentation_context] == [4]
