"""What a directory of corrections says of its drawings: twice, superseded, in conflict, how far moved."""

import cv2
import numpy as np
import pytest

from appliance.manifest import current_model
from models import corrections, pull_index, segmentation
from models.corrections import CorrectionsError
from models.pull_study import sorted_out, take
from models.pulled import HELD_OUT, Pulled, split_of
from tests.models.studies import files_of
from tests.phantom import cine_loop
from tests.sync.material import masks_of
from tests.sync.test_upstream import Site


@pytest.fixture(scope="module")
def loop():
    return cine_loop(frames=8, rate_hz=8, rows=241, columns=321)


def smaller(labels, label, pixels):
    """A label map whose structure lost its rim."""
    inner = cv2.erode((labels == label).astype(np.uint8), None, iterations=pixels)
    return np.where((labels == label) & (inner == 0), 0, labels).astype(np.uint8)


class Ward:
    """A box, and its corrections as files that a pull fetched."""

    def __init__(self, folder, name, loop):
        folder.mkdir()
        self.folder, self.loop = folder, loop
        self.site = Site(folder / "box", site=name)
        self.source = loop.write(folder / "loop.dcm")
        self.count = 0

    def correct(self, changes, **more):
        again = self.count > 0
        delivery = self.site.correct(self.source, self.loop.labels, changes, again, **more)
        place = self.folder / str(self.count)
        place.mkdir()
        self.count += 1
        for number, file in enumerate(files_of(self.site.objects(delivery))):
            (place / f"{number}.dcm").write_bytes(file)
        return sorted(place.iterdir())


@pytest.fixture(scope="module")
def wards(tmp_path_factory, loop):
    folder = tmp_path_factory.mktemp("wards")
    return [Ward(folder / name, name, loop) for name in ("A", "B")]


@pytest.fixture(scope="module")
def studies(wards, loop):
    """Ward A corrects frames 2 and 5, then 2 otherwise; ward B as A did at first, but 5 otherwise."""
    first = {index: smaller(loop.labels[index], 1, 4) for index in (2, 5)}
    return {
        "A1": wards[0].correct(first),
        "A2": wards[0].correct({2: smaller(loop.labels[2], 3, 5)}),
        "B1": wards[1].correct(
            {2: smaller(loop.labels[2], 3, 5), 5: smaller(loop.labels[5], 1, 9)}
        ),
    }


def noted(folder, studies):
    folder.mkdir(exist_ok=True)
    pulled = Pulled(folder)
    for name, files in studies.items():
        found = sorted_out(files, current_model())
        pulled.note(name, take(found, folder, current_model()))
    pull_index.write(pulled, current_model())
    return pulled


@pytest.fixture
def pulled(tmp_path, studies):
    made = noted(tmp_path / "to", studies)
    yield made
    made.close()


def lines(pulled):
    names = [structure.name for structure in current_model().structures]
    found = pull_index.lines(pulled, names)
    return {(line["study"], line["frame"]): line for line in found}


def test_each_drawing_says_whether_it_teaches_and_why_not(pulled):
    states = {key: line["state"] for key, line in lines(pulled).items()}
    assert states == {
        ("A1", 2): "superseded",
        ("A1", 5): "superseded",
        ("A2", 2): "taught",
        ("B1", 2): "duplicate",
        ("B1", 5): "taught",
    }
    table = corrections.rows(pulled.folder)
    assert [(row.frame, row.decision) for row in table] == [("2", "2"), ("5", "1")]
    assert corrections.check(pulled.folder) == []


def test_what_was_drawn_in_several_ways_is_kept_with_its_agreement(pulled, loop):
    found = lines(pulled)
    assert {key: line["drawings"] for key, line in found.items()} == dict.fromkeys(found, 2)
    line = found["A1", 5]
    a, b = (smaller(loop.labels[5], 1, pixels) == 1 for pixels in (4, 9))
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert line["agreement_left_ventricle"] == pytest.approx(dice, abs=0.02)
    assert line["agreement_left_atrium"] == 1.0
    assert found["B1", 5]["agreement_left_ventricle"] == line["agreement_left_ventricle"]
    for name in ("A1", "B1"):
        assert (pulled.folder / "masks" / f"{found[name, 5]['stem']}.png").exists()


