"""Corrections out of a real archive, as the box put them there."""

import fcntl
import http.server
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO

import numpy as np
import pydicom
import pytest

from appliance.cine import open_cine
from appliance.sector import calibration, find_sector
from models import corrections
from models.corrections import check, read, rows
from models.data import letterboxed
from tests.box import LOADED_MACHINE_S, REPOSITORY, free_port
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.phantom import cine_loop
from tests.sync.test_upstream import Site

CHANGED = (2, 5)


def pull(url, to, *more):
    command = [sys.executable, "-m", "models.pull", "--from", url, "--to", str(to), *map(str, more)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LOADED_MACHINE_S
    )


def pull_from(orthanc, to):
    done = pull(orthanc.url, to, "--user", USER, "--password-file", orthanc.password_file)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as made:
        yield made


@pytest.fixture(scope="module")
def loop():
    return cine_loop(frames=12, rate_hz=12)


@pytest.fixture(scope="module")
def corrected(loop):
    """Frame to the label map that a person drew: without the atrium."""
    return {index: np.where(loop.labels[index] == 3, 0, loop.labels[index]) for index in CHANGED}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def objects(site, loop, corrected, tmp_path_factory):
    source = loop.write(tmp_path_factory.mktemp("source") / "loop.dcm")
    return site.objects(site.correct(source, loop.labels, corrected))


def whole(item):
    return b"".join(bytes(part) for part in item.parts)


def store(orthanc, objects):
    for item in objects:
        orthanc.client().store_file(whole(item))


@pytest.fixture(scope="module")
def filled(orthanc, objects):
    store(orthanc, objects)
    return orthanc


def test_only_changed_frames_come_and_they_are_what_was_drawn(filled, corrected, loop, tmp_path):
    assert "2 frames of 1 new corrections" in pull_from(filled, tmp_path / "to")
    assert check(tmp_path / "to") == []
    found = list(read(tmp_path / "to"))
    assert sorted(int(item.row.frame) for item in found) == list(CHANGED)
    with open_cine(loop.write(tmp_path / "loop.dcm")) as cine:
        sector = find_sector(cine)
        scale = calibration(cine, sector)
    box = sector.geometry
    inside = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
    for item in found:
        index = int(item.row.frame)
        assert set(np.unique(item.mask)) == {0, 1, 2}
        share = (corrected[index][inside] == 1).sum() / (box.width * box.height)
        assert (item.mask == 1).sum() / item.mask.size == pytest.approx(share, rel=0.02)
        assert item.image.max() > 100, "the heart is in the picture"
        assert max(item.image.shape) == 384
        assert float(item.row.spacing_mm) == pytest.approx(
            scale.mm_per_px_x / box.scale_x, rel=0.02
        )


def test_a_frame_is_as_the_network_saw_it_on_the_box(filled, loop, tmp_path):
    from appliance.sector import letterbox

    pull_from(filled, tmp_path / "to")
    with open_cine(loop.write(tmp_path / "loop.dcm")) as cine:
        sector = find_sector(cine)
        for item in read(tmp_path / "to"):
            seen = letterbox(cine.grey(int(item.row.frame)), sector.geometry, sector.fan)
            image, _ = letterboxed(item)
            # The de-identified loop's fan is found anew: a pixel more or less at its edge.
            assert np.abs(image.astype(int) - seen).mean() < 6


def test_the_lineage_comes_with_the_frames_and_the_identity_does_not(
    filled, objects, loop, tmp_path
):
    pull_from(filled, tmp_path / "to")
    _, model, drawn, _ = objects
    for row in rows(tmp_path / "to"):
        assert row.model_sha256 == "ab" * 32
        assert row.reviewer_role == "bedside reviewer"
        assert (row.parent, row.source) == (model.SOPInstanceUID, drawn.SOPInstanceUID)
        assert len(row.sop_hash) == 64
        assert row.decision == "1"
    text = (tmp_path / "to" / "frames.csv").read_text()
    for secret in (loop.dataset.SOPInstanceUID, "PHANTOM", "HEART"):
        assert secret not in text


def test_what_is_there_is_not_fetched_again(filled, tmp_path):
    pull_from(filled, tmp_path / "to")
    before = (tmp_path / "to" / "frames.csv").read_bytes()
    assert "0 frames of 0 new corrections" in pull_from(filled, tmp_path / "to")
    assert (tmp_path / "to" / "frames.csv").read_bytes() == before


