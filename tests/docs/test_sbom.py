"""The bill of materials names what a box is made of: all of it, and nothing else."""

import json
import re
import sqlite3
import ssl
import subprocess
import sys

import pytest

from tests.box import REPOSITORY
from tests.test_packaging import BASE


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    out = tmp_path_factory.mktemp("bill") / "echocart.cdx.json"
    command = [sys.executable, REPOSITORY / "build" / "sbom.py", out]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return out


@pytest.fixture
def components(bill):
    listed = json.loads(bill.read_text())["components"]
    return {re.sub(r"[-_.]+", "-", item["name"]).lower(): item for item in listed}


def test_it_lists_every_package_of_the_base_install_in_its_version(components):
    for name, distribution in BASE.items():
        assert components[name.replace(".", "-")]["version"] == distribution.version


def test_it_lists_no_test_tool_and_nothing_of_the_extras(components):
    networks = REPOSITORY.glob("models/released/*/manifest.json")
    beside = {"python", "sqlite", "openssl", *(json.loads(p.read_text())["name"] for p in networks)}
    assert set(components) - beside <= {name.replace(".", "-") for name in BASE}
    assert not {"pytest", "playwright", "mkdocs", "av", "torch"} & set(components)


def test_it_names_what_the_packages_run_on(components):
    assert components["sqlite"]["version"] == sqlite3.sqlite_version
    assert components["openssl"]["version"] in ssl.OPENSSL_VERSION
    assert components["python"]["version"] == sys.version.split()[0]


def test_it_names_the_networks_with_licence_and_hash(components):
    network = components["first-network"]
    assert network["type"] == "machine-learning-model"
    assert network["licenses"] == [{"license": {"name": "CC-BY-NC-SA-4.0"}}]
    assert re.fullmatch(r"[0-9a-f]{64}", network["hashes"][0]["content"])


def test_it_is_cyclonedx(bill):
    # Its import takes seconds, which every collection of the tests would spend.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None


def test_every_component_hangs_on_the_box(bill):
    found = json.loads(bill.read_text())
    edges = {item["ref"]: item.get("dependsOn", []) for item in found["dependencies"]}
    reached, waiting = set(), [found["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert {item["bom-ref"] for item in found["components"]} <= reached
