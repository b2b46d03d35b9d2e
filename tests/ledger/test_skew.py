from datetime import datetime, timedelta, timezone

import pytest

from appliance.ledger import Ledger, reception, skew

UTC = timezone.utc


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def arrive(ledger, made, offset="+0000", cart="CART", peer="10.0.0.1"):
    count = ledger.read("SELECT count(*) AS n FROM instance")[0]["n"]
    one = reception.Received(
        SOPInstanceUID=f"1.2.{count}",
        SOPClassUID="1.2",
        TransferSyntaxUID="1.2.840.10008.1.2.1",
        sha256=f"{count:064x}",
        size=1,
        calling_ae_title=cart,
        peer=peer,
        ContentDateTime=made,
        TimezoneOffsetFromUTC=offset,
    )
    reception.record(ledger, one)


def written(seconds, hours=0):
    return (datetime.now(UTC) + timedelta(seconds=seconds, hours=hours)).strftime("%Y%m%d%H%M%S.%f")


def skews(ledger):
    return {row["calling_ae_title"]: row["ahead_s"] for row in skew.by_cart(ledger)}


def test_two_carts_with_skewed_clocks_are_told_apart_and_keep_their_order(ledger):
    for n in range(4):
        arrive(ledger, written(3600 + n), cart="FAST")
        arrive(ledger, written(-86400 + n), cart="SLOW")
    assert skews(ledger)["FAST"] == pytest.approx(3603, abs=60)
    assert skews(ledger)["SLOW"] == pytest.approx(-86397, abs=60)
    order = [row["calling_ae_title"] for row in ledger.read("SELECT * FROM instance ORDER BY seq")]
    assert order == ["FAST", "SLOW"] * 4


def test_the_offset_that_the_cart_writes_is_honoured(ledger):
    for _ in range(3):
        arrive(ledger, written(0, hours=5), "+0500", "EAST")
        arrive(ledger, written(0, hours=-8), "-0800", "WEST")
    assert skews(ledger) == pytest.approx({"EAST": 0, "WEST": 0}, abs=60)


def test_the_least_delayed_object_tells(ledger):
    """An exam sent at its end: its loops are old, its clock is right."""
    for delay in (3000, 2000, 40, 1000):
        arrive(ledger, written(-delay))
    assert skews(ledger)["CART"] == pytest.approx(-40, abs=30)


@pytest.mark.parametrize(
    "made", ["", "20261120", "101500", "2026112010", "abcdefghijklmn", "20261399999999"]
)
def test_no_whole_time_tells_nothing(ledger, made):
    for _ in range(3):
        arrive(ledger, made)
    assert skews(ledger) == {}


def test_one_object_alone_tells_nothing(ledger):
    arrive(ledger, written(-(10**7)))
    assert skews(ledger) == {}


def test_without_an_offset_the_carts_zone_is_the_boxs():
    zone = timezone(timedelta(hours=2))
    moment = skew.content_time("20261120120000", "", zone)
    assert moment.astimezone(UTC) == datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("offset", ["nonsense", "+99999", "0"])
def test_a_garbled_offset_is_no_time(offset):
    assert skew.content_time("20261120120000", offset) is None


def test_a_dt_carries_its_own_offset():
    moment = skew.content_time("20261120120000.123456+0100", "")
    assert moment.astimezone(UTC) == datetime(2026, 11, 20, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (45, "45 s"),
        (119, "119 s"),
        (-120, "2 min"),
        (3 * 3600, "3 h"),
        (-47 * 3600, "47 h"),
        (40 * 86400, "40 days"),
        (729 * 86400, "729 days"),
        (-10 * 365.25 * 86400, "10 years"),
    ],
)
def test_a_skew_is_said_in_the_unit_that_a_person_would_take(seconds, words):
    assert skew.duration(seconds) == words
