"""A real Orthanc for tests: the demo's, and a test that needs it is skipped where there is none."""

from pathlib import Path

import pytest

import appliance.demo.orthanc
from appliance.demo.orthanc import PASSWORD, USER, NotInstalledError

__all__ = ["PASSWORD", "USER", "Orthanc"]


class Orthanc(appliance.demo.orthanc.Orthanc):
    """Context manager around one server; see `appliance.demo.orthanc.Orthanc`."""

    def __init__(self, root: Path, allow_get: bool = True, box_port: int = 104) -> None:
        try:
            super().__init__(root, allow_get, box_port)
        except NotInstalledError as error:
            pytest.skip(f"{error.subject}: apt install orthanc orthanc-dicomweb")

    def __enter__(self) -> "Orthanc":
        super().__enter__()
        return self
