"""Claims 47 to 54 and 56: backbones, data, keypoints, speed."""

# N images   R detections   H, W height and width   T thresholds of IoU

from __future__ import annotations

import math

import numpy as np

from minimask.autograd import Tensor
from minimask.data.skeleton import COCO_PERSON
from minimask.models import Target
from minimask.models.bodies import BODIES
from minimask.models.bodies.resnet import ResNet
from minimask.models.fpn import FPN, FPNBackbone
from minimask.models.keypoint_head import find_keypoints, keypoint_loss, keypoint_targets
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    Listener,
    gradient_size,
    pose_network,
    scene,
    small_network,
    stick_figure,
)

CHAPTER = Chapter("Backbones, data, and time")

COCO_FILES = "it needs COCO's annotation files, which are not part of minimask"


@CHAPTER.claim(
    47,
    by="S1 S2 S4",
    says="Backbones are ResNet-50 and 101 with or without a pyramid, ResNeXt, VGG-16, "
    "EfficientNet, Inception-ResNet; one text names ResNet-101 as the backbone.",
    verdict=IMPRECISE,
    correction="Any network that gives feature maps will do; ResNet-101 is one. EfficientNet is "
    "two years younger than the paper.",
    section="Mask R-CNN, section 3 and table 2a",
)
def any_backbone(evidence: Evidence) -> None:
    """Bodies of different depth under one and the same pyramid."""
    rng = np.random.default_rng(0)
    for name, layers, block, expected in (
        ("ResNet-18", (2, 2, 2, 2), "basic", 11_689_512 - 513_000),
        ("ResNet-50", (3, 4, 6, 3), "bottleneck", 25_557_032 - 2_049_000),
    ):
        body = ResNet(layers, rng, block=block)
        learned = sum(p.size for p in body.parameters())
        scales = sum(b.size for n, b in body.named_buffers() if n.endswith(("weight", "bias")))
        evidence.equal(f"{name} without its last layer", learned + scales, expected, "parameters")
        outputs = _pyramid_channels(FPN(body.out_channels, 16, rng))
        evidence.equal(f"channels of its pyramid, of {body.out_channels[-1]}", outputs, [16] * 4)
    # published, less classifiers; EfficientNet's holds the 1x1 convolution to 1280 channels too
    for name, title, expected in (
        ("vgg16", "VGG-16", 138_357_544 - 123_642_856),
        ("efficientnet_b0", "EfficientNet-B0", 5_288_548 - 1_281_000 - 412_160),
    ):
        other = BODIES[name](rng, norm="frozen_batch", norm_eps=1e-5, width=1.0)
        learned = sum(p.size for p in other.parameters())
        scales = sum(b.size for n, b in other.named_buffers() if n.endswith(("weight", "bias")))
        evidence.equal(f"{title} without its classifier", learned + scales, expected, "parameters")
        outputs = _pyramid_channels(FPN(other.out_channels, 16, rng))
        evidence.equal(f"channels of its pyramid, of {other.out_channels[-1]}", outputs, [16] * 4)
    for features, sizes in (("fpn", 5), ("c4", 1), ("c5", 1)):
        network = small_network(features=features)
        stages = [p for p, _ in network.stages(scene().image) if p.startswith("rpn/objectness")]
        evidence.equal(f"levels for the proposal network, {features}", len(stages), sizes)


def _pyramid_channels(pyramid: FPN) -> list[int]:
    """Output channels of the layers that join the pyramid to its body."""
    weights = [next(block.parameters()) for block in pyramid.inner_blocks]
    return [weight.shape[0] for weight in weights]


CHAPTER.unchecked(
    48,
    by="S3",
    says="It is trained on 200 000 images, all objects labeled, five or six in each.",
    verdict=IMPRECISE,
    correction="COCO labels more than 200 000 images altogether; Mask R-CNN was trained on 115 "
    "000 of them (80 000 and 35 000), with about seven objects in each.",
    section="Mask R-CNN, section 4",
    reason=COCO_FILES,
)

CHAPTER.unchecked(
    49,
    by="S4",
    says="COCO has more than 200 000 labeled images, 1.5 million objects, 80 categories, five "
    "captions an image and 250 000 people with keypoints.",
    verdict=RIGHT,
    correction="Right; so the data set's own page has it.",
    reason=COCO_FILES,
)

CHAPTER.unchecked(
    50,
    by="S3",
    says="All people in COCO have their joints annotated.",
    verdict=WRONG,
    correction="Small people and crowds have none.",
    reason="it needs COCO's files of keypoints, which are not part of minimask",
)


