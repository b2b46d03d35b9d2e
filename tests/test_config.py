import re
from pathlib import Path
from typing import get_args

import pytest

from appliance.config import KINDS, Box, Settings, Wish, examine, load
from appliance.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "echocart.toml"
    path.write_text(text)
    return path


def test_everything_but_the_ae_title_has_a_default(tmp_path):
    settings = load(write(tmp_path, '[box]\nae_title = "ECHO1"\n'))
    assert settings.box.ae_title == "ECHO1"
    assert settings.scp.port == 11112
    assert settings.webui.host == "127.0.0.1"
    assert settings.destination == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "[box] with ae_title is missing"),
        ("[scp]\n", None, "[box] with ae_title is missing"),
        ("[box]\n", 1, "box.ae_title is missing"),
        ('[box]\nae_titel = "A"\n', 2, "Did you mean 'ae_title'?"),
        ('[box]\nae_title = "A\\\\B"\n', 2, "no backslash"),
        ('[box]\nae_title = "SEVENTEEN-LETTERS"\n', 2, "1 to 16"),
        ('[box]\nae_title = "A"\n[scp]\n\nport = "DICOM"\n', 5, "must be a whole number"),
        ('[box]\nae_title = "A"\n[scp]\nport = 70000\n', 4, "65535"),
        ('[box]\nae_title = "A"\n[scpp]\nport = 1\n', 3, "Did you mean 'scp'?"),
        ('[box]\nae_title = "A"\n[webui]\nhost = "0.0.0.0"\n', 4, "needs tls_certificate"),
        (
            '[box]\nae_title = "A"\n[webui]\nhost = "10.1.2.3"\ntls_certificate = "/c"\ntls_key = "/k"\n',
            4,
            "names must list",
        ),
        ('[box]\nae_title = "A"\n[webui]\ntls_certificate = "/c"\n', 3, "come together"),
        ('[box]\nae_title = "A"\n[webui]\nnames = ["*"]\n', 4, "host name or IP address"),
        ('[box]\nae_title = "A"\n[webui]\nnames = ["a:8080"]\n', 4, "host name or IP address"),
        ('[box]\nae_title = "A"\n[webui]\nlock_after_s = 0\n', 4, "1.0 or more"),
        ('[box]\nae_title = "A"\n[engine]\nbackend = "magic"\n', 4, "openvino"),
        (
            '[box]\nae_title = "A"\n[[destination]]\nname = "a"\nkind = "folder"\npath = "/a"\n'
            '[[destination]]\nname = "b c"\nkind = "folder"\npath = "/b"\n',
            8,
            "letters, digits",
        ),
        (
            '[box]\nae_title = "A"\n[[destination]]\nname = "a"\nkind = "folder"\npath = "/a"\n'
            '[[destination]]\nname = "a"\nkind = "folder"\npath = "/b"\n',
            3,
            "two destinations",
        ),
        ("[box\n", None, "isn't valid TOML"),
        ('\ufeff[box]\nae_title = "A"\n', 1, "byte order mark"),
        ('[box]\nae_title = "A"\nstate_dir = ""\n', 3, "a whole path"),
        ('[box]\nae_title = "A"\nstate_dir = "state"\n', 3, "a whole path"),
        ('[box]\nae_title = "A"\nstation_name = "A\\\\B"\n', 3, "no backslash"),
        ('[box]\nae_title = "A"\nstation_name = "SEVENTEEN-LETTERS"\n', 3, "at most 16"),
        ('[box]\nae_title = "A"\n[scp]\nport = true\n', 4, "not true or false"),
        ('[box]\nae_title = "A"\n[sync]\nstudy_closes_after_s = inf\n', 4, "finite"),
        ('[box]\nae_title = "A"\n[destination]\nname = "a"\n', 3, "[[destination]]"),
        ('destination = ["x"]\n[box]\nae_title = "A"\n', None, "[[destination]]"),
        ('box = "x"\n', 1, "the line [box]"),
        ('[box]\nae_title = "A"\n[[destination]]\nkind = "folder"\n', 3, "destination.1.name is"),
        ('[box]\nae_title = "A"\n[[cart]]\nname = "c"\n', 3, "cart.c.calling_ae is missing"),
        ('[box]\nae_title = "A"\n[cart]\nname = "c"\n', 3, "[[cart]]"),
        (
            '[box]\nae_title = "A"\n[[cart]]\nname = "c"\ncalling_ae = "C"\naddres = "10.0.0.1"\n',
            6,
            "Did you mean 'address'?",
        ),
        (
            '[box]\nae_title = "A"\n[[cart]]\nname = "c"\ncalling_ae = "C"\naddress = "cart.lan"\n',
            6,
            "IP address or a network",
        ),
        (
            '[box]\nae_title = "A"\n[[cart]]\nname = "c"\ncalling_ae = "C"\ntls = true\n',
            3,
            "scp.tls_port is not set",
        ),
        (
            '[box]\nae_title = "A"\n[[cart]]\nname = "c"\ncalling_ae = "C"\n'
            '[[cart]]\nname = "d"\ncalling_ae = "C"\n',
            3,
            "twice with the same address",
        ),
        ('[box]\nae_title = "A"\n[scp]\ntls_port = 2762\n', 3, "come together"),
        ('[box]\nae_title = "A"\n[scp]\narchive = "maybe"\n', 4, "must be true or false"),
        ('[box]\nae_title = "A"\n[updates]\nurl = "host"\n', 4, "must begin with http:// or"),
        ('[box]\nae_title = "A"\n[updates]\nusb_key = "RWx"\n', 4, "second line of usb.pub"),
    ],
)
def test_a_mistake_is_explained_with_its_line(tmp_path, text, line, words):
    settings, mistakes = examine(write(tmp_path, text))
    assert settings is None
    assert any(words in mistake for mistake in mistakes), mistakes
    if line:
        assert any(mistake.startswith(f"line {line}:") for mistake in mistakes), mistakes


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ('path = "/a"', 4, "kind is missing: must be one of folder, dicom, dicomweb, fhir"),
        ('host = "h"\nkind = "dicm"', 7, "Did you mean 'dicom'?"),
        ('kind = "folder"\npaht = "/a"', 7, "Did you mean 'path'?"),
        ('kind = "folder"\npaht = "/a"', 4, "destination.b.path is missing"),
        ('kind = "dicom"\nhost = "h"\nport = 0\ncalled_ae = "P"', 8, "must be 1 or more"),
        ('kind = "dicom"\nhost = "h"\nport = 1\ncalled_ae = "A\\\\B"', 9, "no backslash"),
        ('kind = "dicom"\nhost = "h"\nport = 1\nurl = "x"', 9, "Settings here: name, kind, host"),
        ('kind = "dicomweb"\nurl = "ftp://h"', 7, "must be like https://"),
        ('kind = "dicomweb"\nurl = "https://h"\nuser = "u"', 4, "come together"),
        (
            'kind = "dicom"\nhost = "a"\nport = 104\ncalled_ae = "A"\ngets = ["fhir"]',
            10,
            "goes to a folder, or to a destination of the kind fhir",
        ),
        ('kind = "fhir"\nurl = "https://u:p@h"', 7, "password_file"),
        ('kind = "fhir"\nurl = "https://h"\ngets = ["results"]', 8, "must be 'fhir'"),
        ('kind = "fhir"\nurl = "https://h"\nuser = "u"', 4, "come together"),
        ('kind = "fhir"\nurl = "http://h"\ntoken_file = "/t"', 4, "over https only"),
        (
            'kind = "fhir"\nurl = "https://h"\ntoken_file = "/t"\nuser = "u"\npassword_file = "/p"',
            4,
            "not both",
        ),
        ('kind = "folder"\npath = "/a"\nseg_type = "LABEL"', 8, "'BINARY' or 'LABELMAP'"),
        ('kind = "folder"\npath = "/a"\nseg_syntax = "jpeg"', 8, "deflated"),
        ('kind = "folder"\npath = "/a"\nseg_syntax = "rle"', 4, "one bit a pixel"),
        (
            'kind = "folder"\npath = "/a"\ngets = ["originals"]\nseg_frames = "ed-es"',
            4,
            "which this destination doesn't get",
        ),
        ('kind = "folder"\npath = "/a"\ngets = ["result"]', 8, "'fhir' or 'corrections'"),
        ('kind = "folder"\npath = "/a"\ngets = []', 8, "must not be empty"),
        ('kind = "folder"\npath = "/a"\ngets = "results"', 8, "must be a list"),
    ],
)
def test_a_mistake_in_a_destination_is_explained_with_its_line(tmp_path, lines, line, words):
    other = f'[[destination]]\nname = "b"\n{lines}\n'
    whole = '[[destination]]\nname = "z"\nkind = "folder"\npath = "/z"\n'
    text = f'[box]\nae_title = "A"\n\n{other}'
    settings, mistakes = examine(write(tmp_path, text))
    assert settings is None
    said = [mistake for mistake in mistakes if words in mistake]
    assert said, mistakes
    assert said[0].startswith(f"line {line}:"), mistakes
    # The same in a second table: lines are counted there, not in the first.
    _, mistakes = examine(write(tmp_path, f'[box]\nae_title = "A"\n\n{whole}{other}'))
    assert any(m.startswith(f"line {line + 4}:") and words in m for m in mistakes), mistakes


