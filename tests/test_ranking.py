"""What to review first: where the network is unsure, beats disagree, the scanner is rare."""

from appliance.ranking import DISAGREE, RARE, UNSURE, Facts, ranked, unsureness


def order(*loops: Facts) -> list[int]:
    return [item.seq for item in ranked(loops)]


def test_each_of_the_three_things_alone_brings_a_loop_forward():
    plain = [Facts(seq, 0.04, 1.0, 0.5) for seq in range(1, 6)]
    for odd in (Facts(6, 0.08, 1.0, 0.5), Facts(6, 0.04, 14.0, 0.5), Facts(6, 0.04, 1.0, 0.01)):
        assert order(*plain, odd)[0] == 6
        assert order(odd, *plain)[0] == 6


def test_what_is_odd_in_more_ways_comes_first_and_says_how():
    plain = [Facts(seq, 0.04, 1.0, 0.5) for seq in range(1, 6)]
    found = ranked([*plain, Facts(6, 0.08, 14.0, 0.5), Facts(7, 0.09, 12.0, 0.01)])
    assert [(item.seq, item.reasons) for item in found[:2]] == [
        (7, (UNSURE, DISAGREE, RARE)),
        (6, (UNSURE, DISAGREE)),
    ]
    assert all(item.reasons == () for item in found[2:])


def test_alike_loops_come_newest_first_and_unknown_ones_last():
    assert order(Facts(1, 0.04), Facts(3, 0.04), Facts(2, 0.04)) == [3, 2, 1]
    assert order(Facts(1, 0.04), Facts(9)) == [1, 9]
    assert order() == []


def test_unsureness_is_known_only_of_all_structures():
    told = {"confidence_lv": 0.97, "confidence_wall": 0.92, "confidence_la": 0.96}
    assert round(unsureness(told) or 0, 4) == 0.05
    assert unsureness({"confidence_lv": 0.97}) is None
