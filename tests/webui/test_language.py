"""The page's language: what is translatable, which is chosen, and how other parts' sentences are known."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from appliance import catalogues
from appliance.webui.language import Catalogue
from tests.box import REPOSITORY, Box
from tests.webui.reviewbox import Page

LOCALE = REPOSITORY / "appliance" / "webui" / "locale"
STATIC = REPOSITORY / "appliance" / "webui" / "static"
_SAID = re.compile(r"(?<![\w.])[tn]\(\s*'((?:[^'\\]|\\.)*)'")
GERMAN = {
    "Who is there?": "Wer ist da?",
    "Loops": "Schleifen",
    ("1 beat", "{count} beats"): ("1 Schlag", "{count} Schläge"),
    "The {0} is in several pieces.": "Mehrere Stücke: {0}.",
    "left atrium": "linker Vorhof",
    "No apical heart could be recognised": "Kein apikales Herz zu erkennen",
    "no left atrium is seen below the ventricle": "kein Vorhof zu sehen",
    "{initials}: lock, or hand over": "{kuerzel}: sperren",
    "The PIN is wrong & old": "Die PIN ist <alt>",
}
SCRIPTS = {"Accept": "Annehmen", ("1 loop", "{count} loops"): ("1 Schleife", "{count} Schleifen")}


def write(folder: Path, domain: str, texts: Mapping[Any, Any]) -> Path:
    """Compile a catalogue of German."""
    home = folder / "de" / "LC_MESSAGES"
    home.mkdir(parents=True, exist_ok=True)
    catalogue = Catalog("de", charset="utf-8", fuzzy=False)
    for message, text in texts.items():
        catalogue.add(message, text)
    path = home / f"{domain}.mo"
    with path.open("wb") as file:
        write_mo(file, catalogue)
    return path


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's own folder of translations, which knows a few words of German."""
    folder = tmp_path_factory.mktemp("locale")
    write(folder, "echocart", GERMAN)
    write(folder, "echocart-js", SCRIPTS)
    return folder


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, german: Path) -> Iterator[Box]:
    """A page alone, on a box with that folder."""
    root = tmp_path_factory.mktemp("box")
    with Box(root, services=("webui",), webui=f'locale_dir = "{german}"') as box:
        yield box


def test_the_templates_of_translation_are_those_of_the_source() -> None:
    command = [sys.executable, str(REPOSITORY / "build" / "words.py"), "--check"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def test_every_text_that_a_script_says_is_in_its_template() -> None:
    with (LOCALE / "echocart-js.pot").open("rb") as file:
        known = {
            message.id if isinstance(message.id, str) else message.id[0]
            for message in read_po(file)
        }
    said = {text for path in STATIC.glob("*.js") for text in _SAID.findall(path.read_text())}
    assert len(said) > 50
    assert said - known == set()


def test_a_sentence_that_another_part_has_filled_is_known_again(german: Path) -> None:
    told = Catalogue("de", german).told
    assert told("The left atrium is in several pieces.") == "Mehrere Stücke: linker Vorhof."
    both = "No apical heart could be recognised: no left atrium is seen below the ventricle."
    assert told(both) == "Kein apikales Herz zu erkennen: kein Vorhof zu sehen."
    assert told("Nobody has translated this.") == "Nobody has translated this."


def test_a_number_takes_its_form(german: Path) -> None:
    many = ("1 beat", "{count} beats")
    assert Catalogue("de", german).several(*many, 1) == "1 Schlag"
    assert Catalogue("de", german).several(*many, 3) == "{count} Schläge"


def test_a_place_that_the_translation_misnames_does_not_take_the_page_away(german: Path) -> None:
    said = Catalogue("de", german).one("{initials}: lock, or hand over", {"initials": "AK"})
    assert said == "AK: lock, or hand over"


def test_a_script_never_gets_a_text_whose_places_it_can_not_fill(tmp_path: Path) -> None:
    texts = {
        "loop {number}": "Schleife {nummer}",
        ("1 frame", "{count} frames"): ("1 Bild", "{anzahl} Bilder"),
        ("1 beat", "{count} beats"): ("ein Schlag", "{count} Schläge"),
    }
    write(tmp_path, "echocart-js", texts)
    scripts = Catalogue("de", tmp_path).scripts
    assert scripts.keys() == {"", "1 beat"}
    assert scripts["1 beat"] == ["ein Schlag", "{count} Schläge"]


@pytest.mark.parametrize("domain", catalogues.DOMAINS)
@pytest.mark.parametrize("damage", ["empty", "other", "cut", "plural", "charset"])
def test_what_is_no_catalogue_is_told_as_that(tmp_path: Path, domain: str, damage: str) -> None:
    path = write(tmp_path, domain, GERMAN)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "other": b"This is a letter, not a catalogue.",
            "cut": whole[: len(whole) // 2],
            "plural": whole.replace(b"(n != 1)", b"(n % 0) "),
            "charset": whole.replace(b"charset=utf-8", b"charset=utf-q"),
        }[damage]
    )
    assert path.read_bytes() != whole
    with pytest.raises(catalogues.CatalogueError, match=rf"de/LC_MESSAGES/{domain}\.mo can't be"):
        Catalogue("de", tmp_path)


