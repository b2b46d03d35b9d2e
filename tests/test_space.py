"""How much room there is, how long it lasts, and what `echocart status` says of both."""

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance import space, status
from appliance.check import check
from appliance.config import load
from appliance.ledger import Ledger, reception
from appliance.spool import Spool
from tests.box import free_port


class Ledgered:
    def __init__(self, root: Path) -> None:
        config = root / "echocart.toml"
        config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{root}"\n[scp]\nspace_floor_mb = 100\n'
        )
        self.settings, self.ledger, self.spool = load(config), Ledger(root), Spool(root)

    def received(self, megabytes: int, days_ago: float, **said: str) -> None:
        count = self.ledger.read("SELECT count(*) AS n FROM instance")[0]["n"]
        one = reception.Received(
            SOPInstanceUID=f"1.2.{count}",
            SOPClassUID="1.2",
            TransferSyntaxUID="1.2.840.10008.1.2.1",
            sha256=f"{count:064x}",
            size=megabytes * 1_000_000,
            **{"calling_ae_title": "CART", "peer": "10.0.0.1", **said},
        )
        seq = reception.record(self.ledger, one).seq
        at = (datetime.now(timezone.utc) - timedelta(days=days_ago)).isoformat(
            timespec="milliseconds"
        )
        self.ledger.db.conn.execute(
            "UPDATE instance SET received_at = ? WHERE seq = ?", [at.replace("+00:00", "Z"), seq]
        )

    @property
    def account(self) -> dict:
        return space.account(self.settings, self.ledger, self.spool)


@pytest.fixture
def box(tmp_path: Path) -> Ledgered:
    return Ledgered(tmp_path)


def test_the_days_left_follow_from_the_past_week(box):
    box.received(900, days_ago=30)
    for day in range(7):
        box.received(200, days_ago=day + 0.5)
    account = box.account
    assert account["mb_per_day"] == 200
    assert account["used_mb"] == 2300
    assert account["days_left"] == pytest.approx((account["free_mb"] - 100) / 200, rel=0.01)
    assert f"{account['days_left']:g} days at 200 MB a day" in space.in_words(account)


def test_a_box_younger_than_a_week_counts_its_own_days(box):
    box.received(300, days_ago=3)
    box.received(300, days_ago=1)
    assert box.account["mb_per_day"] == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize("days_ago", [0.0, 0.9])
def test_less_than_a_day_tells_nothing_of_a_week(box, days_ago):
    box.received(300, days_ago)
    assert box.account["mb_per_day"] is None
    assert "not known yet" in space.in_words(box.account)


def test_an_empty_box_says_so(box):
    assert "not known yet" in space.in_words(box.account)


def test_a_quiet_week_has_no_end(box):
    box.received(300, days_ago=20)
    assert box.account["days_left"] is None
    assert "nothing arrived in the past week" in space.in_words(box.account)


def test_below_the_floor_it_is_said_that_objects_are_refused(box):
    full = {**box.account, "free_mb": 3, "floor_mb": 500}
    assert "objects are refused" in space.in_words(full)
    assert "objects are refused" not in space.in_words({**full, "free_mb": 501})


def test_status_tells_of_room_clocks_and_what_was_put_aside(box):
    for _ in range(3):
        ahead = (datetime.now(timezone.utc) + timedelta(seconds=600)).strftime("%Y%m%d%H%M%S")
        box.received(
            1, 0.0, ContentDateTime=ahead, TimezoneOffsetFromUTC="+0000", PatientName="CANARY"
        )
    account = status.box(box.settings, box.ledger)
    (clock,) = account["clocks"]
    assert clock["ahead_s"] == pytest.approx(600, abs=30)
    lines = status.in_words(account)
    assert any(
        "clock of CART (10.0.0.1): 10 min ahead" in line or "9 min" in line for line in lines
    )
    assert "CANARY" not in " ".join(lines)


def test_check_tells_when_images_would_be_refused(tmp_path):
    free = shutil.disk_usage(tmp_path).free // 1_000_000
    for floor, word, words in (
        (1, "ok", "MB are free"),
        (free * 2 // 3, "attention", "Free some space soon"),
        (free * 2, "broken", "images are refused (A700). Free some space"),
    ):
        config = tmp_path / "echocart.toml"
        config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "new"}"\n'
            f"[scp]\nport = {free_port()}\nspace_floor_mb = {floor}\n"
        )
        (finding,) = (item for item in check(config) if item.subject == "scp.space_floor_mb")
        assert finding.word == word
        assert words in finding.text
