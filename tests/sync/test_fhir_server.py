"""The destination `fhir` over real HTTP, against a server that does transactions as FHIR has them."""

import json

import pytest

from appliance import certificates
from appliance.errors import DeliveryError
from appliance.fhir_client import Client
from appliance.ledger import delivery, worklist
from appliance.sync.destinations import Absent, Proof, Unreachable
from appliance.sync.fhir import as_object
from appliance.sync.fhir_outcome import reason
from appliance.sync.fhir_server import FhirServer
from appliance.sync.results import Overtaken
from tests.box import Box, free_port
from tests.sync.fhirserver import FhirServer as Server
from tests.sync.material import label_maps, reviewed, write_source
from tests.sync.office import Office
from tests.sync.test_fhir import told

RELEASES = ("R5", "R4B")


def at(server: Server, **secrets) -> FhirServer:
    return FhirServer(Client(server.url, connect_s=2, answer_s=5, **secrets))


def a_bundle(folder, release="R5", **more):
    source = folder / "source.dcm"
    source = source if source.exists() else write_source(source, AccessionNumber="A-17")
    return as_object(told(source, **more), release)


@pytest.fixture
def server():
    with Server().serving() as running:
        yield running


@pytest.mark.parametrize("release", RELEASES)
def test_a_bundle_is_taken_as_a_whole_and_proven_by_looking_it_up(tmp_path, release):
    item = a_bundle(tmp_path, release)
    with Server(release).serving() as server:
        place = at(server)
        with pytest.raises(Absent):
            place.prove(item)
        place.put(item)
        assert place.prove(item) == Proof(item.sha256, item.size)
    entries = json.loads(b"".join(item.parts))["entry"]
    assert sum(map(len, server.resources.values())) == len(entries) >= 8
    # What it refers to is there, under the names that the server has given.
    (report,) = server.all_of("DiagnosticReport")
    results = {f"Observation/{each['id']}" for each in server.all_of("Observation")}
    assert {each["reference"] for each in report["result"]} == results


@pytest.mark.parametrize("release", RELEASES)
def test_the_same_bundle_again_doubles_nothing(tmp_path, release):
    item = a_bundle(tmp_path, release)
    with Server(release).serving() as server:
        place = at(server)
        place.put(item)
        before = {kind: sorted(found) for kind, found in server.resources.items()}
        for _ in range(3):
            place.put(item)
        assert {kind: sorted(found) for kind, found in server.resources.items()} == before
        assert place.prove(item) == Proof(item.sha256, item.size)
    assert server.transactions == 4


def test_a_later_bundle_takes_the_place_of_an_earlier_one(tmp_path, server):
    first, later = a_bundle(tmp_path), a_bundle(tmp_path, ef_percent=44.0)
    place = at(server)
    place.put(first)
    count = {kind: len(found) for kind, found in server.resources.items()}
    place.put(later)
    assert {kind: len(found) for kind, found in server.resources.items()} == count
    assert place.prove(later) == Proof(later.sha256, later.size)
    with pytest.raises(Absent, match="another"):
        place.prove(first)


def test_a_study_that_the_hospital_has_is_left_as_it_is(tmp_path):
    item = a_bundle(tmp_path, "R4B")
    entries = json.loads(b"".join(item.parts))["entry"]
    (theirs,) = [e["resource"] for e in entries if e["resource"]["resourceType"] == "ImagingStudy"]
    with Server("R4B").serving() as server:
        own = {**theirs, "id": "h1", "description": "the hospital's own", "series": []}
        server.resources["ImagingStudy"] = {"h1": own}
        place = at(server)
        place.put(item)
        assert place.prove(item) == Proof(item.sha256, item.size)
        assert server.all_of("ImagingStudy") == [own]
    (report,) = server.all_of("DiagnosticReport")
    assert report["imagingStudy"] == [{"reference": "ImagingStudy/h1"}]


