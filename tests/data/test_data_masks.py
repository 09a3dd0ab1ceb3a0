"""Masks kept as crops are, number for number, the array they stand for."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as rle

from minimask.data import Sample, Target, boxes_of_masks
from minimask.data.mask_values import as_bool, as_masks
from minimask.data.masks import ObjectMasks
from minimask.data.run_lengths import decode_columns
from minimask.data.sample import check_target, coco_ground_truth, encode_masks
from minimask.draw.outlines import crops_of_masks
from minimask.models.mask_head import mask_targets
from minimask.models.transform import ImageTransform, resize_target


@st.composite
def arrays(draw) -> np.ndarray:
    """0 to 4 masks of 1 to 12 pixels a side: empty ones, single pixels, anything, everything."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(["empty", "pixel", "any", "full"]), max_size=4))
    masks = np.zeros((len(kinds), height, width), bool)
    for mask, kind in zip(masks, kinds, strict=True):
        if kind == "pixel":
            mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
        elif kind == "any":
            mask[:] = draw(npst.arrays(bool, mask.shape))
        elif kind == "full":
            mask[:] = True
    return masks


def crops_of(dense: np.ndarray) -> ObjectMasks:
    return ObjectMasks.from_masks(dense, *dense.shape[1:])


def same(found, wanted: np.ndarray) -> None:
    """Equal in shape, type and every number, and kept in tight crops."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_array_equal(np.asarray(found), wanted)
    if isinstance(found, ObjectMasks):
        for i, mask in enumerate(wanted):
            crop, _ = found.crop(i)
            assert crop.size == 0 or (
                crop[0].any() and crop[-1].any() and crop[:, 0].any() and crop[:, -1].any()
            )
            assert crop.any() == mask.any()


@given(arrays())
def test_is_the_array(dense):
    masks = crops_of(dense)
    same(masks, dense)
    same(masks.copy(), dense)
    same(masks.contiguous(), dense)
    same(pickle.loads(pickle.dumps(masks)), dense)
    same(copy.deepcopy(masks), dense)
    assert (len(masks), masks.ndim, masks.size) == (len(dense), 3, dense.size)
    for mask, wanted in zip(masks, dense, strict=True):
        same(mask, wanted)
    np.testing.assert_array_equal(masks.boxes(), boxes_of_masks(dense))
    assert masks.boxes().dtype == np.float32 and masks.boxes().shape == (len(dense), 4)
    np.testing.assert_array_equal(masks.areas(), dense.sum(axis=(1, 2)))


@given(arrays(), st.data())
def test_indexing_is_numpys(dense, data):
    masks = crops_of(dense)

    def places(size):
        if data.draw(st.booleans()):
            return data.draw(st.slices(size))
        if size == 0:
            return np.zeros(0, np.int64)
        return np.array(data.draw(st.lists(st.integers(-size, size - 1), max_size=8)), np.int64)

    objects, rows, columns = (places(size) for size in dense.shape)
    for key in (
        objects,
        (slice(None), rows),
        (slice(None), slice(None), columns),
        (slice(None, None, -1), slice(None), columns),
    ):
        found = masks[key]
        assert isinstance(found, ObjectMasks)
        same(found, dense[key])
    some = data.draw(npst.arrays(bool, len(dense)))
    same(masks[some], dense[some])
    same(masks[some.nonzero()[0].tolist()], dense[some])
    y, x = (
        np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=9)), int)
        for n in dense.shape[1:]
    )
    for key in ((slice(None), y[:, None], x), np.ix_(np.arange(len(dense)), y, x)):
        found = masks[key]
        assert isinstance(found, ObjectMasks)
        same(found, dense[key])
    both = masks[objects, ::-1, 1:]
    same(both, dense[objects, ::-1, 1:])


@given(arrays().filter(len))
def test_other_indices_are_numpys_too(dense):
    masks = crops_of(dense)
    last = len(dense) - 1
    for key in (
        (0, 0),
        (last, slice(None), 0),
        (-1,),
        (slice(None), 0),
        (slice(None), slice(None), -1),
        (..., 0),
        dense,
        ([0, last], [0, 0]),
        ([0, last], [0, 0], [0, 0]),
        (np.array([0]), slice(None), np.array([0])),
        (None, 0),
    ):
        same(np.asarray(masks[key]), dense[key])
    same(masks[np.int64(0)], dense[0])
    with pytest.raises(IndexError, match="object 9 of"):
        masks[9]


@given(arrays())
def test_reductions_and_arithmetic_are_numpys(dense):
    masks = crops_of(dense)
    for axis in (None, 0, 1, 2, -1, (1, 2), (0, 1), (2, 0), (-2, -1), (0, 1, 2)):
        for keepdims in (False, True):
            options = {"axis": axis, "keepdims": keepdims}
            same(np.asarray(masks.any(**options)), np.asarray(dense.any(**options)))
            same(np.asarray(masks.sum(**options)), np.asarray(dense.sum(**options)))
    assert type(masks.any()) is type(dense.any())
    same(np.any(masks, axis=0), dense.any(axis=0))
    same(np.sum(masks, axis=0, dtype=np.float32), dense.sum(axis=0, dtype=np.float32))
    same(masks == dense, np.ones_like(dense))
    same(dense == masks, np.ones_like(dense))
    same(~masks, ~dense)
    same(masks & masks[::-1], dense & dense[::-1])
    same(masks * 2, dense * 2)
    same(masks.astype(np.uint8), dense.astype(np.uint8))
    same(masks.astype(bool), dense)
    same(masks.transpose(0, 2, 1), dense.transpose(0, 2, 1))
    assert isinstance(masks.transpose((0, 2, 1)), ObjectMasks)
    same(masks.transpose(1, 2, 0), dense.transpose(1, 2, 0))
    assert masks.all() == dense.all() and masks.tolist() == dense.tolist()


@given(arrays(), st.integers(1, 15), st.integers(1, 15), st.integers(-15, 15), st.integers(-15, 15))
def test_placed_in_another_image(dense, height, width, y, x):
    wanted = np.zeros((len(dense), height, width), bool)
    for i, row, column in np.argwhere(dense):
        if 0 <= row + y < height and 0 <= column + x < width:
            wanted[i, row + y, column + x] = True
    same(crops_of(dense).placed(height, width, y, x), wanted)


@given(arrays())
def test_run_lengths_there_and_back(dense):
    masks = crops_of(dense)
    runs = encode_masks(masks)
    assert runs == encode_masks(dense)  # as pycocotools writes them
    same(ObjectMasks.from_run_lengths(runs, *dense.shape[1:]), dense)
    as_bytes = [{**run, "counts": run["counts"].encode()} for run in runs]
    same(ObjectMasks.from_run_lengths(as_bytes, *dense.shape[1:]), dense)


def test_run_lengths_of_no_length():
    """Runs without a pixel, as other programs write them; pycocotools' toBbox stumbles on them."""
    counts = [0, 0, 7, 0, 2, 3, 0, 2, 6]
    (run,) = [rle.frPyObjects({"size": [5, 4], "counts": counts}, 5, 4)]
    masks = ObjectMasks.from_run_lengths([run], 5, 4)
    wanted = np.zeros(20, bool)
    wanted[9:14] = True
    same(masks, wanted.reshape(4, 5).T[None])
    with pytest.raises(ValueError, match="no run lengths of 5 x 5 pixels"):
        decode_columns(run["counts"], 5, 5)
    with pytest.raises(ValueError, match="no run lengths"):
        decode_columns("\x7f\x7f", 5, 5)


