"""`sync`, or the server it delivers to, killed at random moments: nothing is lost, nothing is there twice."""

import random
import time
from collections import Counter

import pytest

from appliance.ledger import worklist
from tests.box import Box
from tests.orthanc import Orthanc
from tests.sync.servers import introduce, states_at, with_results

_HALF_SENT = "SELECT 1 FROM outbox WHERE state = 'sent' AND owner IS NOT NULL"
LOOPS = 12
ROUNDS = [20, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_kills_lose_nothing_and_send_nothing_twice(tmp_path, rounds):
    chance = random.Random(rounds)
    pacs = Orthanc(tmp_path / "pacs", allow_get=False)
    archive = Orthanc(tmp_path / "archive")
    extra = pacs.toml("pacs", "dicom", "originals results")
    extra += 'proof = "commitment"\ncommit_within_s = 1\nat_once = 2\n'
    extra += archive.toml("archive", "dicomweb", "results") + "at_once = 2\n"
    box = Box(tmp_path / "box", ["scp", "sync"], extra)
    introduce(pacs, box)
    servers = [pacs, archive]
    wanted = [("pacs", "seg"), ("pacs", "sr"), ("archive", "seg"), ("archive", "sr")]
    with pacs, archive, box:
        reviews = []
        for number in range(rounds):
            if len(reviews) < LOOPS * rounds // 20:
                reviews += with_results(box, 1, wanted, ["pacs"])
            time.sleep(chance.uniform(0, 0.5))
            if number % 2:
                box.kill("sync")
                box.start("sync")
            else:
                server = chance.choice(servers)
                server.kill()
                server.start()

        def all_proven() -> bool:
            states = {*states_at(box, "pacs"), *states_at(box, "archive")}
            return states == {"proven"}

        box.wait_for(all_proven, "every object to be proven", 600)
        results = [review["result_sop_instance_uid"] for review in reviews]
        loops = [loop["sop_instance_uid"] for loop in box.loops()]
        at_pacs, at_archive = pacs.instances(), archive.instances()
        assert len(at_pacs) == len(set(at_pacs)) == 3 * len(reviews)
        assert {*loops, *results} <= set(at_pacs)
        assert len(at_archive) == len(set(at_archive)) == 2 * len(reviews)
        assert set(results) <= set(at_archive)
        for review in reviews:
            events = worklist.history(box.ledger, review["seq"])
            assert [event["state"] for event in events].count("proven") == 5
        for name in ("scp", "sync"):
            assert "Traceback" not in box.log(name)
            assert "DOE" not in box.log(name)


def test_a_result_of_several_objects_is_whole_and_there_once_whenever_sync_was_killed(tmp_path):
    chance = random.Random(7)
    archive = Orthanc(tmp_path / "archive")
    # A slow line: of a result some objects have left when the kill comes, and some have not.
    extra = archive.toml("archive", "dicomweb", "results") + "at_once = 2\nmbit_per_s = 0.2\n"
    extra += 'seg_objects = "each"\n'
    with archive, Box(tmp_path / "box", ["sync"], extra) as box:
        reviews = with_results(box, 8, [("archive", "seg")])
        for _ in range(3):
            box.wait_for(lambda: box.ledger.read(_HALF_SENT), "a delivery to be under way")
            time.sleep(chance.uniform(0, 0.3))
            box.kill("sync")
            box.start("sync")
        box.wait_for(lambda: states_at(box, "archive") == ["proven"] * 8, "all of it")
        assert box.ledger.read("SELECT 1 FROM outbox WHERE tries > 1"), "no kill cut one short"
        there = archive.instances()
        assert len(there) == len(set(there)) == 3 * len(reviews)
        found = [archive.dataset(uid) for uid in there]
        of_each = Counter(str(item.ReferencedSeriesSequence[0].SeriesInstanceUID) for item in found)
        assert set(of_each.values()) == {3}
        drawn = {str(item.SegmentSequence[0].SegmentLabel) for item in found}
        assert len(drawn) == 3
        for review in reviews:
            events = worklist.history(box.ledger, review["seq"])
            assert [event["state"] for event in events].count("proven") == 1
        assert "Traceback" not in box.log("sync")
