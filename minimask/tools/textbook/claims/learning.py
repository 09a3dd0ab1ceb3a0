"""Claims 19 to 23: what the proposal network learns from."""

# B anchors   G ground-truth objects   p probability of an object   t four deltas

from __future__ import annotations

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.autograd.arrays import sigmoid
from minimask.conventions import PAPER
from minimask.kernels import box_iou
from minimask.models.matcher import BACKGROUND, IGNORED
from minimask.models.rpn import rpn_loss
from minimask.tools.profile.costs import Call, cost_of
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.ledger import IMPRECISE, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import network_of

CHAPTER = Chapter("Learning to propose")


@CHAPTER.claim(
    19,
    by="S4",
    says="The class loss is the cross-entropy, printed as the sum of p* log(p) and (1 p*) log(1 "
    "p), times minus one.",
    verdict=WRONG,
    correction="The minus signs inside were lost: it is -(p* log(p) + (1 - p*) log(1 - p)). As "
    "printed, an anchor on background would cost nothing whatever is said of it.",
    section="Faster R-CNN, equation 1",
)
def cross_entropy_needs_its_minus(evidence: Evidence) -> None:
    """Both formulas beside the loss that the network is trained with."""
    logits = np.linspace(-4, 4, 33)
    p = sigmoid(logits)
    for label, name in ((1.0, "object"), (0.0, "background")):
        target = np.full_like(logits, label)
        ours = F.binary_cross_entropy_with_logits(Tensor(logits), target, reduction="none").data
        right = -(label * np.log(p) + (1 - label) * np.log(1 - p))
        printed = -(label * np.log(p) + (1 * label) * np.log(1 * p))
        evidence.at_most(f"{name}: ours less the formula", float(np.abs(ours - right).max()), 1e-12)
        evidence.at_least(
            f"{name}: ours less the printed one", float(np.abs(ours - printed).max()), 1.0
        )
        if label == 0:
            evidence.equal(
                "background called an object at p = 0.98, as printed", float(printed[-1]), 0.0
            )
            evidence.quote()
            evidence.at_least("the same, with the minus signs", float(right[-1]), 4.0)


