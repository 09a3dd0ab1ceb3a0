"""The model's GPU path without a GPU: the stand-in for CuPy, kernels in the host shim.

The same code runs as on a GPU; the results are held against the CPU's.
"""

from __future__ import annotations

import numpy as np
import pytest

from minimask import functional as F
from minimask import models
from minimask.autograd import Tensor
from minimask.autograd.hooks import Recorder, hooked
from minimask.data import Shapes
from minimask.kernels.host_shim import emulator
from minimask.models import RecordedSampling
from minimask.models.roi_heads import RoIHeads
from minimask.system.device import count_transfers, download, upload
from minimask.train.settings import TrainSettings
from minimask.train.step import Trainer

from . import stand_in

SIDE = 64
CLASSES = ("circle", "square", "triangle", "star")


def tiny(**options):
    """A Mask R-CNN small enough for one CPU thread to play GPU."""
    sizes = {
        "layers": (1, 1, 1, 1),
        "width_per_group": 8,
        "expansion": 2,
        "fpn_channels": 16,
        "box_head_width": 32,
        "mask_head_channels": (16,),
        "mask_predictor_channels": 16,
        "anchor_sizes": (8, 16, 32, 48, 64),
        "min_size": SIDE,
        "max_size": SIDE,
        "norm": "batch",
        "box_batch_size_per_image": 32,
        "rpn_post_nms_top_n_train": 100,
    }
    return models.maskrcnn_resnet50_fpn(classes=CLASSES, **{**sizes, **options})


def sure(model):
    """The same model with scores so far apart that no rounding decides their order."""
    for predictor in (model.rpn.head.cls_logits, model.roi_heads.box_predictor.cls_score):
        predictor.weight.data *= 30
    return model


def on_proposals_of(model, recorder, monkeypatch):
    """Let `model` go on with recorded proposals, which its own must be close to.

    RoIPool rounds corners, so that a rounding of a proposal may change all of its features.
    """
    boxes, scores = recorder.values("rpn/proposals")[0], recorder.values("rpn/scores")[0]
    propose = model.rpn.propose

    def same(*arguments):
        for (own_boxes, own_scores), b, s in zip(propose(*arguments), boxes, scores, strict=True):
            np.testing.assert_allclose(own_boxes, b, atol=2e-3)
            np.testing.assert_allclose(own_scores, s, atol=1e-5)
        return list(zip(boxes, scores, strict=True))

    monkeypatch.setattr(model.rpn, "propose", same)


@pytest.fixture(scope="module")
def samples():
    dataset = Shapes(2, SIDE, 3)
    return [dataset[i] for i in range(2)]


def learn(model, samples, chosen=None):
    """The losses and gradients of one step; `chosen` repeats the draws of another."""
    targets = [s.target for s in samples]
    images = [s.image for s in samples]
    rng = np.random.default_rng(0)
    losses = model.train().losses(images, targets, rng=rng, samples=chosen)
    first, *others = losses.values()
    total = first
    for loss in others:
        total = total + loss
    total.backward()
    numbers = {name: float(download(loss.data, name)) for name, loss in losses.items()}
    return numbers, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def draws(monkeypatch):
    """What chance decides in the steps of a test: anchors, proposals and RoIs, a list of each.

    A rounding may exchange two proposals of nearly one score, and then other RoIs are drawn; so
    the two devices are compared on the same draws.
    """
    rois, real = [], RoIHeads.build_targets

    def noting(self, candidates, matches, drawn, target):
        rois.append(drawn)
        return real(self, candidates, matches, drawn, target)

    monkeypatch.setattr(RoIHeads, "build_targets", noting)
    with hooked(Recorder()) as recorder:
        yield lambda: {
            "anchors": recorder.values("rpn/sampled"),
            "proposals": recorder.values("rpn/proposals"),
            "rois": rois,
        }


