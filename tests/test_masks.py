import cv2
import numpy as np
import pytest

from appliance import masks
from appliance.errors import SpoolError
from appliance.sector.geometry import Geometry

LV, MYOCARDIUM, LA = 1, 2, 3


def heart(rows: int = 384, columns: int = 384) -> masks.LabelMap:
    labels = np.zeros((rows, columns), np.uint8)
    cv2.ellipse(labels, (192, 170), (60, 110), 0, 0, 360, MYOCARDIUM, -1)
    cv2.ellipse(labels, (192, 160), (40, 85), 0, 0, 360, LV, -1)
    cv2.ellipse(labels, (200, 310), (50, 45), 0, 0, 360, LA, -1)
    return labels


def dice(one: masks.LabelMap, other: masks.LabelMap, label: int) -> float:
    mine, theirs = one == label, other == label
    return 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())


def test_tidy_keeps_the_largest_component_of_each_structure_and_fills_its_holes():
    rng = np.random.default_rng(3)
    for _ in range(20):
        noise = cv2.GaussianBlur(rng.random((96, 128)), (0, 0), 5)
        labels = np.where(noise > np.quantile(noise, 0.7), LV, 0).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(labels, connectivity=8)
        tidied = masks.tidy(labels) == LV
        sizes = stats[1:, cv2.CC_STAT_AREA]
        largest = parts == 1 + int(sizes.argmax())
        if count > 2 and np.sort(sizes)[-1] == np.sort(sizes)[-2]:
            continue
        assert tidied[largest].all()
        outside = cv2.connectedComponents((~tidied).astype(np.uint8), connectivity=4)[1]
        border = np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]])
        assert set(np.unique(outside[~tidied])) <= set(border), "a hole is left"


def test_a_speck_elsewhere_and_a_hole_inside_are_gone_after_tidy():
    labels = heart()
    clean = masks.tidy(labels)
    labels[5:8, 5:8] = LV
    labels[150:153, 190:193] = 0
    assert np.array_equal(masks.tidy(labels), clean)


def test_a_wall_that_closes_around_its_cavity_does_not_swallow_it():
    labels = heart()
    assert (masks.tidy(labels) == LV).sum() == (labels == LV).sum()


def test_an_empty_map_stays_empty():
    empty = np.zeros((20, 30), np.uint8)
    assert not masks.tidy(empty).any()
    assert masks.contours(empty) == {}


def test_identity_geometry_gives_the_map_back_unchanged():
    labels = heart()
    assert np.array_equal(masks.labels_in_source(labels, Geometry.identity(384, 384)), labels)


@pytest.mark.parametrize(
    ("rows", "columns", "box", "aspect"),
    [
        (480, 640, (80, 20, 500, 440), 1.0),
        (1080, 1440, (200, 50, 900, 1000), 1.0),
        (240, 320, (60, 10, 200, 220), 1.0),
        (430, 480, (111, 0, 329, 354), 0.8),
    ],
)
def test_a_map_lands_on_the_source_pixels_that_its_geometry_names(rows, columns, box, aspect):
    geometry = Geometry.fit(rows, columns, box, aspect)
    source = masks.labels_in_source(heart(), geometry)
    assert source.shape == (rows, columns)
    x, y, width, height = box
    outside = np.ones_like(source, bool)
    outside[y : y + height, x : x + width] = False
    assert not source[outside].any()
    for label, contour in masks.contours(heart()).items():
        moved = geometry.to_source(contour)
        inside = cv2.fillPoly(
            np.zeros_like(source), [np.rint(moved * 8).astype(np.int32)], label, shift=3
        )
        if label != MYOCARDIUM:  # its outline holds the cavity too
            assert dice(source, inside, label) > 0.97


