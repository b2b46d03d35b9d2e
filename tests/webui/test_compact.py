"""What is sent of the page's files: the same code, without what only a reader needs."""

import gzip
import re
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
        "export function far(x){"
        "const url='https://x//y';"
        "const text='a; // b';"
        "return`${x} // ${url}`;"
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
        "a=b\nc()",
    ],
)
def test_a_blank_that_means_something_stays(code: str) -> None:
    assert compact(code, script=True) == f"{code}\n"


def test_a_slash_behind_a_value_divides() -> None:
    assert compact("x = (a + b) / 2; y = c / d / e;", script=True) == "x=(a+b)/2;y=c/d/e;\n"


def test_names_that_no_other_script_can_use_are_short_everywhere() -> None:
    text = (
        "export const OURS = 1;\nconst FAR = 2;\nclass A {\n  #far = FAR;\n  say(it) {\n"
        "    return `${this.#far + FAR} FARAWAY` + it.FAR + OURS;\n  }\n}\n"
    )
    assert compact(text, script=True) == (
        "export const OURS=1;const $a=2;class A{#a=$a;say(it){"
        "return`${this.#a + $a} FARAWAY`+it.FAR+OURS;}}\n"
    )


@pytest.mark.parametrize("name", [name for name in _SENT if name.endswith(".js")])
def test_no_private_name_is_left_behind(name: str) -> None:
    sent = compact((_STATIC / name).read_text(), script=True)
    assert not re.search(r"\.#\w\w", sent)


def test_a_style_sheet_keeps_what_begins_with_two_slashes() -> None:
    text = "/* dark */\na b {\n  b: c d;\n  e: url(//f);\n}\na :hover {\n}\n"
    assert compact(text, script=False) == "a b{b:c d;e:url(//f)}a :hover{}"


def test_a_value_over_several_lines_stays_apart() -> None:
    text = '@media (a: b) {\n  c,\n  d e {\n    g:\n      "x y" 1px\n      "z z" 2px;\n  }\n}\n'
    assert compact(text, script=False) == '@media (a:b){c,d e{g:"x y" 1px "z z" 2px}}'


@pytest.mark.parametrize("name", _SENT)
def test_only_blanks_and_comments_go(name: str) -> None:
    text = (_STATIC / name).read_text()
    sent = compact(text, script=name.endswith(".js"))
    own = re.compile(r"#\w+|\$[a-zA-Z]\b|\b[A-Z][A-Z0-9_]+\b")  # names that become short
    rest = iter(own.sub("", "".join(text.split())))
    assert all(letter in rest for letter in own.sub("", "".join(sent.split()))), "in order"
    assert "/*" not in sent


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
