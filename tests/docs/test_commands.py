"""What the pages tell to type exists, with these options; marked blocks are run on a box."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from appliance.cli import app
from tests.box import REPOSITORY, Box
from tests.docs.commands import PAGES, commands, marked_blocks, named

ROOT = get_command(app)
ECHOCART = named("echocart")
FOLDERS = ("appliance", "bench", "build", "models", "tests")
MODULES = {path.name for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")}
PYTHON = [item for item in named("python") if item.words[1:2] == ("-m",)]


def walk(command, path=()):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def leaf(words):
    """Go down the tree of commands; return what is found and the words that are left."""
    command, left = ROOT, list(words[1:])
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left.pop(0)]
    return command, left


def options(command):
    return {"--help", *(name for item in command.params for name in item.opts)}


def test_pages_name_many_commands():
    assert len(ECHOCART) > 100
    assert len(PYTHON) > 5


def arguments(command, left):
    """The words that are neither options nor their values."""
    flags = {
        name for item in command.params if getattr(item, "is_flag", False) for name in item.opts
    }
    words, waits = [], False
    for word in left:
        if not word.startswith("-") and not waits:
            words.append(word)
        waits = word.startswith("-") and word not in {"--help", *flags} and "=" not in word
    return words


@pytest.mark.parametrize("item", ECHOCART, ids=str)
def test_every_echocart_command_and_option_of_a_page_exists(item):
    command, left = leaf(item.words)
    words = arguments(command, left)
    takes = any(param.param_type_name == "argument" for param in command.params)
    assert takes or not words, f"{item}: {words[0]!r} is no command, and no argument is taken"
    for word in left:
        if word.startswith("--"):
            assert word.partition("=")[0] in options(command), f"{item}: no option {word}"


@pytest.mark.parametrize("item", named("make"), ids=str)
def test_every_make_target_and_variable_of_a_page_exists(item):
    text = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    for word in item.words[1:]:
        if "=" in word:
            name = word.partition("=")[0]
            assert re.search(rf"\$\((if )?({name}|filter \w+,\$\({name})\b|^{name} \?=", text, re.M)
        else:
            assert word in targets, f"{item}: make has no {word}"


@pytest.mark.parametrize("item", PYTHON, ids=str)
def test_every_python_module_and_option_of_a_page_exists(item):
    name = item.words[2]
    found = importlib.util.find_spec(name)
    assert found, f"{item}: there is no {name}"
    if name.split(".")[0] not in ("models", "bench", "appliance", "docs"):
        return
    path = Path(found.origin) if found.origin else REPOSITORY / name.replace(".", "/")
    sources = "".join(each.read_text() for each in path.parent.glob("*.py"))
    for word in item.words[3:]:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in sources, f"{item}: no option {word}"


def test_the_operations_page_names_every_command():
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    table = page[page.index("## Every command") :]
    for path, command in walk(ROOT):
        if path and not hasattr(command, "commands") and not command.hidden:
            assert f"`echocart {' '.join(path)}`" in table, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_without_its_folder_exists(page):
    for name in set(re.findall(r"`(\w+\.py)`", page.read_text())):
        assert name in MODULES, f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_a_page_names_exists(page):
    tops = {path.name for path in (REPOSITORY / "appliance").iterdir()}
    tops |= {path.name for path in REPOSITORY.iterdir()}
    places = (REPOSITORY, REPOSITORY / "appliance", page.parent)
    for span in re.findall(
        r"`([\w.*-]+(?:/[\w.*-]+)+\.(?:py|toml|md|sh|txt|js))`", page.read_text()
    ):
        if span.split("/")[0] in tops:
            assert any(list(place.glob(span)) for place in places), f"{page.name}: {span}"


def test_a_command_that_does_not_exist_would_be_noticed():
    (words,) = commands("$ sudo echocart carts permit VIVID # a comment")
    assert words == ["echocart", "carts", "permit", "VIVID"]
    command, left = leaf(words)
    assert hasattr(command, "commands")
    assert left == ["permit", "VIVID"]


def test_the_marked_blocks_of_the_operations_page_work_on_a_box(tmp_path):
    blocks = marked_blocks(REPOSITORY / "docs" / "operations.md")
    assert len(blocks) >= 5
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BACKUPS": str(tmp_path / "backups"),
    }
    (tmp_path / "backups").mkdir()
    with Box(tmp_path / "box", services=("scp",)) as box:
        environment["ECHOCART_CONFIG"] = str(box.config)
        for block in blocks:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