@CHAPTER.claim(
    51,
    by="S3",
    says="For poses the head predicts the coordinates of the joints.",
    verdict=WRONG,
    correction="It predicts a map of 56 x 56 cells for each joint, in which a softmax picks one "
    "cell; the coordinates are where the map is highest.",
    section="Mask R-CNN, section 5",
)
def heat_maps_not_coordinates(evidence: Evidence) -> None:
    """The output of the head, what the loss of untrained maps is, and what one high cell means."""
    network, person = pose_network(), stick_figure()
    shapes = [a.shape for name, a in network.stages(person.image) if name == "keypoint/logits"]
    evidence.equal("outputs of an RoI, of 17 joints", shapes[0][1:], (17, 56, 56))
    joints = person.keypoints
    assert joints is not None
    maps = Tensor(np.zeros((1, 17, 56, 56), np.float32))
    targets = keypoint_targets(joints[:1], person.boxes[:1])
    loss = keypoint_loss(maps, [targets])
    evidence.equal("loss of even maps", float(loss.data), math.log(56 * 56), within=1e-5)
    evidence.quote()
    maps.data[0, 5, 14, 28] = 20.0  # row 14, column 28: a quarter down, in the middle
    found = find_keypoints(maps.data, np.array([[10.0, 40, 66, 96]], np.float32))
    evidence.equal("joint 5 of a box of 56 pixels", found[0, 5, :2].tolist(), [38.5, 54.5])


@CHAPTER.claim(
    52,
    by="S3",
    says="Detection, poses and masks can be learned together, with one more loss.",
    verdict=RIGHT,
    correction="Right, though learning keypoints too costs the masks of people 0.7 AP.",
    section="Mask R-CNN, table 5",
)
def one_loss_more(evidence: Evidence) -> None:
    """The losses of both networks, and whether that of the joints reaches the shared layers."""
    person = stick_figure()
    target = Target(person.boxes, person.labels, person.masks, person.keypoints)
    rng = np.random.default_rng(0)
    network = pose_network()
    losses = network.losses([person.image], [target], rng=rng)
    without = set(small_network().losses([person.image], [target], rng=rng))
    evidence.equal("losses besides Mask R-CNN's", sorted(set(losses) - without), ["loss_keypoint"])
    losses["loss_keypoint"].backward()
    assert isinstance(network.backbone, FPNBackbone)
    first = gradient_size(network.backbone.body.sections()[0][0])
    evidence.at_least("gradient of the first layer", first, 1e-9)
    evidence.equal("of the mask head", gradient_size(network.roi_heads.mask_head), 0.0)
    cost = published.PERSON_MASK_AP - published.PERSON_MASK_AP_WITH_KEYPOINTS
    evidence.equal("mask AP it costs in the paper", cost, 0.7, within=1e-9)


@CHAPTER.claim(
    53,
    by="S4",
    says="A pose is a skeleton: points joined by limbs.",
    verdict=RIGHT,
    correction="Right: 17 points in COCO.",
)
def points_and_limbs(evidence: Evidence) -> None:
    """COCO's person: its points, and how many of them can be reached from the nose by limbs."""
    evidence.equal("points", len(COCO_PERSON), 17)
    reached, limbs = {0}, set(COCO_PERSON.limbs)
    while grown := {end for limb in limbs if reached & set(limb) for end in limb} - reached:
        reached |= grown
    evidence.equal("points that the limbs join to the nose", len(reached), 17)
    pairs = sum(other > i for i, other in enumerate(COCO_PERSON.flip))
    evidence.equal("pairs of left and right, beside the nose", pairs, 8)


@CHAPTER.claim(
    54,
    by="S3",
    says="It runs at about 5 images a second, close to real time, as all is done in a single pass.",
    verdict=IMPRECISE,
    correction="4.8 images a second: 195 ms on the GPU and 15 ms to resize the masks. And there "
    "are three parts that wait for each other: proposals, boxes, masks.",
    section="Mask R-CNN, section 4.4",
)
def three_parts_in_turn(evidence: Evidence) -> None:
    """The published times as a rate, and the order of the parts in a prediction."""
    rate = 1000 / (published.INFERENCE_MS + published.RESIZE_MS)
    evidence.equal("images a second", rate, 4.76, within=0.01)
    evidence.at_most("share of a video's 25 images a second", rate / 25, 0.25)
    heard = Listener()
    with heard.listen():
        small_network().predict([scene().image])
    parts = ("ResNet", "RPNHead", "BoxHead", "MaskHead")
    order = list(dict.fromkeys(p for c in heard.calls for p in c.inside if p in parts))
    evidence.equal("order of the parts", order, list(parts))
    regions = heard.rois()
    evidence.differs(
        "regions of the mask head, not those of the box head", len(regions[14]), len(regions[7])
    )


@CHAPTER.claim(
    56,
    by="S2",
    says="Training on COCO takes one to two days.",
    verdict=RIGHT,
    correction="Right: on 8 GPUs 32 hours with ResNet-50-FPN, 44 with ResNet-101-FPN.",
    section="Mask R-CNN, section 4.4",
)
def days_of_training(evidence: Evidence) -> None:
    """Steps times seconds, as published."""
    hours = published.ITERATIONS * published.SECONDS_A_STEP / 3600
    evidence.equal("160 000 steps of 0.72 s", hours, published.HOURS_R50, "hours", within=0.5)
    for name, value in (("ResNet-50-FPN", hours), ("ResNet-101-FPN", published.HOURS_R101)):
        evidence.at_least(f"{name}, at least a day", value / 24, 1, "days")
        evidence.at_most(f"{name}, at most two", value / 24, 2, "days")
