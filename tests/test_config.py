from pathlib import Path

import pytest

from appliance.config import Box, Settings, examine, load
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
        ("", None, "box is missing"),
        ("[box]\n", 1, "box.ae_title is missing"),
        ('[box]\nae_titel = "A"\n', 2, "Did you mean 'ae_title'?"),
        ('[box]\nae_title = "A\\\\B"\n', 2, "no backslash"),
        ('[box]\nae_title = "SEVENTEEN-LETTERS"\n', 2, "1 to 16"),
        ('[box]\nae_title = "A"\n[scp]\n\nport = "DICOM"\n', 5, "must be a whole number"),
        ('[box]\nae_title = "A"\n[scp]\nport = 70000\n', 4, "65535"),
        ('[box]\nae_title = "A"\n[scpp]\nport = 1\n', 3, "Did you mean 'scp'?"),
        ('[box]\nae_title = "A"\n[webui]\nhost = "0.0.0.0"\n', 4, "127.0.0.1 only"),
        ('[box]\nae_title = "A"\n[engine]\nbackend = "magic"\n', 4, "openvino"),
        (
            '[box]\nae_title = "A"\n[[destination]]\nname = "a"\npath = "/a"\n'
            '[[destination]]\nname = "b c"\npath = "/b"\n',
            7,
            "letters, digits",
        ),
        (
            '[box]\nae_title = "A"\n[[destination]]\nname = "a"\npath = "/a"\n'
            '[[destination]]\nname = "a"\npath = "/b"\n',
            3,
            "two destinations",
        ),
        ("[box\n", None, "isn't valid TOML"),
    ],
)
def test_a_mistake_is_explained_with_its_line(tmp_path, text, line, words):
    settings, mistakes = examine(write(tmp_path, text))
    assert settings is None
    assert any(words in mistake for mistake in mistakes), mistakes
    if line:
        assert any(mistake.startswith(f"line {line}:") for mistake in mistakes), mistakes


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
    assert {**example, "destination": ()} == defaults
    text = path.read_text()
    for section, values in example.items():
        for name in values[0] if section == "destination" else values:
            assert f"\n{name} = " in text, f"{section}.{name}"
