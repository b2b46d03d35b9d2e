"""What is sent of the page's files: the same lines, without what only a reader needs."""

import gzip
from importlib.resources import files

import pytest

from appliance.webui.compact import compact

_STATIC = files("appliance.webui") / "static"
_SENT = sorted(item.name for item in _STATIC.iterdir() if item.name.endswith((".js", ".css")))


def test_comments_and_indentation_go_and_code_stays() -> None:
    text = (
        "/**\n * What it does.\n */\n"
        "export function far(x) {\n"
        "  // why\n"
        "  const url = 'https://x//y'; // behind code\n"
        "  const text = 'a; // b';\n"
        "  return `${x} // ${url}`;\n"
        "}\n"
    )
    assert compact(text, script=True) == (
        "\n\n\n"
        "export function far(x) {\n"
        "\n"
        "const url = 'https://x//y';\n"
        "const text = 'a; // b';\n"
        "return `${x} // ${url}`;\n"
        "}\n"
    )


def test_a_style_sheet_keeps_what_begins_with_two_slashes() -> None:
    assert compact("/* dark */\na {\n  b: c;\n}\n", script=False) == "\na {\nb: c;\n}\n"


@pytest.mark.parametrize("name", _SENT)
def test_every_line_keeps_its_number(name: str) -> None:
    text = (_STATIC / name).read_text()
    sent = compact(text, script=name.endswith(".js"))
    assert sent.count("\n") == text.count("\n")
    wanted = [line.strip() for line in text.split("\n")]
    for ours, theirs in zip(sent.split("\n"), wanted, strict=True):
        assert theirs.startswith(ours.strip())


def test_all_of_it_is_small_enough_for_a_slow_network() -> None:
    sizes = [
        len(
            gzip.compress(
                compact((_STATIC / name).read_text(), script=name.endswith(".js")).encode(), 9
            )
        )
        for name in _SENT
    ]
    assert sum(sizes) <= 45_000
