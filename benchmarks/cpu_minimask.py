"""This project's side of `cpu.py`: one function per kind of case, each giving a call to time.

A call returns the arrays that both sides must agree on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cpu_cases as cases
import numpy as np
from cpu_cases import Files

from minimask import Tensor, no_grad
from minimask import functional as F
from minimask.conventions import TORCHVISION

Call = Callable[[], Sequence[Any]]


def set_threads(count: int) -> None:
    """Use `count` threads in every library."""
    import numba
    import threadpoolctl

    numba.set_num_threads(count)
    threadpoolctl.threadpool_limits(count, user_api="blas")


def _timed(run: Callable[..., Tensor], tensors: Sequence[Any], backward: bool) -> Call:
    """Forward without a record, or forward and backward from a fixed gradient."""
    if not backward:

        def forward() -> Sequence[Any]:
            with no_grad():
                return [run(*tensors).data]

        return forward
    learned = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]
    grad = cases.numbers(9, *run(*tensors).shape)

    def both() -> Sequence[Any]:
        for tensor in learned:
            tensor.grad = None
        run(*tensors).backward(grad)
        return [tensor.grad for tensor in learned]

    return both


def conv2d(o: dict[str, Any], backward: bool) -> Call:
    """A convolution; three channels are an image, which needs no gradient."""
    x, groups = o["x"], o.get("groups", 1)
    c = x[1] // groups
    shape = (o["filters"], c, o["window"], o["window"])
    weight = cases.numbers(2, *shape) / np.float32(np.sqrt(c * o["window"] ** 2))
    tensors = [
        Tensor(cases.numbers(1, *x), requires_grad=x[1] != 3),
        Tensor(weight, requires_grad=True),
        Tensor(cases.numbers(3, o["filters"]), requires_grad=True),
    ]
    given = {"stride": o["stride"], "padding": o["padding"], "groups": groups}
    return _timed(lambda *t: F.conv2d(*t, **given), tensors, backward)


def conv_transpose2d(o: dict[str, Any], backward: bool) -> Call:
    """The mask head's 2x2 windows at stride 2."""
    c = o["x"][1]
    tensors = [
        Tensor(cases.numbers(1, *o["x"]), requires_grad=True),
        Tensor(cases.numbers(2, c, o["filters"], 2, 2) / np.float32(16), requires_grad=True),
        Tensor(cases.numbers(3, o["filters"]), requires_grad=True),
    ]
    return _timed(lambda *t: F.conv_transpose2d(*t, stride=2), tensors, backward)


def linear(o: dict[str, Any], backward: bool) -> Call:
    """A fully connected layer."""
    rows, inputs = o["x"]
    tensors = [
        Tensor(cases.numbers(1, rows, inputs), requires_grad=True),
        Tensor(cases.numbers(2, o["out"], inputs) / np.float32(112), requires_grad=True),
        Tensor(cases.numbers(3, o["out"]), requires_grad=True),
    ]
    return _timed(F.linear, tensors, backward)


def batch_norm(o: dict[str, Any], backward: bool) -> Call:
    """Batch norm with the batch's own statistics."""
    c = o["x"][1]
    tensors = [
        Tensor(cases.numbers(1, *o["x"]), requires_grad=True),
        Tensor(cases.numbers(2, c), requires_grad=True),
        Tensor(cases.numbers(3, c), requires_grad=True),
    ]
    return _timed(lambda *t: F.batch_norm_train(*t)[0], tensors, backward)


def max_pool2d(o: dict[str, Any], backward: bool) -> Call:
    """Windows of 3x3 at stride 2, as after the stem."""
    x = Tensor(cases.numbers(1, *o["x"]), requires_grad=True)
    return _timed(lambda x: F.max_pool2d(x, 3, stride=2, padding=1), [x], backward)


def nearest(o: dict[str, Any], backward: bool) -> Call:
    """Twice the size, as in the pyramid."""
    x = Tensor(cases.numbers(1, *o["x"]), requires_grad=True)
    size = (2 * o["x"][2], 2 * o["x"][3])
    return _timed(lambda x: F.resize(x, size), [x], backward)


def roi_align(o: dict[str, Any], backward: bool) -> Call:
    """RoIAlign on one level."""
    x = Tensor(cases.numbers(1, *o["features"]), requires_grad=True)
    rois = cases.rois(o["count"], 800, 1216)
    given = {k: o[k] for k in ("sampling_ratio", "aligned")}
    return _timed(
        lambda x: F.roi_align(x, rois, o["size"], spatial_scale=o["scale"], **given), [x], backward
    )


def roi_pool(o: dict[str, Any], backward: bool) -> Call:
    """RoIPool on one level."""
    x = Tensor(cases.numbers(1, *o["features"]), requires_grad=True)
    rois = cases.rois(o["count"], 800, 1216)
    return _timed(lambda x: F.roi_pool(x, rois, o["size"], spatial_scale=o["scale"]), [x], backward)


