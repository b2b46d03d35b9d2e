"""What is sent of the page's files: the same lines, without what only a reader needs."""

import gzip
from importlib.resources import files

import pytest

from appliance.webui.compact import compact

_STATIC = files("appliance.webui") / "static"
_SENT = sorted(item.name for item in _STATIC.iterdir() if item.name.endswith((".js", ".css")))


def test_comments_and_spare_blanks_go_and_code_stays() -> None:
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
        "export function far(x){\n"
        "\n"
        "const url='https://x//y';\n"
        "const text='a; // b';\n"
        "return`${x} // ${url}`;\n"
        "}\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        "f(a+ +b,c- -d)",
        "typeof x in y",
        "s=`a ${b ? `c ${'}'} d` : ''} e`",
        "s.replace(/[/ ] \\/ \"/g,'  ')",
        "return/ a  b/.test(x)",
        "const{a}=b of c",
    ],
)
def test_a_blank_that_means_something_stays(code: str) -> None:
    assert compact(code, script=True) == code


def test_a_slash_behind_a_value_divides() -> None:
    assert compact("x = (a + b) / 2; y = c / d / e;", script=True) == "x=(a+b)/2;y=c/d/e;"


def test_a_style_sheet_keeps_what_begins_with_two_slashes() -> None:
    text = "/* dark */\na b {\n  b: c d;\n  e: url(//f);\n}\na :hover {\n}\n"
    assert compact(text, script=False) == "\na b{\nb:c d;\ne:url(//f);\n}\na :hover{\n}\n"


@pytest.mark.parametrize("name", _SENT)
def test_every_line_keeps_its_number(name: str) -> None:
    text = (_STATIC / name).read_text()
    sent = compact(text, script=name.endswith(".js"))
    assert sent.count("\n") == text.count("\n")
    for ours, theirs in zip(sent.split("\n"), text.split("\n"), strict=True):
        assert "".join(theirs.split()).startswith("".join(ours.split()))


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
