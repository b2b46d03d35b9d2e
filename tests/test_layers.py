"""The four services share the ledger and the spool, nothing else (design: layout)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SERVICES = {"scp", "engine", "webui", "sync"}
SOURCES = sorted((REPOSITORY / "appliance").rglob("*.py"))
# `main` names each service by its module, as systemd does; nothing else at the root may.
STARTS_SERVICES: set[str] = set()


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide the layers"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def service_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "appliance" and parts[1] in SERVICES else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_services_never_import_each_other_and_the_root_never_imports_them(path):
    package = path.relative_to(REPOSITORY / "appliance").parts[0]
    own = package if package in SERVICES else None
    for module in imports(path):
        service = service_of(module)
        assert service is None or service == own, f"{path} imports {module}"
        assert module.split(".")[0] != "models", f"{path} imports the model factory"
        assert module.split(".")[0] not in ("torch", "onnx", "tests"), module
        # 1.2 s and 180 MB: only what writes reports pays for it, and only when it writes one.
        assert module.split(".")[0] != "highdicom" or own == "sync", f"{path} imports {module}"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_service_loads_what_few_boxes_need_when_it_starts(service):
    command = [sys.executable, "-X", "importtime", "-m", f"appliance.{service}", "--help"]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "pydicom" in loaded
    # The report writer; released models; what `requests` loads, itself listed also when refused.
    assert not loaded & {"highdicom", "tuf", "urllib3"}


@pytest.mark.parametrize("folder", ["build", "systemd"])
def test_folders_that_would_shadow_a_package_are_no_packages(folder):
    assert not (REPOSITORY / folder / "__init__.py").exists()


def test_every_package_of_the_box_is_in_the_wheel():
    listed = (REPOSITORY / "pyproject.toml").read_text()
    for init in (REPOSITORY / "appliance").rglob("__init__.py"):
        name = ".".join(init.parent.relative_to(REPOSITORY).parts)
        assert f'"{name}"' in listed, f"{name} is missing from [tool.setuptools] packages"
