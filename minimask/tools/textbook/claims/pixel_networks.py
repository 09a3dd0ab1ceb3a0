"""Claims 8 to 11: networks that give every pixel a class, and how Mask R-CNN differs."""

# N images   C channels   H, W height and width   K classes

from __future__ import annotations

from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, no_grad, ops
from minimask.data.sample import Sample
from minimask.models import rcnn_laptop
from minimask.models.bodies.resnet import ResNet
from minimask.models.label_map import paint_label_map
from minimask.models.mask_head import mask_probabilities
from minimask.nn import Conv2d, ConvTranspose2d, Module
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    CLASSES,
    NARROW,
    Listener,
    scene,
    small_network,
)
from minimask.train.optim import AdamW

CHAPTER = Chapter("Networks that label pixels")


class PixelNetwork(Module):
    """The smallest encoder and decoder: three halvings, three doublings, a score per class."""

    def __init__(self, classes: int, rng: np.random.Generator, width: int = 24):
        sizes = (3, width, width, width)
        self.down = [
            Conv2d(sizes[i], sizes[i + 1], 3, stride=2, padding=1, rng=rng) for i in range(3)
        ]
        self.up = [
            ConvTranspose2d(width, classes if i == 2 else width, 2, stride=2, rng=rng)
            for i in range(3)
        ]

    def encode(self, images: Any) -> Tensor:
        """(N, 3, H, W) -> (N, width, ceil(H / 8), ceil(W / 8))."""
        for layer in self.down:
            images = layer(images, relu=True)
        return images

    def forward(self, images: Any) -> Tensor:
        """(N, 3, H, W) -> class scores (N, classes, H', W'), the sides rounded up to eights."""
        x = self.encode(images)
        for layer in self.up[:-1]:
            x = layer(x, relu=True)
        return self.up[-1](x)


def train_on(network: PixelNetwork, image: np.ndarray, truth: np.ndarray, steps: int) -> float:
    """Learn one image (3, H, W) with its class map (H, W) by heart; the share of right pixels."""
    optimizer = AdamW(list(network.named_parameters()), 0.02)
    for _ in range(steps):
        scores = ops.transpose(network(image[None]), (0, 2, 3, 1))
        F.cross_entropy(ops.reshape(scores, (truth.size, -1)), truth.ravel()).backward()
        optimizer.step()
        for parameter in network.parameters():
            parameter.grad = None
    with no_grad():
        return float((network(image[None]).data[0].argmax(axis=0) == truth).mean())


def scene_of_pixels() -> tuple[np.ndarray, np.ndarray, Sample]:
    """A small image as a network takes it (3, 32, 32), its class map (32, 32), and the sample."""
    sample = scene(0, 32)
    image = (sample.image.transpose(2, 0, 1) / 128 - 1).astype(np.float32)
    return image, paint_label_map(sample.masks, sample.labels, (32, 32)), sample


@CHAPTER.claim(
    8,
    by="S0",
    says="A network for semantic segmentation is an encoder, a classifier without its fully "
    "connected layers, and a decoder that brings its features back to the pixels.",
    verdict=RIGHT,
    correction="Right. What is cut off ResNet-50 is one layer; the rest gives a map at 1/32 of "
    "the size instead of one vector.",
)
def encoder_and_decoder(evidence: Evidence) -> None:
    """Count ResNet-50 with and without its last layer; let a tiny pair learn an image."""
    body = ResNet((3, 4, 6, 3), np.random.default_rng(0))
    weights = sum(p.size for p in body.parameters())
    scales = sum(b.size for name, b in body.named_buffers() if name.endswith(("weight", "bias")))
    last = 2048 * 1000 + 1000
    evidence.equal(
        "ResNet-50, encoder and last layer", weights + scales + last, 25_557_032, "parameters"
    )
    evidence.show("of which the encoder", weights + scales, "parameters")
    image, truth, _ = scene_of_pixels()
    network = PixelNetwork(5, np.random.default_rng(0))
    with no_grad():
        evidence.equal("encoder's map", network.encode(image[None]).shape[2:], (4, 4))
        evidence.equal("decoder's map", network(image[None]).shape[2:], (32, 32))
    evidence.show("pixels right if all were background", float((truth == 0).mean()))
    evidence.at_least("pixels right after 80 steps", train_on(network, image, truth, 80), 0.97)
    evidence.quote()


