"""Nothing a cart wants to store is refused; what we don't offer is, and says so."""

from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.presentation import build_context

from appliance.scp.negotiation import is_storage, supported
from appliance.scu import Outcome, send
from tests.box import Box
from tests.scp import carts
from tests.scp.objects import (
    PRIVATE_CLASS,
    RETIRED_ULTRASOUND,
    RETIRED_ULTRASOUND_LOOP,
    data_set_bytes,
    write_object,
)
from tests.scp.peer import Peer

NOT_SUPPORTED = 3  # PS3.8 9.3.3.2: abstract syntax not supported


def propose(receiver: Box, proposal: carts.Proposal) -> list[tuple[int, str]]:
    """Return (result, accepted transfer syntax) for each context, in the order proposed."""
    with Peer(receiver.dicom_port) as peer:
        answer = A_ASSOCIATE_AC()
        answer.decode(peer.associate(proposal))
        contexts = sorted(answer.presentation_context, key=lambda context: context.context_id)
        return [(context.result, str(context.transfer_syntax)) for context in contexts]


@pytest.mark.parametrize("cart", carts.CARTS)
def test_each_context_of_a_cart_is_accepted_in_its_own_first_syntax(
    receiver: Box, cart: str
) -> None:
    proposal = carts.CARTS[cart]
    assert propose(receiver, proposal) == [(0, syntaxes[0]) for _, syntaxes in proposal]


def test_128_contexts_are_accepted(receiver: Box) -> None:
    proposal: carts.Proposal = [(f"1.2.3.{n}", [carts.JPEG, carts.RLE]) for n in range(128)]
    assert propose(receiver, proposal) == [(0, carts.JPEG)] * 128


def test_what_is_not_storage_is_refused_and_the_rest_accepted(receiver: Box) -> None:
    worklist, procedure_step = "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"
    retired_patient_management = "1.2.840.10008.3.1.2.1.1"
    find, film = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.1.9"
    others = [worklist, procedure_step, retired_patient_management, find, film]
    proposal: carts.Proposal = [(uid, [carts.IMPLICIT]) for uid in [*others, carts.US]]
    results = [result for result, _ in propose(receiver, proposal)]
    assert results == [NOT_SUPPORTED] * len(others) + [0]


def test_a_context_without_transfer_syntax_gets_the_default_one(receiver: Box) -> None:
    assert propose(receiver, [(carts.US, [])]) == [(0, carts.IMPLICIT)]


def test_a_peer_that_asks_for_the_scp_role_stays_scu(receiver: Box) -> None:
    with Peer(receiver.dicom_port) as peer:
        pdu = A_ASSOCIATE_AC()
        pdu.decode(peer.associate([(carts.US, [carts.EXPLICIT])], {carts.US: (1, 1)}))
    assert [context.result for context in pdu.presentation_context] == [0]
    assert pdu.user_information.role_selection == {}  # no answer: the default roles hold


@pytest.mark.parametrize(
    "SOPClassUID", [PRIVATE_CLASS, RETIRED_ULTRASOUND, RETIRED_ULTRASOUND_LOOP, "1.2.3.4.5.6"]
)
def test_objects_of_classes_pynetdicom_does_not_know_are_kept(
    receiver: Box, tmp_path: Path, SOPClassUID: str
) -> None:
    path = write_object(tmp_path / "object.dcm", SOPClassUID)
    (sent,) = send([path], "127.0.0.1", receiver.dicom_port)
    assert sent.outcome is Outcome.STORED
    (row,) = receiver.ledger.read(
        "SELECT sha256 FROM instance WHERE sop_class_uid = ? ORDER BY seq DESC LIMIT 1",
        [SOPClassUID],
    )
    assert data_set_bytes(receiver.spool.object_path(row["sha256"])) == data_set_bytes(path)


def test_an_association_may_only_verify(receiver: Box) -> None:
    ae = AE()
    ae.add_requested_context(carts.VERIFICATION)
    association = ae.associate("127.0.0.1", receiver.dicom_port, ae_title="ECHOCART")
    assert association.send_c_echo().Status == 0
    association.release()


def test_proposals_are_merged_by_class() -> None:
    merged = supported([build_context(carts.US, s) for s in (carts.JPEG, carts.RLE, carts.JPEG)])
    assert [(c.abstract_syntax, c.transfer_syntax) for c in merged] == [
        (carts.US, [carts.JPEG, carts.RLE])
    ]


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.3", True),  # Ultrasound Multi-frame, retired
        ("1.2.840.10008.5.1.4.1.1.9", True),  # Standalone Curve, retired
        ("1.2.840.10008.5.1.4.1.1.88.4", True),  # Comprehensive SR - Trial
        ("1.2.840.10008.5.1.4.1.1.66.99", True),  # not in any edition so far
        ("1.2.840.10008.1.20.1", False),  # Storage Commitment Push Model
        ("1.2.840.10008.1.3.10", False),  # Media Storage Directory
        ("1.2.840.10008.5.1.4.1.2.2.3", False),  # Study Root C-GET
    ],
)
def test_a_class_is_storage_unless_the_standard_says_otherwise(uid: str, expected: bool) -> None:
    assert is_storage(UID(uid)) is expected