def as_printed(t: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smooth L1 with its minus signs lost, read as products."""
    product = t * target
    return np.where(np.abs(product) < 1, 0.5 * product**2, np.abs(product) * 0.5)


@CHAPTER.claim(
    20,
    by="S4",
    says="Smooth L1 is printed as half the square of t t*, or the absolute value of t t* with "
    "0.5 behind it.",
    verdict=WRONG,
    correction="The minus signs were lost: 0.5 (t - t*)^2 where |t - t*| < 1, else |t - t*| - "
    "0.5. As printed, a perfect prediction of 2 would cost 2. Where the square ends differs: at "
    "1 in the papers and matterport's code, 1/9 in torchvision, 0 (plain L1) in detectron2 and "
    "mmdetection.",
    section="Fast R-CNN, equation 3",
)
def smooth_l1_needs_its_minus(evidence: Evidence) -> None:
    """Value at a perfect prediction, and continuity of value and slope where the pieces meet."""
    t = np.linspace(-3, 3, 61)
    perfect = F.smooth_l1(Tensor(t), t, beta=1.0, reduction="none").data
    evidence.equal("largest loss of perfect predictions, ours", float(perfect.max()), 0.0)
    evidence.differs(
        "loss of the perfect prediction t = 2, as printed", float(as_printed(t, t)[50]), 0.0
    )
    evidence.quote()
    ours = F.smooth_l1(Tensor(t), np.zeros_like(t), beta=1.0, reduction="none").data
    formula = np.where(np.abs(t) < 1, 0.5 * t**2, np.abs(t) - 0.5)
    evidence.at_most("ours less the formula", float(np.abs(ours - formula).max()), 1e-12)
    for beta in (1.0, 1 / 9):
        around = beta + np.array([-1e-7, 1e-7])
        x = Tensor(around, requires_grad=True)
        loss = F.smooth_l1(x, np.zeros(2), beta=beta, reduction="none")
        loss.sum().backward()
        assert x.grad is not None
        steps = (float(np.ptp(loss.data)), float(np.ptp(x.grad)))
        evidence.at_most(f"jump of value and slope, beta {beta:.3g}", max(steps), 2e-6)


@CHAPTER.claim(
    21,
    by="S4",
    says="The loss of the proposal network is L_cls + lambda p* L_box.",
    verdict=IMPRECISE,
    correction="That is one anchor's share, and the divisors are missing: the first sum is over "
    "256 anchors sampled, the second is divided by about 2400 places, and lambda = 10 makes both "
    "weigh about the same.",
    section="Faster R-CNN, section 3.1.2",
)
def loss_has_divisors(evidence: Evidence) -> None:
    """Twice as many equal anchors must not double the loss; and the papers' two weights."""
    rng = np.random.default_rng(0)
    logits, deltas = rng.standard_normal((1, 8)), rng.standard_normal((1, 8, 4))
    targets = rng.standard_normal((4, 4))
    losses = []
    for times in (1, 2):
        one = [np.tile(np.arange(4), times), np.tile(np.arange(4, 8), times)]
        target_deltas = [np.tile(targets, (times, 1))]
        pair = rpn_loss(
            Tensor(logits),
            Tensor(deltas),
            [(one[0], one[1])],
            target_deltas,
            divisor=PAPER.rpn_loss_divisor,
            beta=PAPER.rpn_loss_beta,
        )
        losses.append([float(loss.data) for loss in pair])
    evidence.at_most(
        "change when all anchors count twice", float(np.ptp(losses, axis=0).max()), 1e-12
    )
    places = -(-600 // 16) * -(-1000 // 16)
    evidence.equal("places of an image of 600 x 1000", places, 2400, within=30)
    evidence.equal("10 / places beside 1 / 256", 10 / places * 256, 1.0, within=0.1)


# One object of 100 x 100 pixels, and anchors beside it
OBJECT = np.array([[100.0, 100.0, 200.0, 200.0]], np.float32)


def shifted(pixels: float) -> list[float]:
    """The object's box, moved to the right."""
    return [100 + pixels, 100, 200 + pixels, 200]


@CHAPTER.claim(
    22,
    by="S4",
    says="p* is 1 where an anchor overlaps some true box by more than T, else 0; t* comes from "
    "the true box it overlaps most.",
    verdict=IMPRECISE,
    correction="There are two thresholds and three answers: from 0.7 an object, below 0.3 "
    "background, between them the anchor is ignored. And each object's best anchor counts "
    "whatever its overlap, several if they tie. Of all, 256 are drawn, at most half of them "
    "objects.",
    section="Faster R-CNN, section 3.1.2",
)
def which_anchor_is_positive(evidence: Evidence) -> None:
    """Anchors of known overlap: labels with and without the rule of the best one."""
    anchors = np.array([shifted(x) for x in (10, 30, 60, 90)], np.float32)
    overlaps = [round(float(v), 3) for v in box_iou(OBJECT, anchors)[0]]
    evidence.show("overlaps", overlaps)
    rpn = network_of("paper").rpn
    labels = rpn.matcher(OBJECT, anchors).tolist()
    evidence.equal(
        "labels (-1 background, -2 ignored)", labels, [0, IGNORED, BACKGROUND, BACKGROUND]
    )
    poor = anchors[1:]
    labels = rpn.matcher(OBJECT, poor).tolist()
    evidence.equal("labels without the first: the best counts", labels, [0, BACKGROUND, BACKGROUND])
    tie = np.array([shifted(-40), shifted(40), shifted(90)], np.float32)
    labels = rpn.matcher(OBJECT, tie).tolist()
    evidence.equal("labels where two are best", labels, [0, 0, BACKGROUND])
    matches = np.r_[np.zeros(500, np.int64), np.full(900, BACKGROUND), np.full(300, IGNORED)]
    positive, negative = rpn.sampler(matches, np.random.default_rng(0))
    evidence.equal("drawn, objects and background", (len(positive), len(negative)), (128, 128))
    drawn = np.concatenate([positive, negative])
    evidence.equal("ignored ones among them", int((matches[drawn] == IGNORED).sum()), 0)


VGG_CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)


def vgg_flop(height: int, width: int) -> float:
    """Of VGG-16's convolutions on one image; 0 among the channels stands for a pooling."""
    flop, before = 0.0, 3
    for channels in VGG_CHANNELS:
        if channels == 0:
            height, width = height // 2, width // 2
            continue
        shapes = ((1, before, height, width), (channels, before, 3, 3))
        call = Call("Conv2d", shapes, (1, channels, height, width), {}, ())
        flop += cost_of(call).forward(call)
        before = channels
    return flop


@CHAPTER.claim(
    23,
    by="S4",
    says="Faster R-CNN detects objects in real time.",
    verdict=IMPRECISE,
    correction="Its paper reports 5 images a second with VGG-16 (17 with the small ZF). Video "
    "has 25: more than the multiply-adds of VGG-16 allowed on the card of that time.",
    section="Faster R-CNN, section 4.1 and table 5",
)
def near_real_time(evidence: Evidence) -> None:
    """Products of VGG-16 on 600 x 1000 pixels, beside what a K40 could do at most."""
    per_image = vgg_flop(600, 1000)
    evidence.show("VGG-16 on 600 x 1000 pixels", per_image / 1e9, "GFLOP")
    evidence.show("rate of a K40 by its data sheet", published.K40_TFLOPS, "TFLOP/s")
    limit = published.K40_TFLOPS * 1e12 / per_image
    evidence.at_most("images a second, at the most", limit, 25, "(video: 25)")
    reported = 1000 / published.FASTER_VGG_MS
    evidence.equal("images a second, as reported", reported, 5, within=0.1)
    evidence.at_most("the report beside the limit", reported / limit, 1)