@pytest.mark.parametrize("given", ['"x"', "1.5", "-1", "true", "[]", "{}", "1979-05-27", "nan"])
def test_no_mistake_is_told_in_the_words_of_the_library(tmp_path, given):
    mistakes: list[str] = []
    for section, field in Settings.model_fields.items():
        names = getattr(field.annotation, "model_fields", {})
        texts = [f"[{section}]\n{name} = {given}\n" for name in names]
        for text in [f"{section} = {given}\n", *texts]:
            mistakes += examine(write(tmp_path, text))[1]
    for kind, model in KINDS.items():
        for name in model.model_fields:
            text = f'kind = "{kind}"\n' if name != "kind" else ""
            mistakes += examine(write(tmp_path, f"[[destination]]\n{text}{name} = {given}\n"))[1]
    assert mistakes
    for mistake in mistakes:
        assert not re.search("[Ii]nput|valid |instance|dictionary|tuple|here \\(", mistake), mistake


def test_a_password_in_an_address_is_refused_and_never_repeated(tmp_path):
    table = '[[destination]]\nname = "a"\nkind = "dicomweb"\nurl = "https://u:hunter2@h"\n'
    _, mistakes = examine(write(tmp_path, f'[box]\nae_title = "A"\n{table}'))
    assert "password_file" in mistakes[0]
    assert "hunter2" not in str(mistakes)


