"""PINs: what is taken as one, and that only a slow hash is kept."""

import pytest

from appliance import pins


@pytest.mark.parametrize("pin", ["", "12345", "1234567890123", "12a456", "٣٤٥٦٧٨", "246 810"])
def test_what_is_not_6_to_12_digits_is_no_pin(pin: str) -> None:
    assert "6 to 12 digits" in pins.problem(pin)


@pytest.mark.parametrize(
    "pin", ["000000", "777777777", "123456", "654321", "890123", "121212", "123123", "48394839"]
)
def test_the_first_guesses_of_everybody_are_no_pin(pin: str) -> None:
    assert "first that anybody tries" in pins.problem(pin)


def test_a_random_pin_is_one() -> None:
    assert {pins.problem(pins.random()) for _ in range(50)} == {""}


def test_the_same_pin_is_kept_differently_each_time_and_found_again() -> None:
    one, two = pins.hashed("246810"), pins.hashed("246810")
    assert one != two
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert pins.matches(one, "246810")
    assert not pins.matches(one, "246811")


@pytest.mark.parametrize("kept", ["", "not a hash"])
def test_nobody_s_pin_is_never_right(kept: str) -> None:
    assert not pins.matches(kept, "246810")
