"""`sync`, or the server it delivers to, killed at random moments: nothing is lost, nothing is there twice."""

import random
import time

import pytest

from appliance.ledger import worklist
from tests.box import Box
from tests.orthanc import Orthanc
from tests.sync.servers import introduce, states_at, with_results

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