@CHAPTER.claim(
    9,
    by="S0 S1",
    says="A fully convolutional network has convolutions in encoder and decoder and takes images "
    "of any size; U-Net is one.",
    verdict=IMPRECISE,
    correction="It runs on any size, but gives back the input's size only where that is a "
    "multiple of the total stride; otherwise one pads or crops, and skip connections do not fit. "
    "U-Net is one such network, not the definition.",
)
def any_size(evidence: Evidence) -> None:
    """Sizes that come out of a network of stride 8."""
    network, rng = PixelNetwork(2, np.random.default_rng(0)), np.random.default_rng(1)
    sizes = {}
    with no_grad():
        for side in range(57, 73):
            image = rng.standard_normal((1, 3, side, side)).astype(np.float32)
            sizes[side] = network(image).shape[2]
    evidence.equal("sizes from 57 to 72 that run", len(sizes), 16)
    same = [side for side, out in sizes.items() if side == out]
    evidence.equal("sizes given back as they were", same, [64, 72], "pixels")
    evidence.quote()
    evidence.equal("rounded up to eights", list(sizes.values()), [64] * 8 + [72] * 8)
    skip = network.down[0](np.zeros((1, 3, 61, 61), np.float32))
    twice = F.resize(network.down[1](skip), (2 * -(-skip.shape[2] // 2),) * 2)
    evidence.differs(
        "U-Net at 61 pixels: skip beside decoder", skip.shape[2], twice.shape[2], "cells"
    )


@CHAPTER.claim(
    10,
    by="S0",
    says="In region-based networks such as Mask R-CNN pieces of the image are cut out and each "
    "is fed to a network that labels its pixels.",
    verdict=WRONG,
    correction="That is R-CNN. Mask R-CNN cuts out features: the image passes through the "
    "backbone once, however many regions there are.",
    section="Mask R-CNN, section 2; Fast R-CNN",
)
def features_are_cut_not_images(evidence: Evidence) -> None:
    """Count how often the backbone runs, and what an R-CNN does on the same regions."""
    network, sample = small_network(), scene()
    whole, pieces = Listener(), Listener()
    with whole.listen():
        network.predict([sample.image])
    regions = whole.rois()[7][:, 1:]
    body = {name: NARROW[name] for name in ("block", "layers", "expansion", "width_per_group")}
    sizes: dict[str, Any] = {"stem_channels": 64, "norm": "group", "crop_context": 0}
    with pieces.listen():
        rcnn_laptop(CLASSES, crop_size=64, **body, **sizes).predict([sample.image], [regions])
    evidence.equal("runs of the backbone", whole.modules["ResNet"], 1)
    evidence.at_least("regions looked at", len(regions), 20)
    looked = sum(c.output.shape[0] for c in pieces.calls if c.name == "RoIAlign")
    evidence.equal("pieces of the image that R-CNN feeds to its network", looked, len(regions))
    once, for_each = whole.flop("ResNet"), pieces.flop("ResNet")
    evidence.show("backbone, once", once / 1e6, "MFLOP")
    evidence.show("R-CNN's network, for every region as 64 x 64 pixels", for_each / 1e6, "MFLOP")
    evidence.at_least("work of cutting images out / features", for_each / once, 10)
    evidence.quote()


@CHAPTER.claim(
    11,
    by="S3",
    says="Instance segmentation is detection, then semantic segmentation inside each region.",
    verdict=IMPRECISE,
    correction="In semantic segmentation the classes compete for each pixel. The mask head gives "
    "each class its own yes-or-no mask; which class it is, the box head says.",
    section="Mask R-CNN, section 3 and Table 2b",
)
def classes_do_not_compete(evidence: Evidence) -> None:
    """Raise another class's logits: the sigmoid's mask stays, the softmax's changes."""
    logits = np.random.default_rng(0).standard_normal((3, 5, 28, 28)).astype(np.float32)
    raised = logits.copy()
    raised[:, 4] += 5
    label = np.array([2, 2, 2])
    changes = {}
    for output in ("sigmoid", "softmax"):
        before, after = (mask_probabilities(x, label, output) for x in (logits, raised))
        changes[output] = float(np.abs(after - before).max())
    evidence.equal("largest change of the mask, sigmoid", changes["sigmoid"], 0.0)
    evidence.at_least("largest change of the mask, softmax", changes["softmax"], 0.3)
    evidence.quote()
    several = (logits > 0).sum(axis=1) > 1
    evidence.at_least("share of pixels that several classes claim", float(several.mean()), 0.5)
