"""From the photo to the objects: every recorded network of every system, one object for one.

These networks are random and deep, so that roundings grow on the way.  How far a float32 run is
from float64 is measured here, with this package's own runs; detectron2's is in its descriptions
(`float32_vs_float64_rel_std`) and is as large.
"""

import dataclasses

import numpy as np
import pytest
from conftest import narrow_options
from keypoint_recordings import KeypointRecording
from recorded_mobilenet import mobilenet
from recorded_systems import RECORDINGS, Recording, in_double, read

import minimask as mm

PIXELS, SCORE = 0.01, 1e-4  # how far boxes and scores may be from the recorded ones
RUNS = 4  # or so many times as far as a float32 run is from float64, where that is more


def of_keypoints(goldens, system):
    found = KeypointRecording(goldens, system)
    return found.model, found.forward, found.first_label()


def of_torchvision(goldens, meta):
    model = mm.models.mask_rcnn(**narrow_options(meta))
    mm.load_weights(model, goldens / "maskrcnn.safetensors")
    return model.eval(), read(goldens / "maskrcnn_forward.npz"), 1


def of_mobilenet(goldens):
    forward = read(goldens / "torchvision" / "fasterrcnn_mobilenet_forward.npz")
    return mobilenet(goldens), forward, 1


NETWORKS = [*RECORDINGS, "torchvision", "torchvision keypoints", "detectron2 keypoints", "mobile"]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, goldens, meta):
    """The model, what was recorded, and what the recording calls the first class."""
    name = request.param
    if name in RECORDINGS:
        found = Recording(goldens, name)
        return found.model, found.forward, found.first_label()
    if name.endswith("keypoints"):
        return of_keypoints(goldens, name.split()[0])
    return of_mobilenet(goldens) if name == "mobile" else of_torchvision(goldens, meta)


@pytest.fixture(scope="module")
def runs(network):
    """Our objects in float32, the same in float64, each in the order of the recorded ones."""
    model, recorded, first_label = network
    photo, labels = [recorded["image_u8"]], recorded["out/labels"] - first_label
    (ours,) = model.predict(photo)
    double = in_double(model)
    batch = model.prepare(photo)
    batch = dataclasses.replace(batch, images=batch.images.astype(np.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(double, "prepare", lambda images: batch)
        (exact,) = double.predict(photo)
    return [in_order_of(recorded["out/boxes"], labels, found) for found in (ours, exact)]


def in_order_of(boxes, labels, found):
    """The detections nearest to each box of its class: as many, and all different ones."""
    distance = np.abs(found.boxes[:, None] - boxes).max(axis=2)
    distance[found.labels[:, None] != labels] = np.inf
    partner = distance.argmin(axis=0)
    assert len(found) == len(boxes) == len(set(partner)) and np.isfinite(distance.min(axis=0)).all()
    return found.keep(partner)


def test_boxes_and_scores(network, runs):
    ours, exact = runs
    for name, bound in (("boxes", PIXELS), ("scores", SCORE)):
        mine, theirs = getattr(ours, name), network[1][f"out/{name}"]
        noise = np.abs(mine - getattr(exact, name)).max()
        apart = np.abs(mine - theirs).max()
        print(f"{name}: {apart:.1e}, float32 is {noise:.1e} from float64")
        assert apart < max(bound, RUNS * noise), name


def test_masks(network, runs):
    """Every pixel is as recorded but for those that rounding takes to either side of one half."""
    recorded, (ours, exact) = network[1], runs
    if ours.mask_probs is None:
        pytest.skip("no masks")
    if "out/masks_packed" in recorded:
        width = ours.image_size[1]
        theirs = np.unpackbits(recorded["out/masks_packed"], axis=-1)[..., :width] > 0
    else:
        theirs = recorded["out/masks"][:, 0] >= 0.5
    ours, exact = (found.keep(range(len(theirs))) for found in (ours, exact))  # the first few
    soft = exact.soft_masks
    noise = np.abs(ours.soft_masks - soft).max(axis=(1, 2), keepdims=True)
    tie = np.abs(soft - 0.5) < RUNS * noise
    mine = np.asarray(ours.masks)
    differ = mine != theirs
    union = (mine | theirs).sum()
    print(f"{differ.sum()} of {union} pixels differ, {tie.sum()} may; noise {noise.max():.1e}")
    assert theirs.any() and not (differ & ~tie).any()
    assert differ.sum() < 0.01 * union


def test_keypoints(network, runs):
    """Peaks of the heat maps, but for those where two cells are as high."""
    recorded, (ours, _) = network[1], runs
    if ours.keypoints is None:
        pytest.skip("no keypoints")
    apart = np.abs(ours.keypoints - recorded["out/keypoints"])[:, :, :2].max(axis=2)
    assert (apart < PIXELS).mean() > 0.97