@pytest.mark.parametrize("domain", catalogues.DOMAINS)
def test_a_catalogue_that_can_not_be_read_leaves_the_page_in_english(
    tmp_path: Path, german: Path, domain: str
) -> None:
    folder = shutil.copytree(german, tmp_path / "locale")
    (folder / "de" / "LC_MESSAGES" / f"{domain}.mo").write_bytes(b"\xde\x12\x04\x95 and no more")
    with Box(tmp_path / "box", services=("webui",), webui=f'locale_dir = "{folder}"') as box:
        for path in ("/sign-in", "/not-here", "/sign-in"):
            asked = {"Accept-Language": "de", "Accept": "text/html"}
            _, _, text = Page(box, "").ask(path, headers=asked)
            assert '<html lang="en">' in text.decode()
            assert 'id="translations"' not in text.decode()
        told = f"de/LC_MESSAGES/{domain}.mo can't be read (error): the page speaks English"
        assert box.log("webui").count(told) == 1


@pytest.mark.parametrize(
    ("asked", "spoken", "title"),
    [
        ("de", "de", "Wer ist da?"),
        ("de-CH, en;q=0.5", "de", "Wer ist da?"),
        ("fr, de;q=0.5", "de", "Wer ist da?"),
        ("en-US, de;q=0.5", "en", "Who is there?"),
        ("fr", "en", "Who is there?"),
    ],
)
def test_the_page_speaks_what_the_browser_asks_for(
    box: Box, asked: str, spoken: str, title: str
) -> None:
    _, _, text = Page(box, "").ask("/sign-in", headers={"Accept-Language": asked})
    assert f'<html lang="{spoken}">' in text.decode()
    assert f"<h1>{title}</h1>" in text.decode()


def test_two_languages_are_spoken_at_once(box: Box) -> None:
    page = Page(box)
    for asked, heading in (("en", "Loops"), ("de", "Schleifen"), ("en", "Loops")):
        _, _, text = page.ask("/", headers={"Accept-Language": asked})
        assert f"{heading}</h1>" in text.decode()


def test_english_pages_carry_no_dictionary_and_others_the_scripts_alone(box: Box) -> None:
    page = Page(box, "")
    _, _, english = page.ask("/sign-in", headers={"Accept-Language": "en"})
    assert b'id="translations"' not in english
    _, _, german = page.ask("/sign-in", headers={"Accept-Language": "de"})
    found = re.search(r'id="translations">(.*?)</script>', german.decode())
    assert found is not None
    words = json.loads(found[1])
    assert words["Accept"] == "Annehmen"
    forms = words["1 loop"]
    assert [forms[words[""][number]] for number in (1, 2)] == ["1 Schleife", "{count} Schleifen"]
    assert "Who is there?" not in words


def test_the_setting_outweighs_the_browser(tmp_path: Path, german: Path) -> None:
    webui = f'locale_dir = "{german}"\nlanguage = "de"'
    with Box(tmp_path, services=("webui",), webui=webui) as box:
        _, _, text = Page(box, "").ask("/sign-in", headers={"Accept-Language": "en"})
        assert '<html lang="de">' in text.decode()