def nms(o: dict[str, Any], backward: bool) -> Call:
    """Non-maximum suppression of clustered boxes."""
    from minimask.kernels import nms as function

    boxes, scores = cases.boxes(o["count"], o["count"] // 20)
    return lambda: [function(boxes, scores, o["threshold"])]


def box_iou(o: dict[str, Any], backward: bool) -> Call:
    """The overlap of every anchor with every object."""
    from minimask.kernels import box_iou as function

    a, b = cases.anchors(o["a"]), cases.boxes(o["b"], o["b"], 5)[0]
    return lambda: [function(a, b)]


def keypoints(o: dict[str, Any], backward: bool) -> Call:
    """Where every heat map, enlarged to its box, is highest."""
    from minimask.models.heat_maps import find_peaks

    boxes, logits = cases.heat_maps(o["boxes"], o["maps"])
    return lambda: [find_peaks(logits, boxes)]


def matching(o: dict[str, Any], backward: bool) -> Call:
    """Which object each anchor is to find, as the proposal network asks it."""
    from minimask.models.matcher import Matcher

    a, b = cases.anchors(o["a"]), cases.objects(o["b"])
    matcher = Matcher(0.7, 0.3, best_iou_min=TORCHVISION.rpn_best_iou_min)
    return lambda: [matcher(b, a)]


# ---- whole models


def _images(files: Files, count: int) -> tuple[list[np.ndarray], list[Any]]:
    """The generated images and their objects."""
    from minimask.models import Target

    samples = cases.generated(files.images, count)
    return [image for image, *_ in samples], [Target(b, y, m) for _, b, y, m in samples]


def _step(model: Any, images: list[np.ndarray], targets: list[Any]) -> Call:
    """Forward, backward and an update."""
    from minimask.train import SGD

    model.train()
    optimizer = SGD(list(model.named_parameters()), 0.002, 0.9, 1e-4)
    rng = np.random.default_rng(0)

    def step() -> Sequence[Any]:
        optimizer.zero_grad()
        first, *others = model.losses(images, targets, rng=rng).values()
        total = sum(others, start=first)
        total.backward()
        optimizer.step()
        return []

    return step


def _load(model: Any, files: Files) -> None:
    with np.load(files.weights) as arrays:
        model.load_state_dict({name: arrays[name] for name in arrays.files})


def resnet18_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """ResNet-18-FPN, 64 regions an image, batch norm trained."""
    from minimask import models

    model = models.maskrcnn_resnet18_fpn(
        4,
        norm="batch",
        anchor_sizes=(8, 16, 32, 64, 128),
        min_size=128,
        max_size=128,
        box_batch_size_per_image=64,
    )
    _load(model, files)
    return _step(model, *_images(files, 4))


def laptop_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """The laptop preset; with `all_masks` every positive region learns its mask, as there."""
    from minimask import models

    options = {"mask_batch_size_per_image": None} if o["all_masks"] else {}
    model = models.maskrcnn_laptop(num_classes=4, convention="torchvision", **options)
    _load(model, files)
    return _step(model, *_images(files, 8))


def _resnet50(files: Files) -> tuple[Any, list[np.ndarray], list[Any]]:
    from minimask import models
    from minimask.models import Target

    model = models.maskrcnn_resnet50_fpn(91, norm="batch", min_size=None, max_size=None)
    _load(model, files)
    image, boxes, labels, masks = cases.large_image()
    return model, [image], [Target(boxes, labels - 1, masks)]


def resnet50_inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image through the network, masks pasted, as `predict` gives them."""
    model, images, _ = _resnet50(files)
    return _predict(model, images)


def _predict(model: Any, images: list[np.ndarray]) -> Call:
    def predict() -> Sequence[Any]:
        found = model.predict(images)[0]
        return [np.sort(found.scores)[::-1], found.soft_masks.mean(dtype=np.float64)]

    return predict


def inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image through the network of this name."""
    from minimask import models

    model = getattr(models, o["model"])(91, min_size=None, max_size=None)
    _load(model, files)
    return _predict(model, [cases.large_image()[0]])


def resnet50_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image with five objects, batch norm trained."""
    return _step(*_resnet50(files))


def keypoint_inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image through Keypoint R-CNN, its 17 keypoints found in 100 boxes."""
    from minimask import models

    model = models.keypointrcnn_resnet50_fpn(norm="batch", min_size=None, max_size=None)
    _load(model, files)
    image, *_ = cases.large_image()

    def predict() -> Sequence[Any]:
        found = model.predict([image])[0]
        heights = found.keypoints[:, :, 2].mean(dtype=np.float64)
        return [np.sort(found.scores)[::-1], heights]

    return predict