def test_results_go_where_they_are_wished_and_corrections_only_after_a_correction(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "echocart.example.toml").read_text()
    settings = load(write(tmp_path, text))
    results = [
        *(("usb", kind) for kind in ("seg", "sr", "overlay", "fhir")),
        *(("pacs", kind) for kind in ("seg", "sr")),
        ("records", "fhir"),
    ]
    assert settings.wanted("accepted") == results
    assert settings.wanted("corrected") == [
        *results[:-1],
        ("archive", "correction"),
        results[-1],
    ]
    assert settings.originals == ("pacs",)


def test_a_label_map_may_be_run_length_encoded(tmp_path):
    text = 'kind = "folder"\nname = "a"\npath = "/a"\nseg_type = "LABELMAP"\nseg_syntax = "rle"\n'
    settings = load(write(tmp_path, f'[box]\nae_title = "A"\n[[destination]]\n{text}'))
    assert (settings.destination[0].seg_type, settings.destination[0].seg_syntax) == (
        "LABELMAP",
        "rle",
    )


def test_every_mistake_is_named_not_only_the_first(tmp_path):
    _, mistakes = examine(write(tmp_path, '[box]\nx = 1\ny = 2\n[scp]\nport = "a"\n'))
    assert len(mistakes) == 4


def test_settings_can_not_be_changed_while_running(tmp_path):
    settings = load(write(tmp_path, '[box]\nae_title = "A"\n'))
    with pytest.raises(ValueError, match="frozen"):
        settings.box.ae_title = "B"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[box]\nae_title = \xe9"])
def test_a_file_that_is_not_text_is_refused_in_words(tmp_path, content):
    path = tmp_path / "echocart.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="UTF-8"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load(tmp_path / "absent.toml")


def test_the_example_names_every_setting_with_its_default():
    path = Path(__file__).parents[1] / "docs" / "echocart.example.toml"
    example = load(path).model_dump()
    defaults = Settings(box=Box(ae_title="ECHOCART")).model_dump()
    assert {**example, "destination": (), "cart": ()} == defaults
    text = path.read_text()
    for section, values in example.items():
        for name in (
            values if isinstance(values, dict) else {key for item in values for key in item}
        ):
            assert re.search(rf"\n(# )?{name} = ", text), f"{section}.{name}"


def test_the_example_shows_each_kind_of_destination():
    path = Path(__file__).parents[1] / "docs" / "echocart.example.toml"
    shown = load(path).destination
    assert {item.kind for item in shown} == set(KINDS)
    assert {wish for item in shown for wish in item.gets} == set(get_args(Wish))
