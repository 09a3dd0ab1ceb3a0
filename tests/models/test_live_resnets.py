"""With torch and torchvision installed: random networks of every switch, side by side.

Bodies by their maps and gradients; whole detectors (second version's heads, ResNeXt) by pyramid,
heads, losses and gradients, with torchvision's random draws.  Batch norms use collected statistics.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

import torchvision.models.detection as detection  # noqa: E402
from torch import nn  # noqa: E402
from torchvision.models import resnet  # noqa: E402
from torchvision.models.detection import _utils as drawn  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.backbone_utils import BackboneWithFPN  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead  # noqa: E402
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor  # noqa: E402
from torchvision.models.detection.rpn import RPNHead  # noqa: E402

import minimask as mm  # noqa: E402
from minimask.autograd import Tensor, no_grad  # noqa: E402
from minimask.models import RecordedSampling, Target  # noqa: E402
from minimask.models.bodies.resnet import ResNet  # noqa: E402

VALUES, GRADIENTS = 1e-4, 1e-3
WIDE = {"block": "bottleneck", "width_per_group": 128}
BODIES = {
    "resnet18": {"block": "basic", "layers": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "layers": (3, 4, 6, 3)},
    "resnet50": {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    "narrow": {"block": "bottleneck", "width_per_group": 24, "expansion": 2},
    "resnext 32x4d": {"block": "bottleneck", "groups": 32, "width_per_group": 4},
    "resnext 32x8d": {"block": "bottleneck", "groups": 32, "width_per_group": 8, "expansion": 2},
    "resnext 64x4d": {"block": "bottleneck", "groups": 64, "width_per_group": 4, "expansion": 2},
    "three groups": {"block": "bottleneck", "groups": 3, "width_per_group": 8, "expansion": 1},
    "wide": WIDE | {"expansion": 2},
    "dilated": {"block": "bottleneck", "layers": (1, 1, 2, 3), "dilated": "but_first"},
    "dilated resnext": {"block": "bottleneck", "groups": 8, "dilated": "but_first"}
    | {"width_per_group": 8, "layers": (1, 1, 1, 2)},
}


def randomize(module, seed):
    """Weights that keep the size of activations, and norms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, generator=generator)
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.3, 0.7, generator=generator)
            part.bias.data.uniform_(-0.2, 0.2, generator=generator)
            part.running_mean.uniform_(-0.2, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def torch_body(options):
    """torchvision's ResNet without its classifier."""
    block = resnet.BasicBlock if options["block"] == "basic" else resnet.Bottleneck
    if "expansion" in options:
        block = type("Narrow", (block,), {"expansion": options["expansion"]})
    body = resnet.ResNet(
        block,
        list(options.get("layers", (1, 1, 1, 1))),
        groups=options.get("groups", 1),
        width_per_group=options.get("width_per_group", 64),
        replace_stride_with_dilation=[False, False, "dilated" in options],
    )
    body.fc = nn.Identity()
    return body


def torch_maps(body, x):
    x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
    maps = []
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        x = stage(x)
        maps.append(x)
    return maps


def arrays(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def assert_close(name, ours, theirs, bound):
    ours = ours.data if isinstance(ours, Tensor) else ours
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape, name
    error = np.abs(ours.astype(np.float64) - theirs).max() / theirs.std(dtype=np.float64)
    assert error < bound, (name, error)


def assert_gradients(model, theirs):
    """Every parameter's gradient, by the norm of the difference."""
    given = {name: p.grad for name, p in theirs.named_parameters()}
    ours = dict(model.named_parameters())
    assert ours.keys() == given.keys()
    for name, parameter in ours.items():
        other = given[name].numpy().astype(np.float64)
        difference = np.sqrt(((parameter.grad - other) ** 2).sum())
        assert difference <= GRADIENTS * np.sqrt((other**2).sum()), name


@pytest.mark.parametrize("name", BODIES)
def test_body(name):
    options = {"layers": (1, 1, 1, 1), "norm": "batch"} | BODIES[name]
    theirs = randomize(torch_body(options), seed=1)
    ours = ResNet(rng=np.random.default_rng(0), **options)
    ours.load_state_dict(arrays(theirs))
    ours.eval()
    rng = np.random.default_rng(2)
    image = rng.standard_normal((2, 3, 96, 64)).astype(np.float32)
    expected = torch_maps(theirs, torch.from_numpy(image))
    found = ours(Tensor(image))
    assert ours.out_channels == [m.shape[1] for m in expected]
    assert ours.strides == [96 // m.shape[2] for m in expected]
    loss, total = 0, 0
    for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
        assert_close(f"map {i}", mine, other, VALUES)
        weights = rng.standard_normal(mine.shape).astype(np.float32)
        loss = loss + (mine * Tensor(weights)).mean()
        total = total + (other * torch.from_numpy(weights)).mean()
    loss.backward()
    total.backward()
    assert_gradients(ours, theirs)


# --- whole detectors ----------------------------------------------------------------------------

RESNEXT = {"block": "bottleneck", "groups": 4, "width_per_group": 4, "expansion": 1}
V2 = {"fpn_norm": "batch", "rpn_conv_depth": 2, "box_head": "conv", "box_head_norm": "batch"}
DETECTORS = {
    "mask v2": V2 | {"mask_head_norm": "batch"},
    "faster v2": V2,
    "mask resnext": {},
    "mask, three RPN convolutions, box head of two": {
        "rpn_conv_depth": 3,
        "box_head": "conv",
        "box_head_channels": (16, 24),
    },
}
CLASSES, CHANNELS, WIDTH, SIZES = 5, 16, 24, (16, 24, 32, 48, 64)


def torch_detector(kind, options):
    """torchvision's own class with these parts."""
    norm = {name: nn.BatchNorm2d if f"{name}_norm" in options else None for name in NORMS}
    body = torch_body(RESNEXT)
    backbone = BackboneWithFPN(
        body,
        {f"layer{i + 1}": str(i) for i in range(4)},
        [64, 128, 256, 512],
        CHANNELS,
        norm_layer=norm["fpn"],
    )
    depth = options.get("rpn_conv_depth", 1)
    if options.get("box_head") == "conv":
        channels = list(options.get("box_head_channels", (256,) * 4))
        box = FastRCNNConvFCHead((CHANNELS, 7, 7), channels, [WIDTH], norm_layer=norm["box_head"])
    else:
        box = TwoMLPHead(CHANNELS * 49, WIDTH)
    parts = {
        "rpn_anchor_generator": AnchorGenerator(tuple((s,) for s in SIZES), ((0.5, 1.0, 2.0),) * 5),
        "rpn_head": RPNHead(CHANNELS, 3, conv_depth=depth),
        "box_head": box,
        "box_predictor": detection.faster_rcnn.FastRCNNPredictor(WIDTH, CLASSES),
    }
    if kind == "mask":
        parts["mask_head"] = MaskRCNNHeads(CHANNELS, [16, 16], 1, norm_layer=norm["mask_head"])
        parts["mask_predictor"] = MaskRCNNPredictor(16, 16, CLASSES)
    made = detection.MaskRCNN if kind == "mask" else detection.FasterRCNN
    model = made(backbone, min_size=96, max_size=160, **parts, **LIMITS)
    model = randomize(model, seed=3)
    model.rpn.head.bbox_pred.weight.data *= 0.1
    model.roi_heads.box_predictor.bbox_pred.weight.data *= 0.1
    return model


NORMS = ("fpn", "box_head", "mask_head")
LIMITS = {"rpn_post_nms_top_n_train": 200, "rpn_post_nms_top_n_test": 60}


@pytest.fixture(scope="module", params=DETECTORS)
def pair(request):
    """torchvision's detector and ours with the same weights."""
    options = DETECTORS[request.param]
    kind = "faster" if request.param.startswith("faster") else "mask"
    theirs = torch_detector(kind, options)
    sizes = {"norm": "batch", "layers": (1, 1, 1, 1), "fpn_channels": CHANNELS}
    sizes |= {"box_head_width": WIDTH, "anchor_sizes": SIZES, "min_size": 96, "max_size": 160}
    if kind == "mask":
        sizes |= {"mask_head_channels": (16, 16), "mask_predictor_channels": 16}
    make = mm.models.mask_rcnn if kind == "mask" else mm.models.faster_rcnn
    ours = make(CLASSES, **RESNEXT, **sizes, **options, **LIMITS)
    ours.load_state_dict(arrays(theirs))
    return ours.eval(), theirs


def lesson():
    """A smooth picture and two objects."""
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 12, 16)))
    fine = nn.functional.interpolate(coarse, (96, 128), mode="bilinear")[0]
    image = fine.numpy().astype(np.uint8).transpose(1, 2, 0).copy()
    boxes = np.array([[10, 12, 60, 70], [64, 20, 120, 90]], np.float32)
    masks = np.zeros((2, 96, 128), np.uint8)
    masks[0, 12:70, 10:60] = masks[1, 30:90, 64:110] = 1
    return image, Target(boxes, np.array([1, 3]), masks)