def test_only_the_objects_are_kept():
    """Two objects of 3 x 3 pixels on a photo: bytes for them, not for the photo."""
    dense = np.zeros((2, 300, 400), bool)
    dense[0, 5:8, 7:10] = dense[1, 250:253, 390:393] = True
    masks = crops_of(dense)
    assert masks.nbytes == 18
    assert all(masks.crop(i)[0].base is None for i in range(2))  # the array can be forgotten
    assert masks[:, ::-1, ::-1].nbytes == masks.transpose(0, 2, 1).nbytes == 18
    runs = encode_masks(masks)
    again = ObjectMasks.from_run_lengths(runs, 300, 400)
    assert again.nbytes == 18 and all(again.crop(i)[0].base is None for i in range(2))


def test_a_photo_of_450_objects_fits_into_little_memory():
    """From run lengths to the targets of 128 RoIs; the masks as an array would take 5.5 GB."""
    height, width = 3024, 4032
    corners = [(x * 160 + 10, y * 165 + 10) for x in range(25) for y in range(18)]
    squares = [[x, y, x + 120, y, x + 120, y + 120, x, y + 120] for x, y in corners]
    runs = rle.frPyObjects([[float(v) for v in square] for square in squares], height, width)
    boxes = np.float32([[x, y, x + 120, y + 120] for x, y in corners])
    first = np.ones((1, 4, 4), np.uint8)
    mask_targets(first, boxes[:1], np.zeros(1, int), 28)  # what is compiled is not counted
    tracemalloc.start()
    masks = ObjectMasks.from_run_lengths(runs, height, width)
    target = Target(boxes, np.zeros(450, int), masks)
    check_target(target, np.zeros((height, width, 3), np.uint8), 1, "targets[0]")
    resized = resize_target(target, ImageTransform((height, width), (384, 512)), (384, 512))
    matched = np.arange(128)
    found = mask_targets(resized.masks, resized.boxes[:128], matched, 28)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert masks.nbytes == 450 * 120 * 120 and found.mean() > 0.9
    # the image of the check (37 MB), and 128 masks of the network's size as bytes and as float32
    assert peak < 37e6 + 128 * 384 * 512 * 5 + 30e6