def test_how_far_a_structure_was_moved_is_in_millimetres(pulled, loop):
    line = lines(pulled)["B1", 5]
    assert line["moved_mm_left_ventricle"] == pytest.approx(9 * loop.mm_per_px[0], rel=0.25)
    assert line["grown_left_ventricle"] < -0.3
    assert line["dice_left_atrium"] == 1.0
    assert line["moved_mm_left_atrium"] == 0.0
    assert line["site"] == "B"


def test_one_heart_under_two_names_is_in_one_split(pulled):
    rows = pulled.db.execute("SELECT DISTINCT patient, heart, split FROM heart").fetchall()
    assert len({row["patient"] for row in rows}) == 2
    assert len({row["heart"] for row in rows}) == 1
    (split,) = {row["split"] for row in rows}
    assert split == ("train" if "train" in {split_of(row["patient"]) for row in rows} else split)


def test_one_patient_in_five_is_set_aside():
    count = sum(split_of(f"{number:024X}") == "validation" for number in range(4000))
    assert count / 4000 == pytest.approx(HELD_OUT, abs=0.02)


def test_the_order_of_arrival_changes_nothing(tmp_path, studies):
    there = noted(tmp_path / "there", studies)
    back = noted(tmp_path / "back", dict(reversed(studies.items())))
    tables = [(made.folder / "frames.csv").read_bytes() for made in (there, back)]
    assert tables[0] == tables[1]
    for made in (there, back):
        made.close()


def test_frames_that_no_pull_wrote_are_left_alone(tmp_path):
    (tmp_path / "frames.csv").write_text("patient,view,phase\n")
    with pytest.raises(CorrectionsError, match="no pull wrote"):
        Pulled(tmp_path)
    assert (tmp_path / "frames.csv").read_text() == "patient,view,phase\n"


def test_a_record_that_is_none_is_named(tmp_path):
    (tmp_path / "pulled.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(CorrectionsError, match="can't be used"):
        Pulled(tmp_path)


def test_label_maps_are_what_highdicom_reads(studies, loop):
    """241 x 321 pixels: no frame begins at a whole byte."""
    _, model, drawn, _ = studies["B1"]
    for path in (model, drawn):
        mine = segmentation.read(path, current_model())
        theirs = masks_of(path, mine.source, range(1, 9))
        assert np.array_equal(np.stack([mine.labels(index) for index in range(8)]), theirs)


def test_places_read_off_the_bytes_are_those_of_the_parsed_object(studies, monkeypatch):
    path = studies["B1"][1]
    seen = segmentation.read(path, current_model()).places
    monkeypatch.setattr(segmentation, "_seen", lambda _: [])
    assert segmentation.read(path, current_model()).places == seen


@pytest.mark.models
def test_the_index_is_a_parquet_file_with_every_drawing(pulled):
    from pyarrow import parquet

    table = parquet.read_table(pulled.folder / "index.parquet")
    assert table.num_rows == 5
    assert sorted(table.column("state").to_pylist()) == [
        *("duplicate", "superseded", "superseded", "taught", "taught")
    ]
    stored = {(line["study"], line["frame"]): line for line in table.to_pylist()}
    for key, line in lines(pulled).items():
        for name, value in line.items():
            expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            assert stored[key][name] == expected, name


@pytest.mark.models
def test_the_report_tells_how_far_and_where_reviewers_differ(pulled):
    from models import pull_report

    page = pull_report.write(pulled, current_model()).read_text()
    assert "2 hold, 2 are superseded by a later decision, 1 came twice" in page
    for heading in ("By scanner", "By site", "By role", "Over time", "Where reviewers differ"):
        assert f"## {heading}" in page
    assert "| A | Left ventricle | 1 | 1.000 |" in page
    assert "bedside reviewer, bedside reviewer | Left ventricle" in page
    for name in (pull_report.MOVED_PLOT, pull_report.TIME_PLOT, pull_report.FARTHEST):
        picture = cv2.imread(str(pulled.folder / "report" / name))
        assert picture is not None
        assert picture.std() > 5, f"{name} shows something"
