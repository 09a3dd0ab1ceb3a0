"""Polygons go with their masks: through a file, flips, crops, resizes and turns."""

import json

import numpy as np
import pytest
from PIL import Image

from minimask.data import ObjectMasks
from minimask.data.annotated import open_annotations
from minimask.data.geometric import Affine, warp
from minimask.data.mask_outlines import outline_of
from minimask.data.segmentation import decode, to_run_lengths
from minimask.data.transforms import Flip, RandomCrop, Transpose, VerticalFlip, resize
from minimask.models import mask_head
from minimask.models.transform import ImageTransform, resize_target

HEIGHT, WIDTH = 60, 80
POLYGONS = [[[10.5, 8.0, 50.25, 12.0, 40.0, 44.5, 12.0, 30.0]], [[60, 20, 75, 20, 75, 50, 60, 50]]]


@pytest.fixture
def sample(tmp_path):
    """An image with two polygons, and one object of run lengths."""
    runs = to_run_lengths([[2, 50, 20, 50, 20, 58, 2, 58]], HEIGHT, WIDTH)
    drawn = [*POLYGONS, {"size": runs["size"], "counts": runs["counts"].decode()}]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": s, "bbox": box}
        for i, (s, box) in enumerate(
            zip(drawn, ([10, 8, 41, 37], [60, 20, 15, 30], [2, 50, 18, 8]), strict=True), 1
        )
    ]
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.png")
    file = tmp_path / "instances.json"
    image = {"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 1, "name": "thing"}]
    file.write_text(
        json.dumps({"images": [image], "annotations": annotations, "categories": categories})
    )
    return open_annotations(file, tmp_path)[0]


def agree(masks, least=0.9):
    """Each mask is about what its outline encloses."""
    known = 0
    for i in range(len(masks)):
        if masks.outline(i) is None:
            continue
        known += 1
        polygons = [p.ravel().tolist() for p in masks.outline(i)]
        drawn = decode(polygons, *masks.shape[1:])
        assert (drawn & masks[i]).sum() >= least * (drawn | masks[i]).sum()
    assert known
    return known


def test_a_file_gives_outlines_where_it_has_polygons(sample):
    masks = sample.target.masks
    assert [masks.outline(i) is None for i in range(3)] == [False, False, True]
    np.testing.assert_array_equal(masks.outline(0)[0].ravel(), POLYGONS[0][0])
    assert agree(masks, 1) == 2
    assert masks[[2, 0]].outline(1) is masks.outline(0)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: Flip(1.0)(s, np.random.default_rng(0)),
        lambda s: VerticalFlip(1.0)(s, np.random.default_rng(0)),
        lambda s: Transpose(1.0)(s, np.random.default_rng(0)),
        lambda s: RandomCrop(50, 70)(s, np.random.default_rng(0)),
        lambda s: resize(s, 90, 100),
        lambda s: warp(s, Affine.rotation(20, HEIGHT, WIDTH), HEIGHT, WIDTH),
        lambda s: warp(s, Affine.scaling(0.8, 0.8, 5, 3), HEIGHT, WIDTH),
    ],
    ids=["flip", "vertical", "transpose", "crop", "resize", "turn", "jitter"],
)
def test_outlines_move_as_their_masks_do(sample, change):
    assert agree(change(sample).masks) == 2


def test_a_flip_twice_gives_the_same_outline(sample):
    flip, rng = Flip(1.0), np.random.default_rng(0)
    twice = flip(flip(sample, rng), rng).masks.contiguous()
    np.testing.assert_array_equal(twice.outline(0)[0], sample.masks.outline(0)[0])


def test_outlines_in_the_networks_input(sample):
    transform = ImageTransform((HEIGHT, WIDTH), (120, 160), (8, 4))
    moved = resize_target(sample.target, transform, (192, 192)).masks
    expected = sample.masks.outline(0)[0] * 2 + (4, 8)
    np.testing.assert_allclose(moved.outline(0)[0], expected)
    assert agree(moved) == 2


def test_rows_and_columns_in_any_order_have_no_outline(sample):
    assert sample.masks[:, np.arange(HEIGHT)[::2]].outline(0) is None
    assert sample.masks[:, ::2].outline(0) is None


def test_an_outline_for_every_mask():
    crops = [np.ones((2, 2), bool)] * 2
    with pytest.raises(ValueError, match="2 masks, but 1 outlines"):
        ObjectMasks(crops, [(0, 0)] * 2, 4, 4, [None])


def test_targets_from_polygons_and_for_the_rest_from_pixels(sample):
    """The object of run lengths gets what it gets from bitmaps, the others their polygons."""
    masks, boxes = sample.masks, sample.boxes
    how = {"aligned": True}
    drawn = mask_head.mask_targets(masks, boxes, np.arange(3), 28, target="polygon", **how)
    hard = mask_head.mask_targets(masks, boxes, np.arange(3), 28, target="hard", **how)
    np.testing.assert_array_equal(drawn[2], hard[2])
    assert 0 < np.abs(drawn[0] - hard[0]).sum() < 60
    arrays = mask_head.mask_targets(
        np.asarray(masks), boxes, np.arange(3), 28, target="polygon", **how
    )
    np.testing.assert_array_equal(arrays, hard)
    scaled = [[(np.array(POLYGONS[0][0]).reshape(-1, 2) - boxes[0, :2])]]
    scaled = scaled[0][0] * (28 / (boxes[0, 2:] - boxes[0, :2]))
    np.testing.assert_array_equal(drawn[0], decode([scaled.ravel().tolist()], 28, 28))


def test_a_box_without_width_counts_as_a_tenth_of_a_pixel():
    from minimask.models.polygon_targets import polygon_targets

    outline = outline_of(POLYGONS[1])
    box = np.array([[65, 20, 65, 50]], np.float32)
    target = polygon_targets([outline], box, 28)
    np.testing.assert_array_equal(
        target, polygon_targets([outline], box + np.float32([0, 0, 0.1, 0]), 28)
    )
    assert target.all()