def as_input(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255


def test_heads(pair):
    ours, theirs = pair
    image, _ = lesson()
    batch = ours.prepare([image])
    with torch.no_grad(), no_grad():
        given, _ = theirs.transform([as_input(image)])
        assert_close("image", batch.images, given.tensors, VALUES)
        expected = list(theirs.backbone(given.tensors).values())
        for i, level in enumerate(ours.backbone(Tensor(batch.images))):
            assert_close(f"level {i}", level, expected[i], VALUES)
        pyramid = [Tensor(level.numpy()) for level in expected]
        for mine, other in zip(ours.rpn.head(pyramid), theirs.rpn.head(expected), strict=True):
            for i, (a, b) in enumerate(zip(mine, other, strict=True)):
                assert_close(f"rpn {i}", a, b, VALUES)
        heads, other = ours.roi_heads, theirs.roi_heads
        pooled = torch.randn(9, CHANNELS, 7, 7, generator=torch.Generator().manual_seed(0))
        features = other.box_head(pooled)
        assert_close("box head", heads.box_head(Tensor(pooled.numpy())), features, VALUES)
        for a, b in zip(
            heads.box_predictor(Tensor(features.numpy())),
            other.box_predictor(features),
            strict=True,
        ):
            assert_close("box predictor", a, b, VALUES)
        if heads.mask_head is not None:
            pooled = torch.randn(5, CHANNELS, 14, 14, generator=torch.Generator().manual_seed(1))
            a = heads.mask_predictor(heads.mask_head(Tensor(pooled.numpy())))
            assert_close("masks", a, other.mask_predictor(other.mask_head(pooled)), VALUES)


def torch_step(model, image, target, patch):
    """torchvision's losses, and what it drew on the way."""
    draws, proposals = [], []
    sample, filtered = drawn.BalancedPositiveNegativeSampler.__call__, model.rpn.filter_proposals

    def sample_and_note(self, matched):
        draws.append(sample(self, matched))
        return draws[-1]

    def filter_and_note(*arguments):
        boxes, scores = filtered(*arguments)
        proposals.append(boxes[0].detach())
        return boxes, scores

    patch.setattr(drawn.BalancedPositiveNegativeSampler, "__call__", sample_and_note)
    patch.setattr(model.rpn, "filter_proposals", filter_and_note)
    model.train()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    truth = {
        "boxes": torch.from_numpy(target.boxes),
        "labels": torch.from_numpy(target.labels + 1),
        "masks": torch.from_numpy(target.masks),
    }
    model.zero_grad()
    torch.manual_seed(0)
    losses = model([as_input(image)], [truth])
    sum(losses.values()).backward()
    model.eval()
    anchors, regions = [
        [torch.where(masks[0])[0].numpy() for masks in both] for both in sorted_draws(draws)
    ]
    return losses, RecordedSampling(
        [anchors[0]], [anchors[1]], [proposals[0].numpy()], [regions[0]], [regions[1]]
    )


def sorted_draws(draws):
    """Of anchors, of which there are more, and of regions, whichever came first."""
    return sorted(draws, key=lambda both: -len(both[0][0]))


def test_losses_and_gradients(pair):
    ours, theirs = pair
    image, target = lesson()
    with pytest.MonkeyPatch.context() as patch:
        expected, samples = torch_step(theirs, image, target, patch)
    ours.zero_grad()
    losses = ours.losses([image], [target], rng=np.random.default_rng(0), samples=samples)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=VALUES), name
    sum(losses.values()).backward()
    assert_gradients(ours, theirs)
    assert len(samples.regions_positive[0]) >= len(target.boxes)


def test_predictions(pair):
    ours, theirs = pair
    image, _ = lesson()
    (found,) = ours.predict([image])
    with torch.no_grad():
        (expected,) = theirs([as_input(image)])
    boxes = expected["boxes"].numpy()
    distance = np.abs(found.boxes[:, None] - boxes).max(axis=2)
    distance[found.labels[:, None] != expected["labels"].numpy() - 1] = np.inf
    assert len(found) == len(boxes) > 0
    assert (distance.min(axis=0) < 0.02).mean() > 0.9  # pixels; near-ties fall either way
