"""The conformance statement's tables are those of the code, and its words fit the tables."""

import importlib.util
import re
import subprocess
import sys

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context, build_role

from tests.box import REPOSITORY, Box

PAGE = REPOSITORY / "docs" / "conformance.md"
SCRIPT = REPOSITORY / "build" / "conformance.py"


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("conformance", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


def test_tables_of_the_page_are_those_of_the_code():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "change",
    [
        (r"\| A700 \|", "| A701 |"),
        (r"Ultrasound Multi-frame Image Storage \| 1\.2[^|]*\|", "|"),
        (r"`scp\.port` \| `11112`", "`scp.port` | `104`"),
    ],
)
def test_a_table_that_differs_from_the_code_is_noticed(tables, change):
    page = PAGE.read_text()
    old = re.sub(*change, page)
    assert old != page
    assert tables.renewed(old) == page


def test_a_marker_without_a_table_is_noticed(tables):
    with pytest.raises(LookupError, match="nothing"):
        tables.renewed(PAGE.read_text() + "\n<!-- table: nothing -->\n<!-- end -->\n")


def test_every_class_that_carts_and_facts_name_is_listed(tables):
    listed = tables.TABLES["storage"]()
    for uid in (
        "1.2.840.10008.5.1.4.1.1.3",  # retired ultrasound multi-frame
        "1.2.840.10008.5.1.4.1.1.3.1",
        "1.2.840.10008.5.1.4.1.1.6",  # retired ultrasound
        "1.2.840.10008.5.1.4.1.1.6.1",
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.88.33",
    ):
        assert f"| {uid} |" in listed


def test_it_says_that_a_structure_set_is_not_legal_for_a_cine_and_none_is_made(tables):
    assert "RTSTRUCT" in PAGE.read_text()
    assert "1.2.840.10008.5.1.4.1.1.481.3" not in tables.TABLES["objects"]()


def test_links_inside_the_page_lead_to_headings():
    page = PAGE.read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    wanted = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert wanted
    assert wanted <= anchors


LOOP, COMMITMENT = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.1.20.1"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    with Box(tmp_path_factory.mktemp("receiver"), services=("scp",)) as box:
        yield box


def accepted(box, contexts, items=()):
    ae = AE("CART")
    association = ae.associate(
        "127.0.0.1", box.dicom_port, contexts, ae_title="ECHOCART", ext_neg=list(items)
    )
    assert association.is_established
    association.release()
    return association


def test_classes_listed_as_refused_are_refused_and_do_not_end_the_association(tables, receiver):
    listed = re.findall(r"\| ([\d.]+) \|", tables.TABLES["refused"]())
    assert len(listed) > 5
    contexts = [build_context(uid) for uid in [*listed, LOOP]]
    association = accepted(receiver, contexts)
    assert [item.abstract_syntax for item in association.accepted_contexts] == [LOOP]


def test_extended_negotiation_is_answered_as_the_page_says(receiver):
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    somebody = UserIdentityNegotiation()
    somebody.user_identity_type, somebody.primary_field = 1, b"anybody"
    somebody.positive_response_requested = True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = LOOP, b"\2\0\1"
    roles = [build_role(uid, scu_role=True, scp_role=True) for uid in (LOOP, COMMITMENT)]
    contexts = [build_context(LOOP), build_context(COMMITMENT)]
    answer = accepted(receiver, contexts, [window, somebody, extended, *roles]).acceptor
    assert answer.user_identity is None
    assert answer.asynchronous_operations == (1, 1)
    assert not answer.sop_class_extended
    assert set(answer.role_selection) == {COMMITMENT}
    assert answer.role_selection[COMMITMENT].scp_role
    assert answer.maximum_length == 131072