def test_killed_at_any_moment_it_is_readable_and_goes_on(filled, tmp_path):
    whole = tmp_path / "whole"
    pull_from(filled, whole)
    command = [sys.executable, "-m", "models.pull", "--from", filled.url, "--user", USER]
    for wait in (1.0, 1.6, 2.2):
        folder = tmp_path / str(wait)
        running = subprocess.Popen(
            [*command, "--password-file", filled.password_file, "--to", folder],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(wait)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (folder / "frames.csv").exists() or check(folder) == []
        pull_from(filled, folder)
        assert (folder / "frames.csv").read_bytes() == (whole / "frames.csv").read_bytes()
        assert [path.name for path in folder.glob(".pull-*")] == []


def test_a_study_that_is_not_whole_yet_is_fetched_later(tmp_path, objects):
    with Orthanc(tmp_path / "orthanc") as server:
        store(server, objects[:2])
        assert "1 studies are no whole correction (yet)" in pull_from(server, tmp_path / "to")
        store(server, objects[2:])
        assert "2 frames of 1 new corrections" in pull_from(server, tmp_path / "to")


def test_a_study_that_nobody_can_read_does_not_keep_the_others_out(tmp_path, objects):
    other = pydicom.dcmread(BytesIO(whole(objects[2])))
    model = pydicom.dcmread(BytesIO(whole(objects[1])))
    source = pydicom.dcmread(BytesIO(whole(objects[0])))
    for place, dataset in enumerate((source, model, other)):
        dataset.StudyInstanceUID = "2.25.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.1{place}"
    for dataset in (model, other):
        dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[
            0
        ].ReferencedSOPInstanceUID = source.SOPInstanceUID
        del dataset.PerFrameFunctionalGroupsSequence
    with Orthanc(tmp_path / "orthanc") as server:
        for dataset in (source, model, other):
            stream = BytesIO()
            dataset.save_as(stream)
            server.client().store_file(stream.getvalue())
        store(server, objects)
        done = pull_from(server, tmp_path / "to")
    assert "2 frames of 1 new corrections" in done
    assert "1 can't be used" in done
    assert (tmp_path / "to" / "pulled.txt").read_text().split() == [objects[0].StudyInstanceUID]


def test_a_later_decision_replaces_the_earlier_one(tmp_path, loop, corrected):
    site = Site(tmp_path / "site")
    source = loop.write(tmp_path / "loop.dcm")
    first = site.objects(site.correct(source, loop.labels, corrected))
    other = {7: np.where(loop.labels[7] == 3, 0, loop.labels[7])}
    second = site.objects(site.correct(source, loop.labels, other, again=True))
    with Orthanc(tmp_path / "orthanc") as server:
        store(server, second)
        store(server, first)
        pull_from(server, tmp_path / "to")
        assert [row.frame for row in rows(tmp_path / "to")] == ["7"]


def test_two_pulls_into_one_directory_keep_out_of_each_other_s_way(filled, tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        login = ("--user", USER, "--password-file", filled.password_file)
        assert "another pull" in refused(filled.url, tmp_path, *login)


class _Stranger(http.server.BaseHTTPRequestHandler):
    """A web server that is no DICOMweb server."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, *_):
        pass


@pytest.fixture
def stranger():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def refused(*arguments):
    done = pull(*arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_what_keeps_the_archive_from_answering_is_one_line(filled, stranger, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not it")
    assert wrong.read_text() != PASSWORD
    to = tmp_path / "to"
    assert "can't be reached" in refused(f"http://127.0.0.1:{free_port()}/dicom-web", to)
    assert "doesn't answer as DICOMweb does" in refused(stranger, to)
    assert "401" in refused(filled.url, to)
    assert "--password-file" in refused(filled.url, to, "--user", USER, "--password-file", wrong)
    login = ("--user", USER, "--password-file", filled.password_file)
    assert "404" in refused(filled.url.replace("dicom-web", "nothing"), to, *login)
    assert "password" in refused(filled.url, to, "--user", USER, "--password-file", to / "none")
    assert refused("no url", to)


def test_pulled_corrections_are_what_retraining_reads(filled, tmp_path):
    pull_from(filled, tmp_path / "to")
    for item in corrections.read(tmp_path / "to", "train"):
        image, mask = letterboxed(item)
        assert image.shape == mask.shape == (384, 384)