@pytest.mark.parametrize(
    ("box", "aspect"),
    [((0, 0, 300, 200), 1.0), ((37, 11, 250, 180), 1.0), ((5, 9, 61, 150), 1.3)],
)
def test_every_class_counts_everywhere_though_it_is_looked_at_where_it_can_be(box, aspect):
    geometry = Geometry.fit(200, 300, box, aspect)
    patches = np.random.default_rng(4).integers(0, 4, (24, 24)).astype(np.uint8)
    for labels in (heart(), np.kron(patches, np.ones((16, 16), np.uint8))):
        x, y, width, height = box
        corner = geometry.to_map(np.array([[x, y]], float))[0]
        matrix = np.array([[geometry.scale_x, 0, corner[0]], [0, geometry.scale_y, corner[1]]])
        shares = [
            cv2.warpAffine(
                (labels == label).astype(np.uint8) * 255,
                *(matrix, (width, height)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            for label in range(4)
        ]
        found = masks.labels_in_source(labels, geometry)[y : y + height, x : x + width]
        # A pixel on which two classes are equally strong may fall to either.
        assert np.count_nonzero(found != np.argmax(shares, axis=0)) <= 2


def test_contours_go_evenly_around_each_structure():
    found = masks.contours(heart(), points=64)
    assert sorted(found) == [LV, MYOCARDIUM, LA]
    steps = np.hypot(*np.diff(found[LV], axis=0, append=found[LV][:1]).T)
    assert found[LV].shape == (64, 2)
    assert found[LV].dtype == np.float32
    assert steps.max() < 1.2 * steps.min()


def test_applying_a_structures_own_contour_changes_next_to_nothing():
    labels = masks.tidy(heart())
    for label, contour in masks.contours(labels).items():
        changed = masks.apply_contour(labels, label, contour) != labels
        if label != MYOCARDIUM:
            assert changed.sum() < 0.015 * (labels == label).sum()


def test_a_drawn_contour_takes_what_it_holds_and_gives_the_rest_to_the_neighbours():
    labels = heart()
    square = np.array([[170.0, 120.0], [210.0, 120.0], [210.0, 200.0], [170.0, 200.0]])
    corrected = masks.apply_contour(labels, LV, square)
    assert (corrected[120:201, 170:211] == LV).all()
    given_up = (labels == LV) & (corrected != LV)
    assert given_up.any()
    assert (corrected[given_up] == MYOCARDIUM).all(), "the wall follows its cavity"
    assert np.array_equal(labels, heart()), "the input is not touched"


def test_a_contour_on_a_map_that_is_all_one_structure_leaves_background_around_it():
    whole = np.full((40, 40), LV, np.uint8)
    corrected = masks.apply_contour(whole, LV, np.array([[10, 10], [20, 10], [20, 20], [10, 20]]))
    assert corrected[15, 15] == LV
    assert corrected[0, 0] == 0


def test_a_chunk_is_a_png_that_gives_the_same_maps_back():
    stack = np.stack([heart(), np.zeros((384, 384), np.uint8), heart()[::-1]])
    data = masks.encode_chunk(stack)
    assert data == masks.encode_chunk(stack.copy())
    assert np.array_equal(masks.decode_chunk(data, 3), stack)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture, stack.reshape(-1, 384))
    assert len(data) < 10_000


def test_odd_sizes_survive_a_chunk():
    stack = np.random.default_rng(0).integers(0, 4, (5, 333, 601)).astype(np.uint8)
    assert np.array_equal(masks.decode_chunk(masks.encode_chunk(stack), 5), stack)


@pytest.mark.parametrize("data", [b"", b"no png", masks.encode_chunk(heart()[None])[:200]])
def test_a_damaged_chunk_is_refused(data):
    with pytest.raises(SpoolError):
        masks.decode_chunk(data, 1)


def test_a_chunk_with_another_number_of_frames_is_refused():
    with pytest.raises(SpoolError):
        masks.decode_chunk(masks.encode_chunk(heart()[None]), 7)


def test_packed_contours_come_back_to_an_eighth_of_a_pixel():
    found = masks.contours(heart())
    data = masks.pack_contours([found, None, {LV: found[LV]}], [LV, MYOCARDIUM, LA])
    # 'ECC1', 3 frames, 3 structures, 64 points, 2 available, reserved.
    assert data[:12] == b"ECC1" + bytes([3, 0, 3, 64, 2, 0, 0, 0])
    back = masks.unpack_contours(data, [LV, MYOCARDIUM, LA])
    assert [sorted(frame) for frame in back] == [[1, 2, 3], [], [1]]
    assert np.abs(back[0][LA] - found[LA]).max() <= 1 / 16


def test_bytes_that_are_not_contours_are_refused():
    good = masks.pack_contours([masks.contours(heart())], [LV, MYOCARDIUM, LA])
    for bad in (b"", good[:-1], b"XXXX" + good[4:]):
        with pytest.raises(SpoolError):
            masks.unpack_contours(bad, [LV, MYOCARDIUM, LA])