def test_a_mask_cannot_be_changed_by_a_copy_of_it():
    masks = crops_of(np.ones((1, 2, 2), bool))
    with pytest.raises(ValueError, match="read-only"):
        masks[0][0, 0] = False
    with pytest.raises(AttributeError, match=r"no attribute 'fill'; np\.asarray"):
        masks.fill(0)
    with pytest.raises(TypeError, match="item assignment"):
        masks[0] = False


def test_crops_that_do_not_fit():
    with pytest.raises(ValueError, match=r"3 x 3 pixels at row 3, column 0 .* 5 x 5"):
        ObjectMasks([np.ones((3, 3), bool)], [(3, 0)], 5, 5)
    with pytest.raises(ValueError, match="expected"):
        ObjectMasks.from_masks(np.ones((1, 3, 3), bool), 5, 5)


# ---- where masks are used


@given(arrays(), st.integers(1, 20), st.integers(1, 20), st.integers(0, 3))
def test_the_network_gets_the_same(dense, height, width, offset):
    count, size = len(dense), (height + offset + 2, width + offset + 1)
    boxes = np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    labels = np.zeros(count, np.int64)
    transform = ImageTransform(dense.shape[1:], (height, width), (offset, offset))
    wanted = resize_target(Target(boxes, labels, dense), transform, size)
    found = resize_target(Target(boxes, labels, crops_of(dense)), transform, size)
    assert isinstance(found.masks, ObjectMasks) and wanted.masks.dtype == np.uint8
    same(found.masks, wanted.masks.astype(bool))


@pytest.mark.parametrize("together", [1, 2 * 40 * 50, 2**26])
@pytest.mark.parametrize("target", ["soft", "hard"])
def test_mask_targets_are_the_same_however_many_at_a_time(together, target, monkeypatch):
    rng = np.random.default_rng(0)
    dense = rng.random((7, 40, 50)) < 0.5
    start = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([start, start + rng.uniform(1, 15, (20, 2))], axis=1).astype(np.float32)
    matched = rng.choice([0, 2, 3, 6], 20)
    wanted = mask_targets(dense.view(np.uint8), boxes, matched, 28, target=target)
    # the definition: each RoI cut out of its object alone
    for i, (box, own) in enumerate(zip(boxes, matched, strict=True)):
        alone = mask_targets(
            dense[own][None].view(np.uint8), box[None], np.zeros(1, int), 28, target=target
        )
        np.testing.assert_array_equal(wanted[i], alone[0])
    monkeypatch.setattr("minimask.models.mask_head.TOGETHER", together)
    for masks in (dense, dense.view(np.uint8), crops_of(dense)):
        found = mask_targets(masks, boxes, matched, 28, target=target)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


