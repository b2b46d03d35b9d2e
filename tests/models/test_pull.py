"""Corrections out of a real archive, as the box put them there."""

import fcntl
import http.server
import random
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from typing import NamedTuple

import numpy as np
import psutil
import pydicom
import pytest

from appliance.cine import open_cine
from appliance.sector import calibration, find_sector
from models import corrections
from models.archive import Archive
from models.corrections import check, read, rows
from models.data import letterboxed
from models.pull import main
from models.pulled import Pulled
from tests.box import LOADED_MACHINE_S, REPOSITORY, free_port
from tests.models.studies import files_of, variants
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.phantom import cine_loop
from tests.sync.test_upstream import Site

CHANGED = (2, 5)


class Done(NamedTuple):
    """What the command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def pull(url, to, *more):
    """The command in this process: starting one takes longer than most pulls."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(["--from", url, "--to", str(to), *map(str, more)])
    return Done(status, out.getvalue(), err.getvalue())


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


def test_killed_at_any_moment_it_is_readable_and_goes_on(objects, tmp_path):
    """Corrections in two processes, killed where chance says."""
    with Orthanc(tmp_path / "orthanc") as server:
        for files in variants(files_of(objects), 14, of_a_patient=2):
            for file in files:
                server.client().store_file(file)
        login = ["--user", USER, "--password-file", server.password_file, "--jobs", "2"]
        command = [sys.executable, "-m", "models.pull", "--from", server.url, *login, "--to"]
        done = subprocess.run([*command, tmp_path / "whole"], cwd=REPOSITORY, capture_output=True)
        assert b"28 frames of 14 new corrections" in done.stdout, done.stderr
        chance, folder, seen = random.Random(7), tmp_path / "killed", []
        for _ in range(3):
            running = subprocess.Popen(
                [*command, folder],
                cwd=REPOSITORY,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            more = len(list(folder.glob("masks/*.png"))) + chance.randint(0, 9)
            while running.poll() is None and len(list(folder.glob("masks/*.png"))) < more:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
            readers = psutil.Process(running.pid).children() if running.poll() is None else []
            running.kill()
            running.wait()
            seen.append(len(list(folder.glob("masks/*.png"))))
            assert not (folder / "frames.csv").exists() or check(folder) == []
            assert psutil.wait_procs(readers, timeout=LOADED_MACHINE_S)[1] == []
        assert any(0 < count < 28 for count in seen), "killed on the way"
        done = subprocess.run([*command, folder], cwd=REPOSITORY, capture_output=True)
        assert done.returncode == 0, done.stderr
    whole = (tmp_path / "whole" / "frames.csv").read_bytes()
    assert (folder / "frames.csv").read_bytes() == whole
    assert [path.name for path in folder.glob(".pull-*")] == []
    assert check(folder) == []


GE, OTHER = "GE Vivid E95", "Other"


@pytest.fixture(scope="module")
def two_sites(objects, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    ward, loop = Site(folder / "site", site="Ward 7"), cine_loop(frames=12, rate_hz=12, seed=3)
    loop.dataset.Manufacturer, loop.dataset.ManufacturerModelName = "GE Vingmed", "Vivid E95"
    source = loop.write(folder / "loop.dcm")
    with Orthanc(folder / "orthanc") as made:
        store(made, objects)
        store(made, ward.objects(ward.correct(source, loop.labels, {3: 0 * loop.labels[3]})))
        yield made


@pytest.fixture
def asked(two_sites, tmp_path, capsys):
    """Pull with these words; returns the scanners that came."""

    def pull(name, *words):
        to = tmp_path / name
        login = ["--user", USER, "--password-file", str(two_sites.password_file)]
        assert main(["--from", two_sites.url, "--to", str(to), *login, *words]) == 0
        pull.said = capsys.readouterr().out
        return sorted({row.scanner for row in rows(to)}) if (to / "frames.csv").exists() else []

    return pull


def test_what_is_not_asked_for_stays_in_the_archive(asked):
    assert asked("all") == [GE, OTHER]
    assert asked("scanner", "--scanner", "vivid") == [GE]
    assert asked("site", "--site", "Ward 7") == [GE]
    assert asked("none", "--site", "Ward 8") == []
    assert "the archive has no correction of --site Ward 8" in asked.said
    assert asked("version", "--model", "first-network-1.0.0") == [GE, OTHER]
    assert "has no correction" not in asked.said
    assert asked("other version", "--model", "first-network-1.0.1") == []
    assert "has no correction of --model first-network-1.0.1" in asked.said
    assert asked("hash", "--model", "ab" * 32) == [GE, OTHER]
    assert asked("other hash", "--model", "cd" * 32) == []
    assert asked("since", "--since", "2020-01-01") == [GE, OTHER]
    assert asked("until", "--until", "2020-01-01") == []
    assert asked("site", "--model", "first-network") == [GE, OTHER], "it adds to what is there"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "last week"], "no day such as"),
        (["--until", "2026-13-45"], "no day such as"),
        (["--since", "2026-02-01", "--until", "20260131"], "is later than --until"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_words_that_ask_for_nothing_are_refused(capsys, words, said):
    with pytest.raises(SystemExit):
        main(["--from", "x", "--to", "y", *words])
    assert said in capsys.readouterr().err


def test_a_file_where_the_directory_should_be_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--from", "http://127.0.0.1:9", "--to", str(tmp_path / "file")]) == 1
    assert "is no directory" in capsys.readouterr().err


def test_an_archive_that_tells_no_scanner_is_asked_by_looking(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(Archive, "has", lambda *_: None)
    assert asked("to", "--scanner", "no such machine") == []
    assert asked("to", "--scanner", "Vivid") == [GE]
    drawn = {path.stem for path in (tmp_path / "to" / "masks").iterdir()}
    assert drawn == {row.stem for row in rows(tmp_path / "to")}


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
    pulled = Pulled(tmp_path / "to")
    assert pulled.has(objects[0].StudyInstanceUID)
    assert not pulled.has("2.25.1")
    pulled.close()


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
