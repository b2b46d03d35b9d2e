"""Sources, label maps and reviewed loops for the tests of delivery."""

import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from appliance import masks
from appliance.ledger import Ledger, analysis, reception, review
from appliance.ledger.analysis import Opened
from appliance.ledger.reception import Received
from appliance.ledger.review import Decision
from appliance.manifest import current_model
from appliance.measures.summary import Beat, Measures
from appliance.part10 import identity, read_header
from appliance.sector.geometry import Geometry
from appliance.spool import Spool
from appliance.sync.modules import Review
from appliance.sync.seg import Part10
from appliance.sync.segments import Provenance, Structure

STRUCTURES = [
    Structure(1, "Left ventricle", "87878005", "Left ventricle", "#56B4E9"),
    Structure(2, "Myocardium", "49848007", "Myocardium of left ventricle", "#E69F00"),
    Structure(3, "Left atrium", "82471001", "Left atrium", "#CC79A7"),
]
AUTOMATIC = Provenance("first-network", "1.0.0", "ab" * 32, "AUTOMATIC")
CORRECTED = Provenance("first-network", "1.0.0", "ab" * 32, "SEMIAUTOMATIC")


def a_review(number: int = 1, **more: Any) -> Review:
    values = {
        "SOPInstanceUID": f"2.25.1{number}",
        "SeriesInstanceUID": f"2.25.2{number}",
        "reviewer": "AK",
        "research_use": True,
        "created": datetime(2026, 11, 20, 22, 30, 15, 123000, timezone.utc),
        **more,
    }
    return Review(**values)


def label_maps(frames: int, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Discs that beat, noise at their edges, and every fifth frame empty."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    maps = np.zeros((frames, rows, columns), np.uint8)
    for index in range(frames):
        if index % 5 == 4:
            continue
        for label, (row, column) in enumerate([(0.4, 0.45), (0.4, 0.65), (0.75, 0.5)], 1):
            radius = min(rows, columns) * (0.18 + 0.04 * np.sin(index))
            inside = (y - row * rows) ** 2 + (x - column * columns) ** 2 < radius**2
            maps[index][inside & (random.random(inside.shape) < 0.97)] = label
    return maps


def write_source(
    path: Path,
    rows: int = 48,
    columns: int = 64,
    frames: int = 8,
    syntax: str = ExplicitVRLittleEndian,
    replaced: tuple[bytes, bytes] = (b"", b""),
    **elements: Any,
) -> Path:
    """Write a loop's header; `replaced` puts bytes where pydicom would not."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName = "P1", "DOE^JANE"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20261120", "221500", "7"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    before, after = replaced
    assert len(before) == len(after)
    path.write_bytes(path.read_bytes().replace(before, after) if before else path.read_bytes())
    return path


def saved(result: Part10, folder: Path) -> Path:
    path = folder / f"{result.SOPInstanceUID}.dcm"
    with path.open("wb") as stream:
        result.write_to(stream)
    return path


def masks_of(path: Path, source_uid: str, frames: Sequence[int]) -> np.ndarray:
    """Read a segmentation as any user of highdicom does; frames from 1."""
    import highdicom

    segmentation = highdicom.seg.segread(path)
    pixels: np.ndarray = segmentation.get_pixels_by_source_frame(
        source_uid, list(frames), combine_segments=True
    )
    return pixels


def errors_of(path: Path, kind: str = "Segmentation") -> list[str]:
    """What dciodvfy calls an error in a file, after it has taken it for this kind of object."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt install dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert any(kind in line for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def some_measures(**changed: Any) -> dict[str, Any]:
    """Measures of a calibrated loop of 8 frames, as a ledger row holds them."""
    values: dict[str, Any] = {
        "ed_frame": 2,
        "es_frame": 5,
        "beats": (Beat(2, 5, 58.3),),
        "ef_percent": 58.3,
        "ef_spread": None,
        "edv_ml": 101.5,
        "esv_ml": 42.3,
        "la_volume_ml": 38.7,
        "lv_area_curve": (30.5, 31.25, 32.004, 28.0, 22.5, 18.125, 20.0, 26.5),
        "area_unit": "cm2",
        "withheld": {},
    }
    return Measures(**{**values, **changed}).to_dict()


def analysed(
    ledger: Ledger,
    spool: Spool,
    source: Path,
    maps: np.ndarray,
    originals: Sequence[str] = (),
    drawn: Sequence[int] = (1, 2, 3),
    **measured: Any,
) -> tuple[int, str]:
    """Take a loop through reception and analysis; return its number and its analysis's hash.

    Its model draws the structures of the released one whose labels are in `drawn`.
    """
    # Not in `incoming`, which a receiver that runs sweeps.
    beside = spool.incoming.with_name("copied")
    beside.mkdir(exist_ok=True)
    shutil.copy(source, beside)
    adopted = spool.adopt(beside / source.name)
    (beside / source.name).unlink()  # else the next copy would write into the same file
    who = identity(read_header(adopted.path).dataset)
    uids = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
    names = (*uids, "PatientID")
    fields: dict[str, Any] = {name: getattr(who, name) for name in names}
    kept: dict[str, Any] = {"sha256": adopted.sha256, "size": adopted.size, "peer": "127.0.0.1"}
    syntax: dict[str, Any] = {
        "TransferSyntaxUID": ExplicitVRLittleEndian,
        "calling_ae_title": "CART",
    }
    seq = reception.record(ledger, Received(**fields, **kept, **syntax), originals).seq
    claim = analysis.claim(ledger, "engine", 60)
    assert claim is not None
    model = current_model()
    frames, rows, columns = maps.shape
    opened = Opened(
        *(model.name, model.version, "ab" * 32, "openvino", "f32"),
        geometry=Geometry.identity(rows, columns).to_dict(),
        frames=frames,
        timing={"rate_hz": 40.0},
        calibration={},
        labels=[row for row in model.structures_as_dicts() if row["label"] in drawn],
    )
    analysis_id = analysis.open(ledger, claim, opened)
    chunk = spool.put_chunk(masks.encode_chunk(maps))
    analysis.add_chunk(ledger, claim, analysis_id, 0, frames, chunk)
    took = {"frames": frames, "stages": {}, "first_masks_ms": 100.0, "total_ms": 900.0}
    found: dict[str, Any] = {"measures": some_measures(**measured), "quality": {}, "timings": took}
    return seq, analysis.seal(ledger, claim, analysis_id, per_frame=[], **found)


def reviewed(
    ledger: Ledger,
    spool: Spool,
    source: Path,
    maps: np.ndarray,
    wanted: Sequence[tuple[str, str]] = (("usb", "seg"),),
    corrected: dict[int, np.ndarray] | None = None,
    originals: Sequence[str] = (),
    drawn: Sequence[int] = (1, 2, 3),
) -> dict[str, Any]:
    """Take a loop to an accepted (or corrected) review; return the review's row."""
    seq, sha256 = analysed(ledger, spool, source, maps, originals, drawn)
    chunks = [
        (index, 1, spool.put_chunk(masks.encode_chunk(changed[None])))
        for index, changed in (corrected or {}).items()
    ]
    decision = Decision(
        seq=seq,
        analysis_sha256=sha256,
        patient_id="P1",
        decision="corrected" if corrected else "accepted",
        reviewer="AK",
        key=f"key {seq}",
        chunks=chunks,
        geometry=Geometry.identity(*maps.shape[1:]).to_dict() if corrected else {},
    )
    return review.record(ledger, decision, wanted)
