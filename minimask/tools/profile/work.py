"""What is profiled: a training step or a prediction that computes the same each time.

Letters: R objects, H W height and width of the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minimask.autograd.hooks import Recorder, hooked, stage
from minimask.data.keypoints import spread_keypoints
from minimask.data.sample import Sample, boxes_of_masks, skeleton_of
from minimask.data.shapes import Shapes
from minimask.train.settings import TrainSettings
from minimask.train.step import Trainer

CANDIDATES = 10  # detections before suppression, for each one kept: as trained networks have


def training_step(
    model: Any, settings: TrainSettings, samples: Sequence[Sample]
) -> Callable[[], None]:
    """A step of `minimask train` on one batch, with a learning rate of 0: the weights stay.

    The optimizer works as always, and chance chooses the same anchors and regions each time.
    """
    trainer = Trainer(model, dataclasses.replace(settings, lr=0.0, accumulate=1))

    def step() -> None:
        trainer.step = 0  # what chance depends on
        trainer.advance([samples])

    return step


def inference(model: Any, images: Sequence[np.ndarray]) -> Callable[[], None]:
    """A prediction with the masks of all objects drawn."""

    def predict() -> None:
        for found in model.predict(images, batch_size=len(images)):
            if found.mask_probs is not None:
                with stage("mask results"):
                    _ = found.masks

    return predict


def generated(size: tuple[int, int], count: int, num_labels: int) -> list[Sample]:
    """Generated images of (height, width), with their objects; labels below `num_labels`."""
    data = Shapes(count, size, seed=0)
    samples = [data[i] for i in range(count)]
    return [dataclasses.replace(s, labels=s.labels % num_labels) for s in samples]


def with_objects(image: np.ndarray) -> Sample:
    """An image with four ellipses for objects, one in each quarter: something to train on."""
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    masks = np.stack(
        [
            ((y + 0.5) / height - v) ** 2 + ((x + 0.5) / width - u) ** 2 < 0.15**2
            for v in (0.25, 0.75)
            for u in (0.25, 0.75)
        ]
    )
    return Sample(image, boxes_of_masks(masks), np.zeros(4, np.int64), masks)


def fit_keypoints(samples: Sequence[Sample], model: Any) -> list[Sample]:
    """The samples with as many keypoints as the model learns, if it learns any."""
    skeleton = skeleton_of(model)
    if skeleton is None:
        return list(samples)
    count = len(skeleton)
    return [dataclasses.replace(s, keypoints=spread_keypoints(s.boxes, count)) for s in samples]


def find_something(model: Any, image: np.ndarray) -> float:
    """Lower the score threshold of an untrained network so far that it finds objects.

    It is sure of nothing, and without objects there would be no masks to measure.  About
    `CANDIDATES` times as many boxes as are kept in the end pass the new threshold.

    Returns:
        The new threshold.
    """
    heads = model.selection
    with hooked(Recorder()) as recorder:
        model.predict([image])
    (candidates,) = (recorder.values("det/candidates") or [[None]])[-1]
    if candidates is None:  # not even proposals
        return float(heads.score_thresh)
    objects = candidates.probabilities
    if heads.background_class is not None:
        objects = np.delete(objects, heads.background_class, axis=1)
    scores = np.sort(objects.ravel())
    count = min(CANDIDATES * heads.detections_per_img, len(scores))
    heads.score_thresh = min(float(heads.score_thresh), float(scores[-count]) * (1 - 1e-6))
    return heads.score_thresh