@given(arrays())
def test_a_sample_of_crops_says_the_same(dense):
    dense = dense[dense.any(axis=(1, 2))]
    image = np.zeros((*dense.shape[1:], 3), np.uint8)
    count = len(dense)
    crowd = np.arange(count) % 3 == 2
    samples = [
        Sample(image, boxes_of_masks(masks), np.arange(count), masks, crowd)
        for masks in (dense, crops_of(dense))
    ]
    plain, crops = samples
    same(crops.target.masks, plain.target.masks)
    same(crops.contiguous().masks, dense)
    same(crops.keep(crowd).masks, dense[crowd])
    check_target(crops.target, image, max(count, 1), "targets[0]")
    first, second = (coco_ground_truth([s], list("abcd"), [1, 2, 3, 4]) for s in samples)
    assert first == second
    for (a, corner), (b, other) in zip(
        crops_of_masks(dense), crops_of_masks(crops.masks), strict=True
    ):
        same(a, b)
        assert corner == other


# ---- which arrays are masks


@pytest.mark.parametrize(
    ("kind", "white"),
    [(np.uint8, 255), (np.uint8, 1), (np.uint16, 65535), (np.int64, 1), (np.int32, 7), (bool, 1)],
)
def test_what_is_not_zero_is_inside(kind, white):
    dense = np.zeros((2, 3, 4), bool)
    dense[0, 1, 2] = dense[1, :2] = True
    masks = dense.astype(kind) * kind(white)
    same(as_bool(masks, "masks"), dense)
    boxes, labels, image = boxes_of_masks(dense), np.zeros(2, int), np.zeros((3, 4, 3), np.uint8)
    same(Sample(image, boxes, labels, masks).masks, dense)
    target = Target(boxes, labels, masks)
    same(np.asarray(target.masks).astype(bool), dense)
    assert target.masks.dtype in (bool, np.uint8) and target.masks.max() == 1
    target.masks = masks  # put there afterwards: known to the network alone
    resized = resize_target(target, ImageTransform((3, 4), (3, 4)), (3, 4)).masks
    same(resized, dense.view(np.uint8))


def test_of_no_objects_any_array_will_do():
    for kind in (bool, np.uint8, float, np.int64):
        none = as_masks(np.zeros((0, 3, 4), kind), "masks")
        assert none.shape == (0, 3, 4) and none.dtype in (bool, np.uint8)


def test_each_mask_has_its_own_number():
    labels = np.array([[0, 1, 1], [3, 0, 3]])
    ids = np.array([1, 3])
    masks = (labels == ids[:, None, None]) * ids[:, None, None]
    same(as_masks(masks, "masks"), labels == ids[:, None, None])


SOFT = np.array([[[0, 100, 255]]], np.uint8)
WRONG = {
    "float": (np.ones((1, 1, 3)), TypeError, "expected bool, got float64; .* masks > 0.5"),
    "nan": (np.full((1, 1, 3), np.nan, np.float32), TypeError, "float32 with NaN in it"),
    "half": (np.ones((1, 1, 3), np.float16), TypeError, "got float16"),
    "soft": (SOFT, ValueError, r"2 values besides 0 \(100, 255\).* masks >= 128"),
    "labels": (np.array([[[0, 1, 2]]]), ValueError, "2 values besides 0 .* image of labels"),
    "negative": (np.array([[[0, -1, 1]]]), ValueError, r"besides 0 \(-1, 1\)"),
    "label image": (np.array([[0, 1, 2]]), ValueError, r"expected shape \(R, H, W\), got \(1, 3\)"),
    "list": ([np.ones((1, 3), bool)], TypeError, r"got list; .* np\.stack"),
    "text": (np.full((1, 1, 3), "x"), TypeError, "expected bool, got <U1"),
    "objects": (np.full((1, 1, 3), None), TypeError, "expected bool, got object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_could_mean_several_things_is_refused_at_every_door(name):
    masks, error, sentence = WRONG[name]
    image, boxes, labels = (
        np.zeros((1, 3, 3), np.uint8),
        np.float32([[0, 0, 3, 1]]),
        np.zeros(1, int),
    )
    with pytest.raises(error, match=f"Sample.masks.*{sentence}"):
        Sample(image, boxes, labels, masks)
    with pytest.raises(error, match=f"Target.masks.*{sentence}"):
        Target(boxes, labels, masks)
    target = Target(boxes, labels, np.ones((1, 1, 3), bool))
    target.masks = masks
    with pytest.raises(error, match=rf"targets\[0\].masks.*{sentence}"):
        check_target(target, image, 1, "targets[0]")
