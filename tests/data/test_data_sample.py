"""What a model learns from a sample."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from minimask import models
from minimask.data import Sample, Target, boxes_of_masks


def two_objects(crowd=()) -> Sample:
    """An image of 4 x 6 pixels with a square of class 2 and a column of class 0."""
    masks = np.zeros((2, 4, 6), bool)
    masks[0, 1:3, 1:3] = masks[1, :, 5] = True
    image = np.zeros((4, 6, 3), np.uint8)
    return Sample(image, boxes_of_masks(masks), np.array([2, 0]), masks, np.array(crowd, bool))


def test_target_holds_the_objects_themselves() -> None:
    sample = two_objects()
    target = sample.target
    assert isinstance(target, Target)
    assert target.boxes is sample.boxes and target.labels is sample.labels
    assert target.masks is sample.masks


def test_crowds_are_no_targets() -> None:
    sample = two_objects(crowd=[False, True])
    target = sample.target
    assert target.boxes.tolist() == [[1, 1, 3, 3]] and target.labels.tolist() == [2]
    assert target.masks.shape == (1, 4, 6) and target.masks.sum() == 4
    assert len(sample) == 2
    assert len(two_objects(crowd=[True, True]).target.labels) == 0


def test_models_and_data_share_one_target_and_data_needs_no_model() -> None:
    assert models.Target is Target
    code = (
        "import sys; import minimask.data.sample, minimask.data.loader, minimask.data.coco; "
        "print([name for name in sys.modules if name.startswith('minimask.models')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
