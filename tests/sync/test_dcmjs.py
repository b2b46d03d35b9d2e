"""The segmentation as dcmjs reads it, the library that viewers in browsers are built on."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from appliance.part10 import read_header
from appliance.sync import modules
from appliance.sync.form import Form
from appliance.sync.seg import segmentation
from tests.sync.material import (
    AUTOMATIC,
    STRUCTURES,
    a_review,
    label_maps,
    saved,
    write_source,
)

READER = Path(__file__).parent / "dcmjs"
MAPS = label_maps(8, 48, 64)
FORMS = [
    Form(kind, syntax) for kind in ("BINARY", "LABELMAP") for syntax in ("explicit", "deflated")
]


@pytest.fixture(scope="module")
def reader(request) -> Path:
    """The reader with its library beside it, fetched once into pytest's cache."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm is not installed: apt install npm")
    folder = Path(request.config.cache.mkdir("dcmjs"))
    for file in READER.iterdir():
        shutil.copyfile(file, folder / file.name)
    if not (folder / "node_modules" / "dcmjs").exists():
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
        if done.returncode:
            pytest.skip("dcmjs can't be downloaded")
    return folder / "read.js"


def read_by(reader: Path, path: Path) -> dict:
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run([node, reader, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


def hashed(mask: np.ndarray) -> str:
    return hashlib.sha256(mask.astype(np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.type}-{form.syntax}")
def test_dcmjs_reads_each_form_to_the_pixel(reader, tmp_path, form):
    source = write_source(tmp_path / "source.dcm")
    header = read_header(source)
    uid = str(header.dataset.SOPInstanceUID)
    made = segmentation(
        read_header(source),
        lambda i: MAPS[i],
        range(8),
        STRUCTURES,
        AUTOMATIC,
        a_review(),
        form=form,
    )
    said = read_by(reader, saved(made, tmp_path))
    assert said["SOPClassUID"] == form.kind.SOPClassUID
    assert said["TransferSyntaxUID"] == form.kind.TransferSyntaxUID
    assert said["PatientID"] == "P1"
    segments = [item for item in said["segments"] if item["number"]]
    assert [item["label"] for item in segments] == [item.name for item in STRUCTURES]
    tracked = [modules.tracking_uid(uid, item.code) for item in STRUCTURES]
    assert [item["tracking"] for item in segments] == tracked
    expected = (
        [(place, frame, MAPS[frame - 1] == place) for place in (1, 2, 3) for frame in range(1, 9)]
        if form.type == "BINARY"
        else [(None, frame, MAPS[frame - 1]) for frame in range(1, 9)]
    )
    assert said["NumberOfFrames"] == len(expected)
    assert said["frames"] == [
        {"segment": segment, "source": frame, "pixels": hashed(mask)}
        for segment, frame, mask in expected
    ]
