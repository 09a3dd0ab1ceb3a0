"""Random Keypoint R-CNNs beside torchvision's own, where torch and torchvision are installed."""

import numpy as np
import pytest

import minimask as mm
from minimask.autograd import Tensor
from minimask.models import heat_maps, keypoint_head

torch = pytest.importorskip("torch", reason="compared with torch where it is installed")
pytest.importorskip("torchvision", reason="compared with torchvision where it is installed")
theirs = pytest.importorskip("torchvision.models.detection.roi_heads")
KeypointRCNN = pytest.importorskip("torchvision.models.detection").KeypointRCNN

SEEDS = range(3)


def boxes_of(rng, count, lowest=0.2, highest=220.0):
    first = rng.uniform(-10, 300, (count, 2))
    sides = np.exp(rng.uniform(np.log(lowest), np.log(highest), (count, 2)))
    return np.concatenate([first, first + sides], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 4, 17])
def test_keypoints_of_random_heat_maps(seed, count):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(12, count, 28, 28)).astype(np.float32))
    maps = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")
    boxes = boxes_of(rng, 12)
    ours = heat_maps.find_peaks(maps.numpy(), boxes)
    places, scores = theirs.heatmaps_to_keypoints(maps, torch.from_numpy(boxes))
    assert np.abs(ours[:, :, :2] - places[:, :, :2].numpy()).max() < 0.01
    assert np.abs(ours[:, :, 2] - scores.numpy()).max() < 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_of_random_keypoints(seed):
    rng = np.random.default_rng(seed)
    boxes = boxes_of(rng, 40, lowest=1.0)
    places = boxes[:, None, :2] + rng.uniform(-0.2, 1.2, (40, 9, 2)) * (
        boxes[:, None, 2:] - boxes[:, None, :2]
    )
    places[::3, 0] = boxes[::3, 2:]  # on the far corner
    seen = rng.integers(0, 3, (40, 9, 1))
    keypoints = np.concatenate([places, seen], axis=2).astype(np.float32)
    ours = keypoint_head.keypoint_targets(keypoints, boxes)
    pixels, valid = theirs.keypoints_to_heatmap(
        torch.from_numpy(keypoints), torch.from_numpy(boxes), 56
    )
    np.testing.assert_array_equal(ours.valid, valid.numpy())
    np.testing.assert_array_equal(ours.pixels, pixels.numpy())
    assert 50 < ours.valid.sum() < 300


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_and_its_gradient(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (8, 5, 56, 56)).astype(np.float32)
    boxes = boxes_of(rng, 8, lowest=20.0)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    places = middle + rng.uniform(-60, 60, (8, 5, 2))
    keypoints = np.concatenate([places, rng.integers(0, 3, (8, 5, 1))], axis=2)
    keypoints = keypoints.astype(np.float32)
    x = torch.from_numpy(logits).requires_grad_()
    loss = theirs.keypointrcnn_loss(
        x, [torch.from_numpy(boxes)], [torch.from_numpy(keypoints)], [torch.arange(8)]
    )
    loss.backward()
    mine = Tensor(logits, requires_grad=True)
    ours = keypoint_head.keypoint_loss(mine, [keypoint_head.keypoint_targets(keypoints, boxes)])
    ours.backward()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    assert np.abs(mine.grad - x.grad.numpy()).max() < 1e-5 * np.abs(x.grad.numpy()).max()


def both(seed, count, image_size):
    """A network of the two libraries with the same random weights."""
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(seed)
    body = ResNet(BasicBlock, [1, 1, 1, 1])
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], 32)
    limits = {"min_size": image_size, "max_size": 2 * image_size}
    counts = {
        "rpn_pre_nms_top_n_test": 60,
        "rpn_post_nms_top_n_test": 30,
        "box_detections_per_img": 8,
        "box_score_thresh": 0.0,
    }
    head = theirs_head(32)
    model = KeypointRCNN(
        backbone, 2, num_keypoints=count, keypoint_head=head, **limits, **counts
    ).eval()
    model.roi_heads.keypoint_predictor = predictor(count)
    ours = mm.models.keypoint_rcnn(
        block="basic",
        layers=(1, 1, 1, 1),
        norm="batch",
        fpn_channels=32,
        keypoint_head_channels=(16, 16),
        num_keypoints=count,
        **limits,
        **counts,
    )
    ours.load_state_dict({name: a.numpy() for name, a in model.state_dict().items()})
    return model, ours.eval()


def theirs_head(channels):
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads

    return KeypointRCNNHeads(channels, (16, 16))


def predictor(count):
    from torchvision.models.detection.keypoint_rcnn import KeypointRCNNPredictor

    return KeypointRCNNPredictor(16, count)


@pytest.mark.parametrize(
    ("seed", "count", "size"), [(0, 1, 96), (1, 4, 128), (2, 17, 160)], ids=lambda v: str(v)
)
def test_random_networks_find_the_same_keypoints(seed, count, size):
    reference, model = both(seed, count, size)
    image = np.random.default_rng(seed).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(image).permute(2, 0, 1) / 255])
    (found,) = model.predict([image])
    assert len(found) == len(expected["boxes"]) == 8
    distance = np.abs(found.boxes[:, None] - expected["boxes"].numpy()).max(axis=2)
    partner, near = distance.argmin(axis=0), distance.min(axis=0) < 0.01
    assert near.sum() >= 7  # of near-ties among proposals either may be kept
    places = expected["keypoints"].numpy()[near][:, :, :2]
    ours = found.keypoints[partner[near]]
    apart = np.abs(ours[:, :, :2] - places).max(axis=2)
    assert (apart < 0.01).mean() > 0.95  # of equal peaks either may be the higher one
    scores = expected["keypoints_scores"].numpy()[near]
    assert np.abs(ours[:, :, 2] - scores).max() < 1e-4 * max(1, np.abs(scores).max())
