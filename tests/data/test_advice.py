"""Settings computed from the data: each follows what it is computed from."""

from __future__ import annotations

import pathlib

import pytest

from minimask.data.advice import advise
from minimask.data.annotations import Annotations
from minimask.data.segmentation import rectangle
from minimask.data.soundness import examine


def advice_for(images=30, objects=3, side=40, width=640, height=480, crowd=0):
    entries = [
        {"id": i, "file_name": f"{i}.png", "width": width, "height": height} for i in range(images)
    ]
    annotations = [
        {"id": i * objects + j, "image_id": i, "category_id": 1, "iscrowd": crowd}
        | {"segmentation": [rectangle([10, 10, side, side])]}
        for i in range(images)
        for j in range(objects)
    ]
    categories = [{"id": 1, "name": "thing"}]
    return advise(examine(Annotations(pathlib.Path("a"), "coco", entries, annotations, categories)))


def test_small_objects_want_large_images() -> None:
    assert advice_for(side=60).size == 256  # 60 of 640 pixels: 24 in the input
    assert advice_for(side=20).size == 512  # 16 in the input
    assert advice_for(side=10).size == 640  # enlarging shows nothing new
    assert advice_for(side=10, width=4000, height=3000).size == 1024
    assert advice_for(width=100, height=90).size == 128


def test_anchors_begin_at_the_smallest_and_grow() -> None:
    anchors = advice_for(side=60).anchors
    assert anchors[0] == 24 and anchors[-1] == 96 and list(anchors) == sorted(set(anchors))
    assert len(advice_for(side=2).anchors) == 5


def test_detections_leave_room_for_the_fullest_image() -> None:
    assert advice_for(objects=60).detections is None
    assert advice_for(images=2, objects=111).detections == 200
    assert advice_for(images=2, objects=300).detections == 450


@pytest.mark.parametrize(
    ("images", "passes"), [(30, 60), (1000, 60), (10_000, 18.97), (40_000, 12)]
)
def test_passes_over_the_images(images, passes) -> None:
    advice = advice_for(images=images, objects=1)
    assert advice.steps * advice.batch / images == pytest.approx(passes, rel=0.02)
    assert ("photometric" in advice.augment) == (images <= 1000)


def test_few_images_still_get_some_steps() -> None:
    advice = advice_for(images=2)
    assert (advice.batch, advice.steps) == (2, 200)
    assert "--batch 2 --steps 200 --augment flip,scale,photometric" in " ".join(advice.options())
    assert "--detections" not in advice.options()


def test_nothing_to_learn_from() -> None:
    assert advice_for(crowd=1) is None and advice_for(objects=0) is None