def test_an_answer_that_never_came_is_no_reason_to_double(tmp_path, server):
    item, place = a_bundle(tmp_path), at(server)
    server.cuts_after = 1
    with pytest.raises(Unreachable, match="doesn't answer"):
        place.put(item)
    assert server.transactions == 1
    # The courier looks before it sends again.
    assert place.prove(item) == Proof(item.sha256, item.size)


def test_a_success_that_kept_nothing_is_found_out(tmp_path, server):
    item, place = a_bundle(tmp_path), at(server)
    server.answers = [(200, b'{"resourceType": "Bundle", "type": "transaction-response"}')]
    place.put(item)
    with pytest.raises(Absent, match="doesn't have the ImagingSelection"):
        place.prove(item)


def test_a_changed_number_and_a_lost_reference_are_found_out(tmp_path, server):
    item, place = a_bundle(tmp_path), at(server)
    place.put(item)
    observations = server.resources["Observation"]
    one = next(each for each in observations.values() if "valueQuantity" in each)
    one["valueQuantity"]["value"] += 1
    with pytest.raises(Absent, match="another Observation"):
        place.prove(item)
    place.put(item)
    (report,) = server.all_of("DiagnosticReport")
    report["result"][0]["reference"] = "Observation/9999"
    with pytest.raises(Absent, match="another DiagnosticReport"):
        place.prove(item)


def test_what_a_server_adds_and_how_it_writes_a_time_changes_nothing(tmp_path, server):
    item, place = a_bundle(tmp_path), at(server)
    place.put(item)
    for kind in server.resources:
        for each in server.all_of(kind):
            each["text"] = {"status": "generated", "div": "<div/>"}
            each["issued"] = "2026-11-20T23:30:15.123+01:00" if "issued" in each else None
    assert place.prove(item) == Proof(item.sha256, item.size)


def test_a_server_without_conditional_updates_is_found_out(tmp_path, server):
    item, place = a_bundle(tmp_path), at(server)
    server.forgetful = True
    place.put(item)
    place.put(item)
    with pytest.raises(DeliveryError, match="2 resources ImagingSelection under one identifier"):
        place.prove(item)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "has moved"),
        (401, "refuses the user or the token"),
        (403, "doesn't allow"),
        (404, "no FHIR service"),
        (405, "takes no transactions"),
        (429, "asks for less"),
        (503, "is not ready"),
        (507, "is full"),
    ],
)
def test_a_server_in_trouble_is_a_matter_of_the_whole_destination(tmp_path, server, status, words):
    server.answers = [(status, b"<html/>")]
    with pytest.raises(Unreachable, match=words):
        at(server).put(a_bundle(tmp_path))
    assert server.transactions == 0


def test_what_is_wrong_is_told_as_the_server_told_it_and_names_nobody(tmp_path, server):
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [
            {"severity": "information", "code": "informational", "diagnostics": "hello"},
            {
                "severity": "error",
                "code": "not-found",
                "expression": ["Bundle.entry[3].resource.subject"],
                "diagnostics": "HAPI-1091: Patient P1 (DOE, Jane, 1960-01-01) is unknown, jdoe",
            },
        ],
    }
    server.answers = [(422, json.dumps(outcome).encode())]
    with pytest.raises(DeliveryError) as caught:
        at(server).put(a_bundle(tmp_path))
    said = str(caught.value)
    assert not isinstance(caught.value, Unreachable)
    assert "answers 422" in said
    assert "not-found Bundle.entry[3].resource.subject" in said
    assert '"HAPI-1091 Patient … is unknown …"' in said
    for secret in ("P1", "DOE", "Jane", "1960", "jdoe"):
        assert secret not in said


@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"resourceType": "OperationOutcome"},
        {"resourceType": "OperationOutcome", "issue": [{}, 3]},
        {"resourceType": "OperationOutcome", "issue": [{"code": "DOE^JANE", "details": "x"}]},
        {"resourceType": "OperationOutcome", "issue": [{"expression": ["Patient('DOE')"]}]},
    ],
)
def test_an_outcome_of_any_shape_gives_no_more_than_is_known(outcome):
    assert reason(outcome, b"{}").strip(": ") == ""


