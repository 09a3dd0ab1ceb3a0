"""Pictures: that what is drawn is where it should be, in its color, and nothing else changes."""

from __future__ import annotations

import errno
import itertools
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minimask import draw
from minimask.data.sample import Target
from minimask.draw import curves
from minimask.draw.colors import PALETTE, of_neighbors, text_on
from minimask.draw.curves import _running_mean
from minimask.draw.outlines import crop_of_mask, mask_paths
from minimask.evaluate import evaluate_detections
from minimask.models.detections import Detections
from minimask.system import files

GREY = 100


def blank(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def detections(boxes, labels=None, scores=None, classes=("cell", "dust"), size=(60, 80), probs=1.0):
    count = len(boxes)
    masks = None if probs is None else np.full((count, 28, 28), probs, np.float32)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels if labels is not None else [0] * count, np.int64),
        scores=np.array(scores if scores is not None else [0.9] * count, np.float32),
        mask_probs=masks,
        image_size=size,
        classes=classes,
        paste="detectron2",
    )


def changed(picture: np.ndarray) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 around the pixels that are not the background."""
    rows, columns = np.nonzero((picture != GREY).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


# ---------------------------------------------------------------- overlay


def test_an_object_is_drawn_where_it_is() -> None:
    picture = draw.overlay(
        blank(), detections([[20, 10, 50, 40]]), labels=False, boxes=False, size=0, alpha=0.5
    )
    assert picture.shape == (60, 80, 3) and picture.dtype == np.uint8
    inside = picture[15:35, 25:45].reshape(-1, 3)
    expected = (np.array(PALETTE[0]) + GREY) / 2
    assert np.abs(inside - expected).max() <= 1
    # the mask ends at the box's edge; lines are 3 pixels wide, so 1.5 reach beyond, plus rounding
    assert np.abs(np.subtract(changed(picture), (20, 10, 50, 40))).max() <= 3


def test_small_images_are_enlarged_and_objects_with_them() -> None:
    found = detections([[20, 10, 50, 40]])
    picture = draw.overlay(blank(), found, labels=False, size=300)
    assert picture.shape == (240, 320, 3)  # factor 4: the least whole one that reaches 300
    assert np.abs(np.subtract(changed(picture), (80, 40, 200, 160))).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(115, 201), (7, 3), (333, 77), (1, 1)])
def test_every_size_comes_back_exactly(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    nothing = detections(np.zeros((0, 4)), size=(height, width))
    np.testing.assert_array_equal(draw.overlay(image, nothing, size=0), image)


def test_the_image_itself_is_left_alone() -> None:
    image = blank()
    draw.overlay(image, detections([[20, 10, 50, 40]]))
    assert (image == GREY).all()


def test_grey_and_transparent_images() -> None:
    found = detections([[20, 10, 50, 40]])
    expected = draw.overlay(blank(), found)
    np.testing.assert_array_equal(draw.overlay(blank()[:, :, 0], found), expected)
    rgba = np.dstack([blank(), np.zeros((60, 80), np.uint8)])
    np.testing.assert_array_equal(draw.overlay(rgba, found), expected)
    for wrong in (blank() / 255.0, blank()[..., :2], blank()[None]):
        with pytest.raises(ValueError, match="expected \\(H, W, 3\\) uint8"):
            draw.overlay(wrong, found)


def test_weak_detections_are_left_out() -> None:
    found = detections([[5, 5, 20, 20], [50, 30, 70, 50]], scores=[0.9, 0.2])
    options = {"labels": False, "size": 0}
    strong = draw.overlay(blank(), found, min_score=0.5, **options)
    np.testing.assert_array_equal(strong, draw.overlay(blank(), found.keep([0]), **options))
    assert changed(strong)[2] < 45


def test_boxes_without_masks_and_masks_without_boxes() -> None:
    outlined = draw.overlay(
        blank(), detections([[20, 10, 50, 40]], probs=None), labels=False, size=0
    )
    assert (outlined[20:30, 30:40] == GREY).all()  # nothing inside
    assert np.abs(np.subtract(changed(outlined), (20, 10, 50, 40))).max() <= 2
    empty = draw.overlay(
        blank(), detections([[20, 10, 50, 40]], probs=0.1), labels=False, boxes=False
    )
    assert (empty == GREY).all()


def test_classes_and_instances_have_their_colors() -> None:
    boxes = [[5, 5, 25, 25], [40, 5, 60, 25], [5, 35, 25, 55]]

    def middle(picture: np.ndarray) -> list[tuple[int, ...]]:
        return [tuple(picture[y, x].tolist()) for x, y in ((15, 15), (50, 15), (15, 45))]

    options = {"labels": False, "size": 0, "alpha": 1.0}
    by_class = draw.overlay(blank(), detections(boxes, [0, 1, 0]), **options)
    assert middle(by_class) == [PALETTE[0], PALETTE[1], PALETTE[0]]
    one = draw.overlay(blank(), detections(boxes, classes=("cell",)), **options)
    assert len(set(middle(one))) == 3
    own = draw.overlay(blank(), detections(boxes, [0, 1, 0]), colors=[(1, 2, 3)], **options)
    assert set(middle(own)) == {(1, 2, 3)}
    with pytest.raises(ValueError, match="color_by"):
        draw.overlay(blank(), detections(boxes), color_by="score")
    with pytest.raises(ValueError, match="alpha"):
        draw.overlay(blank(), detections(boxes), alpha=2)


def test_small_objects_lie_on_large_ones() -> None:
    found = detections([[30, 20, 50, 40], [5, 5, 75, 55]], [1, 0])
    picture = draw.overlay(blank(), found, labels=False, size=0, alpha=1.0)
    assert tuple(picture[30, 40]) == PALETTE[1]


def test_labels_are_written_unless_there_are_many() -> None:
    boxes = [[20, 10, 50, 40]]
    with_label = draw.overlay(blank(), detections(boxes), size=400)
    without = draw.overlay(blank(), detections(boxes), size=400, labels=False)
    difference = (with_label != without).any(axis=2)
    assert difference.sum() > 200
    assert np.flatnonzero(difference.any(axis=1)).max() <= 52  # above the box, which starts at 50
    crowd = [[x, y, x + 3, y + 3] for x in range(2, 74, 9) for y in range(2, 54, 9)]
    assert len(crowd) > 40
    auto = draw.overlay(blank(), detections(crowd))
    np.testing.assert_array_equal(
        auto, draw.overlay(blank(), detections(crowd), labels=False, boxes=False)
    )
    assert (auto != draw.overlay(blank(), detections(crowd), labels=True)).any()


def test_labels_stay_in_the_picture_and_apart() -> None:
    """At the upper border there is no room above; the second label may not cover the first."""
    found = detections([[0, 0, 30, 20], [1, 0, 31, 20]], [0, 1])
    picture = draw.overlay(blank(), found, size=400, alpha=0, boxes=False)
    for color in PALETTE[:2]:
        behind_text = (picture == color).all(axis=2).sum()
        assert behind_text > 400, "a label is missing or hidden"


@pytest.mark.parametrize("name", ["$x_1$", "細胞", "a\nb", "%s {} <b>"])
def test_any_class_name_can_be_drawn(name: str) -> None:
    found = detections([[20, 10, 50, 40]], classes=(name, "dust"))
    assert draw.overlay(blank(), found).shape == (7 * 60, 7 * 80, 3)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of an image of \(60, 80\)"):
        draw.overlay(blank(61), detections([[0, 0, 5, 5]]))


def test_odd_boxes_do_not_harm() -> None:
    odd = [[-5, -5, 3, 3], [75, 55, 99, 99], [10, 10, 10, 10], [200, 200, 220, 220]]
    assert draw.overlay(blank(), detections(odd)).shape[2] == 3


def test_matplotlibs_global_state_is_not_touched() -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw.overlay(blank(), detections([[20, 10, 50, 40]]))
    assert before or "matplotlib.pyplot" not in sys.modules


# ---------------------------------------------------------------- target, compare, sheets


def test_target_and_detection_of_the_same_object_look_the_same() -> None:
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 10:40, 20:50] = True
    target = Target(np.array([[20, 10, 50, 40]], np.float32), np.array([1]), masks)
    options = {"labels": False, "size": 0}
    drawn = draw.draw_target(blank(), target, ("cell", "dust"), **options)
    found = draw.overlay(blank(), detections([[20, 10, 50, 40]], [1]), **options)
    assert (np.abs(drawn.astype(int) - found).max(axis=2) > 8).mean() < 0.01  # corners alone


def test_target_without_masks_with_crowds_or_of_another_size() -> None:
    boxes, labels = np.array([[20, 10, 50, 40]], np.float32), np.array([0])
    plain = draw.draw_target(blank(), Target(boxes, labels, None), ("cell", "dust"))
    crowd = SimpleNamespace(boxes=boxes, labels=labels, masks=None, crowd=np.array([True]))
    assert (draw.draw_target(blank(), crowd, ("cell", "dust")) != plain).any()
    with pytest.raises(ValueError, match=r"target\.masks"):
        draw.draw_target(blank(), Target(boxes, labels, np.zeros((1, 9, 9), bool)), ("cell",))


def test_compare_has_three_pictures_side_by_side() -> None:
    masks = np.ones((1, 60, 80), bool)
    target = Target(np.array([[0, 0, 80, 60]], np.float32), np.array([0]), masks)
    found = detections([[20, 10, 50, 40], [0, 0, 9, 9]], scores=[0.9, 0.1])
    sheet = draw.compare(blank(), target, found, size=0)
    assert sheet.shape == (8 + 24 + 60 + 8, 8 + 3 * 88, 3)
    first, second, third = (sheet[32:92, 8 + i * 88 : 88 + i * 88] for i in range(3))
    assert (first == GREY).all()
    np.testing.assert_array_equal(second, draw.draw_target(blank(), target, found.classes, size=0))
    np.testing.assert_array_equal(third, draw.overlay(blank(), found, min_score=0.5, size=0))


def test_contact_sheet() -> None:
    tiles = [np.full((10 + 5 * i, 20, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = draw.contact_sheet(tiles)
    assert sheet.shape[1] == 3 * 28 + 8  # 3 columns, 2 rows
    assert (sheet[8:18, 8:28] == 0).all() and (sheet[8:23, 36:56] == 40).all()
    assert (sheet[:8] == 255).all()
    long = draw.contact_sheet(tiles[:1], ["a title much longer than the picture"])
    assert long.shape == (8 + 24 + 10 + 8, 36, 3)
    with pytest.raises(ValueError, match="at least one"):
        draw.contact_sheet([])
    with pytest.raises(ValueError, match="titles: expected 5"):
        draw.contact_sheet(tiles, ["a"])


def test_cutouts() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    found = detections([[20, 10, 50, 40], [60, 20, 70, 30]], scores=[0.9, 0.3])
    first, second = draw.cutouts(image, found)
    assert first.shape == (30, 30, 4) and second.shape == (10, 10, 4)
    np.testing.assert_array_equal(first[..., :3], image[10:40, 20:50])
    assert (first[..., 3] == 255).all()
    assert len(draw.cutouts(image, found, min_score=0.5)) == 1
    (empty,) = draw.cutouts(image, detections([[1, 1, 5, 5]], probs=0.2))
    assert empty.shape == (0, 0, 4)
    (box,) = draw.cutouts(image, detections([[70.2, 50.1, 99, 99]], probs=None))
    np.testing.assert_array_equal(box[..., :3], image[50:, 70:])
    with pytest.raises(ValueError, match="of an image of"):
        draw.cutouts(image[:9], found)


def test_a_cutout_is_transparent_outside_the_mask() -> None:
    probs = np.zeros((1, 28, 28), np.float32)
    probs[0, :, :14] = 1  # the left half
    found = detections([[20, 10, 48, 38]])
    half = Detections(**{**found.__dict__, "mask_probs": probs})
    (piece,) = draw.cutouts(blank(), half)
    assert piece.shape == (28, 14, 4)


def test_images_are_written_whole_or_not_at_all(tmp_path) -> None:
    picture = blank()
    draw.save_image(tmp_path / "new" / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), picture)
    with pytest.raises(ValueError, match=r"'\.xyz'"):
        draw.save_image(tmp_path / "a.xyz", picture)
    with pytest.raises((OSError, ValueError, TypeError)):
        draw.save_image(tmp_path / "new" / "a.png", np.zeros((3, 3, 7), np.uint8))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_full_disk_leaves_the_old_picture_and_names_it(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    draw.save_image(path, blank())
    before = path.read_bytes()

    def full(path: pathlib.Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_to_disk", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/a\.png"):
        draw.save_image(path, blank() + 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == before


# ---------------------------------------------------------------- outlines, colors


def test_outlines_follow_the_mask() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:25, 8:32] = True
    mask[10:20, 15:25] = False  # a hole
    crop, corner = crop_of_mask(mask)
    assert crop.shape == (20, 24) and corner == (8, 5)
    (path,) = mask_paths(crop, corner)
    y, x = np.mgrid[:30, :40] + 0.5
    # even-odd through the sum of both rings: a pixel's center is inside where the mask is
    rings = path.to_polygons()
    assert len(rings) == 2
    from matplotlib.path import Path

    points = np.stack([x.ravel(), y.ravel()], 1)
    inside = np.logical_xor(*(Path(ring).contains_points(points) for ring in rings))
    assert (inside.reshape(30, 40) != mask).sum() <= 8  # the corners are rounded


def test_parts_are_outlined_singly_and_nothing_is_not() -> None:
    mask = np.zeros((9, 20), bool)
    mask[2:5, 2:5] = mask[2:8, 12:18] = True
    assert len(list(mask_paths(mask, (0, 0)))) == 2
    assert not list(mask_paths(np.zeros((9, 9), bool), (0, 0)))
    assert not list(mask_paths(np.zeros((0, 0), bool), (0, 0)))
    assert len(list(mask_paths(np.ones((1, 1), bool), (0, 0)))) == 1


def test_neighbors_differ_in_color() -> None:
    row = np.array([[10 * i, 0, 10 * i + 10, 10] for i in range(30)])
    colors = of_neighbors(row)
    assert all(a != b for a, b in itertools.pairwise(colors))
    assert len(set(colors)) == len(PALETTE)
    same = of_neighbors(np.tile([[0, 0, 9, 9]], (len(PALETTE), 1)))
    assert len(set(same)) == len(PALETTE)


def test_text_contrasts_with_its_ground() -> None:
    def luminance(color) -> float:
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color in PALETTE:
        text = 0.0 if text_on(color) == "black" else 1.0
        low, high = sorted((luminance(color), text))
        assert (high + 0.05) / (low + 0.05) >= 4.5, color


# ---------------------------------------------------------------- curves


def picture_of(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_loss_curves(tmp_path) -> None:
    rows = ["step,loss,loss_mask,lr,grad_norm"]
    rows += [f"{i},{5 / i},{1 / i},0.001,2" for i in range(1, 200)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join([*rows, "200,0.3"]))  # a line cut off by a kill
    draw.loss_curves(log, tmp_path / "losses.png")
    drawn = picture_of(tmp_path / "losses.png")
    assert drawn.shape[1] > 800 and (drawn < 40).all(axis=2).sum() > 500  # the black line
    log.write_text(rows[0] + "\n")
    draw.loss_curves(log, tmp_path / "empty.png")
    assert (drawn != picture_of(tmp_path / "empty.png")).any()
    log.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"log\.csv: expected a column 'step'"):
        draw.loss_curves(log, tmp_path / "losses.png")
    with pytest.raises(FileNotFoundError):
        draw.loss_curves(tmp_path / "none.csv", tmp_path / "losses.png")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".png", ".png"]


def test_ap_curves(tmp_path) -> None:
    table = tmp_path / "ap.csv"
    table.write_text("step,box_AP,box_AP50,mask_AP\n100,0.1,0.3,\n200,0.5,0.7,-1\n")
    draw.ap_curves(table, tmp_path / "ap.png")
    assert (picture_of(tmp_path / "ap.png") != 255).any()


def test_pr_curves(tmp_path) -> None:
    truth = {
        "images": [{"id": 1, "height": 60, "width": 80}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": c, "bbox": [9 * c, 5, 8, 8], "area": 64}
            for c in (1, 2)
        ],
        "categories": [
            {"id": 1, "name": "$cell"},
            {"id": 2, "name": "_dust"},
            {"id": 3, "name": "c"},
        ],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [9, 5, 8, 7], "score": 0.5}]
    draw.pr_curves(evaluate_detections(truth, found), tmp_path / "pr.png")
    assert picture_of(tmp_path / "pr.png").std() > 5
    draw.pr_curves(evaluate_detections({**truth, "annotations": []}, []), tmp_path / "none.png")


def test_legends_lie_beside_the_curves(tmp_path, monkeypatch) -> None:
    """Seen in the finished layout: no legend reaches into axes, or out of the picture."""
    figures = []
    save = curves._save

    def keep(figure, path) -> None:
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(curves, "_save", keep)
    names = [f"a class with a long name, the {k}th" for k in range(24)]
    truth = {
        "images": [{"id": 1, "height": 600, "width": 800}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
        "annotations": [
            {"image_id": 1, "category_id": k, "bbox": [9 * k, 5, 8, 8]} for k in range(24)
        ],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [9, 5, 8, 8], "score": 1}]
    draw.pr_curves(evaluate_detections(truth, found), tmp_path / "pr.png")
    log = tmp_path / "log.csv"
    log.write_text("step,loss,loss_mask,loss_classifier\n1,5,1,1\n2,1,1,2\n")
    draw.loss_curves(log, tmp_path / "losses.png")
    log.write_text("step,box_AP,box_AP50,mask_AP\n100,0.1,0.3,0.9\n200,0.5,0.7,0.8\n")
    draw.ap_curves(log, tmp_path / "ap.png")
    seen = 0
    for figure in figures:
        for axes in figure.axes:
            if axes.get_legend() is not None:
                box = axes.get_legend().get_window_extent()
                assert box.x1 <= figure.bbox.x1 and box.y0 >= figure.bbox.y0
                assert not any(box.overlaps(other.get_window_extent()) for other in figure.axes)
                seen += 1
    assert seen == 4


def test_running_mean() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0])
    np.testing.assert_allclose(_running_mean(values, 2), [1, 2, 3, 5])
