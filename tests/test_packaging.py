"""What is installed on a box: no GPL code, no training tools, the model beside the code."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TRAINING_ONLY = {"torch", "monai", "lightning", "nncf", "onnx"}


def requirements(name: str, seen: dict[str, Distribution]) -> dict[str, Distribution]:
    """Return every distribution the base install of `name` pulls in, by normalised name."""
    try:
        found = distribution(name)
    except PackageNotFoundError:  # a requirement of another platform or Python
        return seen
    for line in found.requires or []:
        if "extra ==" in line:
            continue
        needed = re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-")
        if needed not in seen:
            try:
                seen[needed] = distribution(needed)
            except PackageNotFoundError:
                continue
            requirements(needed, seen)
    return seen


BASE = requirements("echocart", {})


def test_the_base_install_is_found():
    assert {"pynetdicom", "openvino", "flask", "sqlite-utils"} <= set(BASE)


@pytest.mark.parametrize("name", sorted(BASE))
def test_no_package_of_the_base_install_is_under_the_gpl(name):
    metadata = BASE[name].metadata
    licences = [metadata.get("License-Expression") or metadata.get("License") or ""]
    licences = [text[:200] for text in licences]
    licences += metadata.get_all("Classifier") or []
    for text in licences:
        plain = re.sub(r"Lesser General Public|LGPL|GPL-[\d.]+-with-[\w-]+", "", text)
        assert not re.search(r"\bA?GPL|GNU (Affero )?General Public", plain), f"{name}: {text}"


def test_the_base_install_has_no_training_tools_and_no_gpl_decoder():
    assert not TRAINING_ONLY & set(BASE)
    assert "pylibjpeg-libjpeg" not in BASE


@pytest.mark.slow
def test_the_wheel_carries_the_box_and_the_model_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, "."],
        cwd=REPOSITORY,
        check=True,
    )
    (wheel,) = tmp_path.glob("echocart-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"appliance", "models"}
    assert any(name.endswith("manifest.json") for name in names)
    assert any(name.endswith(".onnx") for name in names)
    assert any(name.startswith("appliance/webui/static/") for name in names)
    assert any(name.startswith("appliance/webui/templates/") for name in names)
    assert all(name.startswith("models/released/") for name in names if name.startswith("models/"))