def as_samples(draws):
    noted = draws()
    anchors = noted["anchors"][0]
    return RecordedSampling(
        [positive for positive, _ in anchors],
        [negative for _, negative in anchors],
        noted["proposals"][0],
        [positive for positive, _ in noted["rois"]],
        [negative for _, negative in noted["rois"]],
    )


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "batch"},
        {"norm": "frozen_batch"},
        {"norm": "group"},
        {"features": "c4", "roi_op": "warp", "mask_output": "softmax"},
        {"features": "c5", "roi_op": "pool", "mask_head": "mlp", "mask_mlp_widths": (32,)},
        {"roi_reduce": "max", "mask_output": "agnostic"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_losses_and_gradients_are_the_cpus(cupy_stand_in, samples, draws, options):
    wanted, gradients = learn(tiny(**options), samples)
    model = tiny(**options).to("cuda")
    assert model.device == "cuda:0"
    found, there = learn(model, samples, as_samples(draws))
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=2e-5), name
    assert there.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert type(there[name]) is stand_in.ndarray
        difference = there[name].get() - gradient
        # The tensor as a whole, not each element: a ReLU whose input is a rounding away from 0 may
        # pass on one device alone, and then a few elements differ by more than roundings do.
        assert np.linalg.norm(difference) <= 2e-4 * np.linalg.norm(gradient) + 1e-8, name


def test_the_same_anchors_and_regions_are_drawn(cupy_stand_in, samples, draws):
    learn(tiny(), samples)
    learn(tiny().to("cuda"), samples)
    noted = draws()
    for cpu, gpu in zip(*noted["anchors"], strict=True):
        for ours, theirs in zip(cpu, gpu, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for cpu, gpu in zip(*noted["proposals"], strict=True):
        assert len(cpu) == len(gpu) > 20
        near = np.abs(cpu[:, None] - gpu[None]).max(axis=2).min(axis=1)
        assert (near < 2e-3).mean() > 0.95  # pixels; the order of equals may differ


def test_a_step_waits_for_the_gpu_three_times(cupy_stand_in, samples):
    trainer = Trainer(tiny().to("cuda"), TrainSettings(steps=2, batch=2))
    trainer.advance([samples])  # makes what is kept, such as anchors
    stand_in.waits.clear()
    with count_transfers() as counted:
        row = trainer.advance([samples])
    assert [what for what, _ in counted.downloads] == [
        "matched anchors", "proposals", "losses and gradient norm",
    ]  # fmt: skip
    assert len(stand_in.waits) == 3, stand_in.waits  # and none that nobody declared
    assert np.isfinite(row["loss"]) and row["grad_norm"] > 0
    assert str(counted).startswith("3 times the CPU waited for the GPU: matched anchors (")


def test_two_steps_give_the_weights_of_the_cpu(cupy_stand_in, samples):
    settings = TrainSettings(steps=2, batch=2, lr=0.01, ema=0.9, optimizer="sgd", warmup=0)
    # the regions are the ground-truth boxes alone: no draw depends on a rounding
    alone = {"rpn_post_nms_top_n_train": 0}
    trainers = [Trainer(tiny(**alone), settings), Trainer(tiny(**alone).to("cuda"), settings)]
    rows = [[trainer.advance([samples]) for _ in range(2)] for trainer in trainers]
    for cpu, gpu in zip(*rows, strict=True):
        assert gpu["loss"] == pytest.approx(cpu["loss"], rel=1e-4)
        assert gpu["grad_norm"] == pytest.approx(cpu["grad_norm"], rel=1e-3)
    cpu, gpu = (trainer.arrays() for trainer in trainers)
    for part in cpu:
        assert cpu[part].keys() == gpu[part].keys()
        for name, array in cpu[part].items():
            assert type(gpu[part][name]) is np.ndarray  # a checkpoint knows no device
            scale = np.abs(array).max()
            np.testing.assert_allclose(gpu[part][name], array, rtol=0, atol=1e-3 * scale + 1e-8)


def test_a_run_goes_on_where_it_was_on_the_other_device(cupy_stand_in, samples):
    settings = TrainSettings(steps=2, batch=2, ema=0.9)
    first = Trainer(tiny().to("cuda"), settings)
    first.advance([samples])
    second = Trainer(tiny(), settings)
    second.restore(1, first.arrays())
    third = Trainer(tiny().to("cuda"), settings)
    third.restore(1, second.arrays())
    for name, array in first.arrays()["optimizer"].items():
        np.testing.assert_array_equal(third.arrays()["optimizer"][name], array)
    for name, array in first.final_weights().items():
        np.testing.assert_array_equal(third.final_weights()[name], array)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"features": "c4", "roi_op": "warp", "mask_output": "softmax", "mask_on": "proposals"},
        {"roi_op": "pool", "mask_output": "agnostic"},
    ],
    ids=["usual", "c4", "pool"],
)
def test_predictions_are_the_cpus(cupy_stand_in, samples, switches, monkeypatch):
    images = [s.image for s in samples]
    # RoIPool gives boxes that round alike one score, and which of them suppresses the other is
    # decided by a rounding: all are kept here and compared without their order.
    options = {"box_score_thresh": 0.0, "box_detections_per_img": 9999, "box_nms_thresh": 1.0}
    options |= {"rpn_post_nms_top_n_test": 30, **switches}
    with hooked(Recorder()) as recorder:
        wanted = sure(tiny(**options)).predict(images)
    model = sure(tiny(**options)).to("cuda")
    on_proposals_of(model, recorder, monkeypatch)
    stand_in.waits.clear()
    with count_transfers() as counted:
        found = model.predict(images)
    assert [what for what, _ in counted.downloads] == ["proposals", "boxes", "masks"]
    assert len(stand_in.waits) == 3, stand_in.waits
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs) > 0
        ours, theirs = (d.keep(np.lexsort((*d.boxes.round(1).T, d.labels))) for d in (ours, theirs))
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=2e-3)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.mask_probs, theirs.mask_probs, atol=1e-4)


