"""Every field of a convention is of use to a family of models, or the family says it is not."""

import dataclasses
import sys

import numpy as np
import pytest

from minimask.conventions import CHOICES, TORCHVISION, Convention
from minimask.data import Shapes
from minimask.models import MODELS
from minimask.models.factory import FAMILIES

SMALL = {
    **{"block": "bottleneck", "layers": (1, 1, 1, 1), "stem_channels": 4, "norm": "group"},
    **{"fpn_channels": 8, "box_head_width": 16, "mask_head_channels": (8,), "head_depth": 1},
    **{"mask_predictor_channels": 8, "keypoint_head_channels": (8,), "num_keypoints": 2},
    **{"rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 10, "box_score_thresh": 0.0},
    **{"box_batch_size_per_image": 8, "crop_size": 32, "head_channels": (8,), "head_kernel": 1},
    **{
        "widths": (4, 8),
        "grid_sides": (32,),
        "min_size": 80,
        "max_size": 120,
        "backbone": "resnet",
    },
}
BY_FAMILY = {family.title: name for name, family in FAMILIES.items()}
FIELDS = {f.name for f in dataclasses.fields(Convention)} - {"name", "hyperparameters"}
# read where the object is made and copied
COPIES = ("dataclasses", "minimask.conventions", "copy")


def lesson(name):
    """An image with two objects, and keypoints where the model learns them."""
    sample = Shapes(size=64, seed=3, classes=("circle", "square"))[0]
    target = sample.target
    if "keypoint" in name:
        corners = target.boxes.reshape(-1, 2, 2)
        target.keypoints = np.dstack([corners, np.full(corners.shape[:2], 2.0)]).astype(np.float32)
    return sample.image, target


def outcome(name, convention, **options):
    """Losses and objects of a small model of this name."""
    known = {k: v for k, v in SMALL.items() if k in FAMILIES[name].options}
    model = MODELS[name](classes=["a", "b"], convention=convention, **known | options)
    image, target = lesson(name)
    losses = model.losses([image], [target], rng=np.random.default_rng(0))
    found = model.predict([image])[0]
    numbers = {key: loss.item() for key, loss in losses.items()}
    objects = [getattr(found, n, None) for n in ("boxes", "scores", "mask_probs", "keypoints")]
    return numbers, [o for o in objects if o is not None]


def variants(name):
    """Options that between them reach all parts of a family."""
    if "features" not in FAMILIES[name].options:
        return [{}]
    return [{"features": features} for features in ("fpn", "c4", "dc5")]


@pytest.mark.parametrize("title", BY_FAMILY)
def test_every_field_is_read_or_said_to_be_unread(title, monkeypatch):
    name, read = BY_FAMILY[title], set()
    get = object.__getattribute__

    def watched(self, field):
        if sys._getframe(1).f_globals["__name__"] not in COPIES:
            read.add(field)
        return get(self, field)

    monkeypatch.setattr(Convention, "__getattribute__", watched)
    for options in variants(name):
        outcome(name, TORCHVISION, **options)
    monkeypatch.undo()
    assert FIELDS - read - FAMILIES[name].unread == set()


@pytest.mark.parametrize("title", BY_FAMILY)
def test_unread_fields_change_nothing(title):
    name = BY_FAMILY[title]
    changes = {f: another(f, getattr(TORCHVISION, f)) for f in FAMILIES[name].unread & FIELDS}
    changed = dataclasses.replace(TORCHVISION, **changes)
    for options in variants(name):
        before, after = (outcome(name, c, **options) for c in (TORCHVISION, changed))
        assert before[0] == after[0] and len(before[1]) == len(after[1])
        for one, other in zip(before[1], after[1], strict=True):
            np.testing.assert_array_equal(one, other)


def another(field, value):
    """A value of the field that is not this one."""
    if field in CHOICES:
        return next(choice for choice in CHOICES[field] if choice != value)
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1
    if isinstance(value, tuple):
        return tuple(2 * v + 1 for v in value)
    return 2 * value + 1
