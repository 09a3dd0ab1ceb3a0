"""Generated shapes: exact coverage, correct occlusion, reproducible items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.data.sample import boxes_of_masks
from minimask.data.shapes import Shapes
from minimask.data.shapes_drawing import FIELDS, GRID, rasterize

# area of each shape in the unit circle, worked out by hand
AREAS = {
    "circle": math.pi,
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 5 * 0.5 * math.sin(math.pi / 5),  # ten triangles between radius 1 and 0.5
    "ring": math.pi * (1 - 0.55**2),
    "cross": 2 * 1.88 * 0.68 - 0.68**2,
    "hexagon": 3 * math.sqrt(3) / 2,
}


@pytest.mark.parametrize("shape", AREAS)
def test_area_is_the_hand_computed_one(shape):
    patch = rasterize(shape, 60.3, 61.8, 40, 0.7)
    assert patch.points / GRID**2 / 40**2 == pytest.approx(AREAS[shape], rel=1e-3)


@pytest.mark.parametrize("shape", FIELDS)
@given(
    x=st.floats(30, 34),
    y=st.floats(30, 34),
    radius=st.floats(1, 20),
    angle=st.floats(0, 2 * math.pi),
)
def test_coverage_equals_sampling_every_point(shape, x, y, radius, angle):
    """Only pixels near the outline are sampled; sampling all must give the same numbers."""
    patch = rasterize(shape, x, y, radius, angle)
    places = (np.arange(64 * GRID) + 0.5) / GRID
    dx, dy = places[None, :] - x, places[:, None] - y
    u = (math.cos(angle) * dx + math.sin(angle) * dy) / radius
    v = (math.cos(angle) * dy - math.sin(angle) * dx) / radius
    everywhere = (FIELDS[shape](u, v) < 0).reshape(64, GRID, 64, GRID).mean(axis=(1, 3))
    drawn = np.zeros((64, 64))
    drawn[patch.window()] = patch.coverage
    # float32 may decide a point that lies on the outline otherwise
    assert np.abs(drawn - everywhere).max() <= 8 / GRID**2
    assert np.abs(drawn - everywhere).sum() <= 0.5


@pytest.mark.parametrize("shape", FIELDS)
def test_fields_change_by_at_most_the_distance(shape):
    """What makes it safe to sample only pixels with a small value."""
    rng = np.random.default_rng(0)
    a = rng.uniform(-1.5, 1.5, (2, 20000))
    step = rng.normal(0, 0.05, (2, 20000))
    change = np.abs(FIELDS[shape](*(a + step)) - FIELDS[shape](*a))
    assert (change <= np.hypot(*step) * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("shape", FIELDS)
def test_shapes_fill_their_circle_and_stay_inside(shape):
    """Every shape reaches the unit circle (so sizes compare) and never leaves its patch."""
    x, y = np.meshgrid(*[np.linspace(-1.2, 1.2, 481)] * 2)
    inside = FIELDS[shape](x, y) < 0
    reach = np.hypot(x[inside], y[inside]).max()
    assert 0.97 < reach <= 1.0005


def test_star_has_five_tips_and_five_notches():
    angles = np.arange(10) * math.pi / 5
    radius = np.where(np.arange(10) % 2, 0.5, 1.0)
    corner = FIELDS["star"](radius * np.sin(angles), radius * np.cos(angles))
    np.testing.assert_allclose(corner, 0, atol=1e-6)


def test_square_coverage_by_hand():
    """A 4 x 4 square from 2.25 to 6.25: edge pixels 3/4 and 1/4, corners their products."""
    patch = rasterize("square", 4.25, 4.25, 2 * math.sqrt(2), 0)
    drawn = np.zeros((9, 9))
    drawn[patch.window()] = patch.coverage
    line = np.array([0, 0, 0.75, 1, 1, 1, 0.25, 0, 0])
    np.testing.assert_allclose(drawn, np.outer(line, line), atol=1e-6)


def test_covering_is_exact_in_pixels_cut_by_both_outlines():
    """A shape under its own copy shows nothing: a product of coverages would leave a rim."""
    patch = rasterize("star", 20.2, 20.7, 9, 0.4)
    assert patch.without(patch).points == 0
    away = rasterize("star", 60, 60, 9, 0.4)
    assert patch.without(away).points == patch.points


@given(seed=st.integers(0, 10**6), index=st.integers(0, 10**6))
def test_items_are_complete_and_consistent(seed, index):
    sample = Shapes(seed=seed)[index]
    assert sample.image.shape == (128, 128, 3) and sample.image.dtype == np.uint8
    assert 1 <= len(sample) <= 5
    np.testing.assert_array_equal(sample.boxes, boxes_of_masks(sample.masks))
    assert sample.masks.sum(axis=0).max() <= 1  # visible parts do not overlap
    assert (sample.masks.sum(axis=(1, 2)) >= 12).all()
    assert set(sample.labels) <= set(range(4))


@given(
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    visible=st.floats(0, 0.95),
    most=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_any_size_and_any_crowding(height, width, visible, most, seed):
    shapes = Shapes(1, (height, width), seed, objects=(0, most), min_visible=visible)
    sample = shapes[0]
    assert sample.image.shape == (height, width, 3)
    assert sample.masks.shape == (len(sample), height, width)
    assert len(sample) <= most


@given(seed=st.integers(0, 500))
def test_every_object_shows_the_share_asked_for(seed):
    shapes = Shapes(seed=seed, objects=(8, 8), min_visible=0.6)
    rng = np.random.default_rng(seed)
    objects = shapes._place(rng, np.zeros(3, np.float32))
    assert all(item.patch.points >= 0.6 * item.points for item in objects)


def test_without_a_limit_some_objects_hide():
    shapes = Shapes(objects=(30, 30), min_visible=0.0)
    objects = shapes._place(np.random.default_rng(0), np.zeros(3, np.float32))
    assert len(objects) == 30
    assert len(shapes[0]) < 30  # those with almost nothing visible are not annotated


def test_item_depends_only_on_seed_and_index():
    forwards = [Shapes(seed=3)[i] for i in range(4)]
    shapes = Shapes(10, seed=3)
    backwards = [shapes[i] for i in (3, 2, 1, 0)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.masks, b.masks)
    images = [Shapes(seed=s)[i].image for s in (0, 1) for i in (0, 1)]
    for i, a in enumerate(images):
        assert all(not np.array_equal(a, b) for b in images[:i])


def test_plain_objects_have_one_color_where_they_are_whole():
    """What is painted is where the mask says: inside plain objects all pixels are equal."""
    shapes = Shapes(seed=0, texture=0.0, noise=0.0)
    for index in range(20):
        sample = shapes[index]
        for mask in sample.masks:
            inner = np.pad(mask, 1)
            inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:] & mask
            inner = np.pad(inner, 1)
            inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
            colors = np.unique(sample.image[inner], axis=0)
            assert len(colors) <= 1


def test_mask_is_where_at_least_half_the_pixel_shows_the_object():
    """The painted colors, unmixed, give the coverage; the mask is that above a half."""
    shapes = Shapes(seed=4, texture=0.0, noise=0.0, objects=(1, 1))
    edges = 0
    for index in range(30):
        sample = shapes[index]
        image = sample.image.astype(float)
        mask = sample.masks[0]
        behind = image[np.where(mask[0, 0], 127, 0), 0]
        rows, columns = np.nonzero(mask)
        color = image[int(rows.mean()), int(columns.mean())]
        away = color - behind
        coverage = (image - behind) @ away / (away @ away)
        sure = np.abs(coverage - 0.5) > 0.03
        np.testing.assert_array_equal(mask[sure], coverage[sure] > 0.5)
        edges += int(((coverage > 0.03) & (coverage < 0.97)).sum())
    assert edges > 30 * 40  # outlines are anti-aliased


def test_color_tells_nothing_about_the_class():
    """The mean color of each class is the same, up to chance."""
    shapes = Shapes(seed=5, texture=0.0, noise=0.0)
    colors: list[list[np.ndarray]] = [[], [], [], []]
    for i in range(250):
        sample = shapes[i]
        for label, mask in zip(sample.labels, sample.masks, strict=True):
            colors[label].append(sample.image[mask].mean(axis=0))
    means = np.array([np.mean(c, axis=0) for c in colors])
    spread = means.max(axis=0) - means.min(axis=0)
    assert (spread < 30).all(), spread  # one object's color varies by 74; about 180 per class


def test_infinite_and_fixed():
    with pytest.raises(TypeError, match="give Shapes a count"):
        len(Shapes())
    fixed = Shapes(3)
    assert len(fixed) == 3 and len(list(fixed)) == 3
    with pytest.raises(IndexError):
        fixed[3]
    assert fixed.coco() is fixed.coco()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("circle", "heart")}, "no shape 'heart'; there are circle, square"),
        ({"classes": ("star", "star")}, "different names"),
        ({"size": 8}, "size: expected at least 16 pixels"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"objects": (3, 2)}, r"objects: expected .* got \(3, 2\)"),
        ({"object_size": (0.5, 0.1)}, "object_size"),
        ({"min_visible": 1.0}, "min_visible"),
        ({"texture": 2.0}, "texture: expected 0 to 1, got 2.0"),
        ({"noise": -1.0}, "noise"),
        ({"count": -1}, "count"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Shapes(**options)


def test_coco_gives_back_the_same_masks():
    from pycocotools import mask as rle

    from minimask.data.segmentation import decode

    shapes = Shapes(5, seed=2, classes=("ring", "moon", "cross"))
    truth = shapes.coco()
    assert [c["name"] for c in truth["categories"]] == ["ring", "moon", "cross"]
    for sample in shapes:
        mine = [a for a in truth["annotations"] if a["image_id"] == sample.image_id]
        assert [a["category_id"] - 1 for a in mine] == sample.labels.tolist()
        for annotation, mask, box in zip(mine, sample.masks, sample.boxes, strict=True):
            np.testing.assert_array_equal(decode(annotation["segmentation"], 128, 128), mask)
            assert annotation["area"] == mask.sum()
            np.testing.assert_array_equal(
                rle.toBbox(annotation["segmentation"]), annotation["bbox"]
            )
            assert annotation["bbox"][0] + annotation["bbox"][2] == box[2]


def test_without_rotation_squares_fill_their_boxes():
    def shares(rotation):
        shapes = Shapes(
            8,
            seed=3,
            classes=("square",),
            objects=(1, 1),
            object_size=(0.4, 0.4),
            rotation=rotation,
        )
        for i in range(8):
            sample = shapes[i]
            x0, y0, x1, y1 = sample.boxes[0]
            yield sample.masks[0].sum() / ((x1 - x0) * (y1 - y0))

    assert min(shares(0.0)) > 0.97
    assert min(shares(45.0)) < 0.9