def test_stages_come_back_as_numpy(cupy_stand_in, samples):
    cpu = dict(tiny().stages(samples[0].image))
    gpu = dict(tiny().to("cuda").stages(samples[0].image))
    assert gpu.keys() == cpu.keys()
    for name, value in gpu.items():
        assert type(value) is np.ndarray, name
    np.testing.assert_allclose(gpu["fpn/0"], cpu["fpn/0"], atol=1e-4)
    np.testing.assert_allclose(gpu["rpn/proposals"], cpu["rpn/proposals"], atol=2e-3)


def test_an_image_with_nothing_on_it(cupy_stand_in, samples, draws):
    empty = samples[0].keep(np.zeros(len(samples[0].boxes), bool))
    wanted, _ = learn(tiny(), [empty])
    found, _ = learn(tiny().to("cuda"), [empty], as_samples(draws))
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=2e-5), name


def test_a_model_comes_back_to_the_cpu(cupy_stand_in):
    model = tiny()
    before = model.state_dict()
    model.to("cuda")
    model.load_state_dict(before)
    model.to("cpu")
    assert model.device == "cpu"
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_arrays_of_two_devices_are_refused(cupy_stand_in):
    model = tiny().to("cuda")
    with pytest.raises(TypeError, match="move them to one device first"):
        model.backbone(Tensor(np.zeros((1, 3, SIDE, SIDE), np.float32)))


def test_the_order_of_threads_changes_no_bit_of_a_gradient(cupy_stand_in, samples):
    """No default kernel adds in an order that the GPU chooses: a run with a seed is repeatable."""
    runs = []
    for seed in (0, 1, 7):
        with emulator.running(seed=seed):
            numbers, gradients = learn(tiny().to("cuda"), samples)
        runs.append((numbers, {name: g.get() for name, g in gradients.items()}))
    for numbers, gradients in runs[1:]:
        assert numbers == runs[0][0]
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, runs[0][1][name], err_msg=name)


def test_large_arrays_go_through_page_locked_buffers(cupy_stand_in):
    like = cupy_stand_in.zeros(1)
    rng = np.random.default_rng(0)
    sent = [rng.integers(0, 255, size, dtype=np.uint8) for size in (70_000, 300_000, 66_000) * 8]
    with count_transfers() as counted:
        there = [upload(array, like, "image") for array in sent]
    assert len(counted.uploads) == 24 and counted.downloads == []
    assert stand_in.waits == []  # the CPU goes on at once
    for array, copy in zip(sent, there, strict=True):  # none was overwritten by a later one
        np.testing.assert_array_equal(copy.get(), array)
    turned = rng.standard_normal((300, 200))[::2].T  # not contiguous
    np.testing.assert_array_equal(upload(turned, like).get(), turned)


@pytest.mark.parametrize(
    "crop",
    [
        lambda x, rois: F.roi_align(x, rois, 2),
        lambda x, rois: F.roi_pool(x, rois, 2),
        lambda x, rois: F.max_pool2d(x, 3, 2, 1),
    ],
)
def test_a_gradient_is_not_waited_for(cupy_stand_in, crop):
    rng = np.random.default_rng(0)
    x = Tensor(cupy_stand_in.asarray(rng.random((1, 2, 9, 9), np.float32)), requires_grad=True)
    out = crop(x, cupy_stand_in.asarray(np.array([[0, 1, 1, 7, 7]], np.float32)))
    stand_in.waits.clear()
    out.sum().backward()
    assert x.grad.shape == x.shape and stand_in.waits == []
