"""Suppression for a whole batch is suppression image by image."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minimask.kernels.nms import batched_nms
from minimask.models.suppression import suppress


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 1000))
def test_images_and_groups_do_not_meet(counts, seed):
    rng = np.random.default_rng(seed)
    corners = [rng.uniform(0, 20, (n, 2)) for n in counts]
    boxes = [np.concatenate([c, c + 10], axis=1).astype(np.float32) for c in corners]
    scores = [rng.random(n).astype(np.float32) for n in counts]
    groups = [rng.integers(0, 3, n) for n in counts]
    together = suppress(boxes, scores, groups, 0.5, 5)
    for b, s, g, kept in zip(boxes, scores, groups, together, strict=True):
        np.testing.assert_array_equal(kept, batched_nms(b, s, g, 0.5)[:5])


def test_by_hand():
    boxes = [np.array([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], np.float32)] * 2
    scores = [np.array([0.5, 0.9, 0.1], np.float32), np.array([0.9, 0.5, 0.95], np.float32)]
    same, other = np.zeros(3, int), np.array([0, 1, 0])
    kept = suppress(boxes, scores, [same, same], 0.5, 9)
    assert [k.tolist() for k in kept] == [[1, 2], [2, 0]]
    kept = suppress(boxes, scores, [other, other], 0.5, 2)
    assert [k.tolist() for k in kept] == [[1, 0], [2, 0]]
