"""Which anchors are learned from: all, or those that do not leave the image."""

import numpy as np

import minimask as mm
from minimask.autograd.hooks import Recorder, hooked
from minimask.data import Shapes
from minimask.models.anchor_matching import anchors_inside, match_anchors
from minimask.models.matcher import BACKGROUND, IGNORED, Matcher
from minimask.models.transform import ImageTransform

ANCHORS = np.array(
    [[0, 0, 9, 9], [-1, 0, 8, 9], [0, 0, 10, 9], [1, 1, 6, 19.5], [1, 1, 6, 20]], np.float32
)
IMAGE = ImageTransform((40, 20), (20, 10))


def test_an_anchor_that_touches_the_right_or_lower_border_is_outside():
    assert anchors_inside(ANCHORS, IMAGE, 0).tolist() == [0, 3]
    assert anchors_inside(ANCHORS, IMAGE, 1).tolist() == [0, 1, 2, 3, 4]
    moved = ImageTransform((40, 20), (20, 10), (3, 2))
    shift = np.array([2, 3, 2, 3], np.float32)
    assert anchors_inside(ANCHORS + shift, moved, 0).tolist() == [0, 3]


def test_anchors_that_are_not_asked_are_ignored_and_best_for_nothing():
    truth = [np.array([[0, 0, 10, 9]], np.float32)]  # the third anchor exactly
    matcher = Matcher(0.95, 0.3, 0.0)
    assert match_anchors(matcher, ANCHORS, truth)[0].tolist()[:3] == [IGNORED, IGNORED, 0]
    (asked,) = match_anchors(matcher, ANCHORS, truth, [np.array([0, 3])])
    assert asked.tolist() == [0, IGNORED, IGNORED, BACKGROUND, IGNORED]
    (none,) = match_anchors(matcher, ANCHORS, truth, [np.array([], np.int64)])
    assert (none == IGNORED).all()


def test_the_papers_network_draws_no_anchor_across_the_border():
    """Faster R-CNN, section 3.3; torchvision's draws from all."""
    sample = Shapes(1, 64, seed=1)[0]
    outside = {}
    for convention in ("paper", "torchvision"):
        model = mm.models.maskrcnn_laptop(
            Shapes(1, 64).classes,
            convention=convention,
            stem_channels=8,
            anchor_sizes=(8, 16, 32, 48, 64),
        )
        with hooked(Recorder()) as recorder:
            model.losses([sample.image], [sample.target], rng=np.random.default_rng(0))
        ((drawn,),) = recorder.values("rpn/sampled")
        (anchors,) = recorder.values("rpn/anchors")
        some = anchors[np.concatenate(drawn)]
        outside[convention] = ((some < 0) | (some >= 64)).any(axis=1).sum()
    assert outside["paper"] == 0 < outside["torchvision"]


def test_networks_without_a_pyramid_are_not_padded_by_detectron2():
    """The first stage alone too."""
    image = np.zeros((70, 90, 3), np.uint8)
    sizes = {"features": "c4", "layers": (1, 1, 1, 1), "stem_channels": 4, "min_size": None}
    for make in (mm.models.rpn_resnet50_fpn, mm.models.fastrcnn_resnet50_fpn):
        shapes = {
            name: make(classes=["a"], convention=name, **sizes).prepare([image]).shape
            for name in ("detectron2", "mmdet")
        }
        assert shapes == {"detectron2": (70, 90), "mmdet": (96, 96)}