def test_a_bundle_that_is_no_fhir_is_refused_by_the_server_with_its_reason(tmp_path, server):
    item = a_bundle(tmp_path)
    broken = b"".join(item.parts).replace(b'"status": "preliminary"', b'"status": {}')
    assert broken != b"".join(item.parts)
    made = type(item).of(item.SOPInstanceUID, item.StudyInstanceUID, (broken,))
    with pytest.raises(DeliveryError, match="answers 400 Bad Request to the bundle: structure"):
        at(server).put(made)


def test_secrets_come_from_files_that_may_change(tmp_path, server):
    secret = tmp_path / "secret"
    item = a_bundle(tmp_path)
    server.token = "first"
    place = at(server, token_file=secret)
    with pytest.raises(Unreachable, match="secret: No such file"):
        place.put(item)
    secret.write_text("second\n")
    with pytest.raises(Unreachable, match="refuses the user or the token"):
        place.put(item)
    secret.write_text("first\n")
    place.put(item)
    server.token, server.user, server.password = "", "böx", "pässword"
    secret.write_text("pässword")
    place = at(server, user="böx", password_file=secret)
    assert place.prove(item) == Proof(item.sha256, item.size)


def test_a_certificate_is_looked_at(tmp_path):
    certificates.make_authority(tmp_path, "Room 3")
    certificates.issue(tmp_path, "server", "FHIR", ["127.0.0.1"])
    item = a_bundle(tmp_path)
    with Server().serving(tmp_path / "server") as server:
        with pytest.raises(Unreachable, match="certificate that isn't trusted"):
            at(server).put(item)
        place = at(server, ca_file=tmp_path / "ca.pem")
        place.put(item)
        assert place.prove(item) == Proof(item.sha256, item.size)


def test_a_server_that_is_off_is_unreachable_and_not_there(tmp_path):
    place = FhirServer(Client(f"http://127.0.0.1:{free_port()}/fhir", connect_s=2))
    assert not place.is_there()
    with pytest.raises(Unreachable, match="doesn't answer"):
        place.put(a_bundle(tmp_path))
    with pytest.raises(Unreachable, match="doesn't answer"):
        place.check()


def test_a_review_s_bundle_arrives_through_the_outbox_although_the_server_was_off(tmp_path):
    port = free_port()
    text = (
        f'[[destination]]\nname = "records"\nkind = "fhir"\nurl = "http://127.0.0.1:{port}/fhir"\n'
        'fhir = "R4B"\n'
    )
    with Box(tmp_path, (), text) as box:
        source = write_source(tmp_path / "a.dcm")
        review = reviewed(
            box.ledger, box.spool, source, label_maps(8, 48, 64), [("records", "fhir")]
        )
        seq = review["seq"]

        def state():
            (row,) = worklist.deliveries(box.ledger, seq)
            return row["state"], row["problem"]

        box.start("sync")
        box.wait_for(lambda: "doesn't answer" in state()[1], "the server to be missed")
        with Server("R4B").serving(port=port) as server:
            box.wait_for(lambda: state() == ("proven", ""), "the proof")
        assert server.transactions == 1
        assert len(server.all_of("DiagnosticReport")) == 1


def test_a_bundle_that_was_overtaken_is_told_no_more(tmp_path):
    office = Office(tmp_path)
    office.wanted = [("records", "fhir")]
    office.decide("accepted")
    leased = office.claim("records")
    office.decide("corrected", ef_percent=44.0)
    delivery.postpone(office.ledger, leased, "the server is not ready", 0)
    again = office.claim("records")
    assert again.review_id == leased.review_id
    with pytest.raises(Overtaken, match="later decision"):
        office.results.build(again)
