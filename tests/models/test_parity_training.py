"""The same training steps as detectron2's and mmdetection's, with their random choices.

Losses and gradients are computed from the photo's objects on: matching, targets and masks are this
package's own.
"""

import numpy as np
import pytest
from recorded_names import LOSSES
from recorded_steps import (
    recorded_mask_targets,
    recorded_samples,
    regions_of,
    run_step,
    sampled_anchors,
)
from recorded_systems import RECORDINGS, Recording, in_double

from minimask.models import mask_head
from minimask.models.anchor_matching import anchors_inside
from minimask.models.matcher import BACKGROUND, IGNORED


@pytest.fixture(scope="module", params=[name for name in RECORDINGS if "torchvision" not in name])
def recording(request, goldens):
    found = Recording(goldens, request.param)
    if found.step is None:
        pytest.skip("no training step was recorded of this network")
    return found


@pytest.fixture(scope="module")
def training(recording):
    return run_step(recording, recording.model)


def test_anchors(recording, training):
    """Every recorded positive is one here and there are no others; negatives may be drawn."""
    ((matches,),) = training[2].values("rpn/matches")
    positive, negative = sampled_anchors(recording)
    np.testing.assert_array_equal(np.flatnonzero(matches >= 0), np.sort(positive))
    assert (matches[negative] == BACKGROUND).all()


def test_anchors_at_the_border_are_left_out(recording, training):
    border = recording.model.convention.rpn_border
    if border is None:
        pytest.skip("all anchors are learned from")
    ((matches,),) = training[2].values("rpn/matches")
    anchors = recording.forward["rpn/anchors"]
    outside = np.ones(len(anchors), bool)
    outside[anchors_inside(anchors, recording.transform(), border)] = False
    assert outside.any() and (matches[outside] == IGNORED).all()
    every = recording.model.rpn.match(anchors, [recording.step["target/boxes"]])[0]
    assert (every[outside] != IGNORED).any()


def test_regions(recording, training):
    (((_, matches),),) = training[2].values("roi/candidates")
    positive, negative = regions_of(recording)
    assert (matches[positive] >= 0).all() and (matches[negative] == BACKGROUND).all()


def test_mask_targets(recording, training):
    """Drawn from the photo's objects, every cell is the recorded one."""
    (ours,) = training[2].values("mask/targets")
    order = np.argsort(regions_of(recording)[0], kind="stable")  # regions are put in order here
    theirs = recorded_mask_targets(recording)[order]
    assert theirs.any() and ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs)


def test_mask_targets_by_the_other_rule_differ(recording):
    """From bitmaps in place of polygons some cells are others: the test above would notice."""
    if recording.model.convention.mask_target != "polygon":
        pytest.skip("the system's targets are of bitmaps")
    target = recording.model.prepare_training(
        [recording.forward["image_u8"]], [recording.target()], np.random.default_rng(0)
    )[1][0]
    positive = recorded_samples(recording).regions_positive[0]
    boxes = np.concatenate([recording.step["fwd/rpn/proposals"], recording.step["target/boxes"]])
    (matches,) = [recording.model.roi_heads.matcher(target.boxes, boxes)]
    theirs = recorded_mask_targets(recording)
    size = theirs.shape[1]
    how = {"target": "hard", "aligned": True}
    ours = mask_head.mask_targets(target.masks, boxes[positive], matches[positive], size, **how)
    assert 0 < (ours != theirs).sum() < 0.1 * theirs.size


def test_losses(recording, training):
    losses, _, _ = training
    theirs = {
        LOSSES.get(k.removeprefix("loss/"), k.removeprefix("loss/")): float(v)
        for k, v in recording.step.items()
        if k.startswith("loss/")
    }
    assert losses.keys() == theirs.keys() and len(losses) == 5
    for name, value in losses.items():
        print(f"{name}: {value / theirs[name] - 1:.1e}")
        assert value == pytest.approx(theirs[name], rel=1e-4), name


def test_gradients(recording, training):
    _, gradients, _ = training
    prefix = "grad_norm/"
    named = {recording.here(k.removeprefix(prefix)): k for k in recording.step if prefix in k}
    assert named.keys() == gradients.keys()
    bounds = dict.fromkeys(gradients, 1e-3)
    if recording.level("body", 0) is None:
        bounds |= noise_of_body(recording, named)
    for name, key in named.items():
        exact = gradients[name].astype(np.float64)
        norm, bound = float(recording.step[key]), bounds[name]
        assert np.sqrt((exact**2).sum()) == pytest.approx(norm, rel=bound), name
        whole = recording.step.get(key.replace(prefix, "grad/"))
        if whole is not None:
            assert np.sqrt(((exact - whole) ** 2).sum()) < bound * norm, name


def noise_of_body(recording, named):
    """How far two float32 gradients of the body may be apart: twice theirs from those in float64.

    Where only the last map is known ReLUs below it fall either way, in their run and in ours, and
    move the gradients of all layers before them: the largest distance counts for all.
    """
    _, exact, _ = run_step(recording, in_double(recording.model))
    found = [1e-3]
    for name, key in named.items():
        whole = recording.step.get(key.replace("grad_norm/", "grad/"))
        if name.startswith("backbone.body.") and whole is not None:
            distance = np.sqrt(((exact[name] - whole) ** 2).sum()) / float(recording.step[key])
            found.append(2 * distance)
    print(f"gradients of the body: {max(found):.1e}")
    assert max(found) < 0.04
    return {name: max(found) for name in exact if name.startswith("backbone.body.")}
