"""PyTorch's and torchvision's side of `cpu.py`: the same calls as in `cpu_minimask.py`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import cpu_cases as cases
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from cpu_cases import Files

Call = Callable[[], Sequence[Any]]


def set_threads(count: int) -> None:
    """Use `count` threads."""
    torch.set_num_threads(count)


def _tensor(array: Any, learned: bool = True) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array)).requires_grad_(learned)


def _timed(
    run: Callable[..., torch.Tensor], tensors: Sequence[torch.Tensor], backward: bool
) -> Call:
    """Forward without a record, or forward and backward from a fixed gradient."""
    if not backward:

        def forward() -> Sequence[Any]:
            with torch.no_grad():
                return [run(*tensors)]

        return forward
    learned = [t for t in tensors if t.requires_grad]
    grad = torch.from_numpy(cases.numbers(9, *run(*tensors).shape))

    def both() -> Sequence[Any]:
        for tensor in learned:
            tensor.grad = None
        run(*tensors).backward(grad)
        return [tensor.grad for tensor in learned]

    return both


def conv2d(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.conv2d."""
    groups = o.get("groups", 1)
    c = o["x"][1] // groups
    shape = (o["filters"], c, o["window"], o["window"])
    tensors = [
        _tensor(cases.numbers(1, *o["x"]), o["x"][1] != 3),
        _tensor(cases.numbers(2, *shape) / np.float32(np.sqrt(c * o["window"] ** 2))),
        _tensor(cases.numbers(3, o["filters"])),
    ]
    given = {"stride": o["stride"], "padding": o["padding"], "groups": groups}
    return _timed(lambda *t: F.conv2d(*t, **given), tensors, backward)


def conv_transpose2d(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.conv_transpose2d."""
    tensors = [
        _tensor(cases.numbers(1, *o["x"])),
        _tensor(cases.numbers(2, o["x"][1], o["filters"], 2, 2) / np.float32(16)),
        _tensor(cases.numbers(3, o["filters"])),
    ]
    return _timed(lambda *t: F.conv_transpose2d(*t, stride=2), tensors, backward)


def linear(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.linear."""
    rows, inputs = o["x"]
    tensors = [
        _tensor(cases.numbers(1, rows, inputs)),
        _tensor(cases.numbers(2, o["out"], inputs) / np.float32(112)),
        _tensor(cases.numbers(3, o["out"])),
    ]
    return _timed(F.linear, tensors, backward)


def batch_norm(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.batch_norm in training."""
    c = o["x"][1]
    tensors = [_tensor(cases.numbers(1, *o["x"])), *(_tensor(cases.numbers(i, c)) for i in (2, 3))]
    return _timed(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), tensors, backward)


def max_pool2d(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.max_pool2d."""
    return _timed(
        lambda x: F.max_pool2d(x, 3, 2, 1), [_tensor(cases.numbers(1, *o["x"]))], backward
    )


def nearest(o: dict[str, Any], backward: bool) -> Call:
    """torch.nn.functional.interpolate."""
    return _timed(
        lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
        [_tensor(cases.numbers(1, *o["x"]))],
        backward,
    )


def roi_align(o: dict[str, Any], backward: bool) -> Call:
    """torchvision.ops.roi_align."""
    rois = torch.from_numpy(cases.rois(o["count"], 800, 1216))
    given = (o["size"], o["scale"], o["sampling_ratio"], o["aligned"])
    return _timed(
        lambda x: torchvision.ops.roi_align(x, rois, *given),
        [_tensor(cases.numbers(1, *o["features"]))],
        backward,
    )


def roi_pool(o: dict[str, Any], backward: bool) -> Call:
    """torchvision.ops.roi_pool."""
    rois = torch.from_numpy(cases.rois(o["count"], 800, 1216))
    return _timed(
        lambda x: torchvision.ops.roi_pool(x, rois, o["size"], o["scale"]),
        [_tensor(cases.numbers(1, *o["features"]))],
        backward,
    )


def nms(o: dict[str, Any], backward: bool) -> Call:
    """torchvision.ops.nms."""
    boxes, scores = map(torch.from_numpy, cases.boxes(o["count"], o["count"] // 20))
    return lambda: [torchvision.ops.nms(boxes, scores, o["threshold"])]


def box_iou(o: dict[str, Any], backward: bool) -> Call:
    """torchvision.ops.box_iou."""
    a = torch.from_numpy(cases.anchors(o["a"]))
    b = torch.from_numpy(cases.boxes(o["b"], o["b"], 5)[0])
    return lambda: [torchvision.ops.box_iou(a, b)]


def keypoints(o: dict[str, Any], backward: bool) -> Call:
    """`heatmaps_to_keypoints` of torchvision, which enlarges one box after the other."""
    from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

    boxes, logits = (torch.from_numpy(a) for a in cases.heat_maps(o["boxes"], o["maps"]))

    def find() -> Sequence[Any]:
        with torch.inference_mode():
            places, heights = heatmaps_to_keypoints(logits, boxes)
            return [torch.cat([places[:, :, :2], heights[:, :, None]], 2)]

    return find


def matching(o: dict[str, Any], backward: bool) -> Call:
    """box_iou and the Matcher, as torchvision's proposal network uses them."""
    from torchvision.models.detection._utils import Matcher

    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    a = torch.from_numpy(cases.anchors(o["a"]))
    b = torch.from_numpy(cases.objects(o["b"]))
    return lambda: [matcher(torchvision.ops.box_iou(b, a))]


# ---- whole models


def _images(files: Files, count: int) -> tuple[list[torch.Tensor], list[Any]]:
    """The generated images and their objects."""
    samples = cases.generated(files.images, count)
    return [_pixels(image) for image, *_ in samples], [
        _target(boxes, labels + 1, masks) for _, boxes, labels, masks in samples
    ]


def _pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def _target(boxes: np.ndarray, labels: np.ndarray, masks: np.ndarray) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.from_numpy(labels),
        "masks": torch.from_numpy(masks.astype(np.uint8)),
    }


def _step(model: Any, images: list[torch.Tensor], targets: list[Any]) -> Call:
    """Forward, backward and an update."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.002, 0.9, weight_decay=1e-4)

    def step() -> Sequence[Any]:
        optimizer.zero_grad()
        total = sum(model(images, targets).values())
        total.backward()
        optimizer.step()
        return []

    return step


def _save(model: Any, weights: pathlib.Path) -> None:
    """Write the random weights, once, for all sides."""
    if not weights.exists():
        arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        part = weights.with_suffix(".part.npz")
        np.savez(part, **arrays)
        part.rename(weights)
    else:
        with np.load(weights) as arrays:
            model.load_state_dict({n: torch.from_numpy(arrays[n]) for n in arrays.files})


def _anchors() -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return AnchorGenerator(tuple((side,) for side in (8, 16, 32, 64, 128)), ((0.5, 1.0, 2.0),) * 5)


def resnet18_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """Mask R-CNN of torchvision's classes with ResNet-18."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        trainable_layers=5,
        norm_layer=torch.nn.BatchNorm2d,
    )
    model = MaskRCNN(
        backbone,
        num_classes=4,
        min_size=128,
        max_size=128,
        rpn_anchor_generator=_anchors(),
        box_batch_size_per_image=64,
    )
    _save(model, files.weights)
    return _step(model, *_images(files, 4))


def laptop_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """The laptop preset put together from torchvision's classes."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    body = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=torch.nn.BatchNorm2d)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], 64)
    model = MaskRCNN(
        backbone,
        min_size=128,
        max_size=1024,
        rpn_anchor_generator=_anchors(),
        box_head=TwoMLPHead(64 * 49, 256),
        box_predictor=FastRCNNPredictor(256, 4),
        mask_head=MaskRCNNHeads(64, (64, 64, 64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, 4),
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=200,
        box_batch_size_per_image=128,
        box_positive_fraction=0.5,
    )
    _save(model, files.weights)
    return _step(model, *_images(files, 8))


def _resnet50(files: Files) -> tuple[Any, list[torch.Tensor], list[Any]]:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    _save(model, files.weights)
    image, boxes, labels, masks = cases.large_image()
    return model, [_pixels(image)], [_target(boxes, labels, masks)]


def resnet50_inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image, masks pasted."""
    model, images, _ = _resnet50(files)
    return _predict(model, images)


def inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image through the network of this name, whose weights give it something to find."""
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    if hasattr(detection, o["model"]):
        model = getattr(detection, o["model"])(weights=None, weights_backbone=None)
    else:
        body = o["model"].removeprefix("maskrcnn_").removesuffix("_fpn")
        model = detection.MaskRCNN(resnet_fpn_backbone(backbone_name=body, weights=None), 91)
    for name, part in model.named_modules():
        if name.endswith("bn3"):  # or a deep residual network doubles its values in every block
            part.weight.data.fill_(0.2)
    model.roi_heads.box_predictor.cls_score.weight.data *= CLASSES_APART
    model.roi_heads.box_predictor.cls_score.bias.data[1] += 3  # 18 % where all else is equal
    _save(model, files.weights)
    return _predict(model, [_pixels(cases.large_image()[0])])


CLASSES_APART = 8  # or no class of a random network has 5 %, and no mask is drawn


def _predict(model: Any, images: list[torch.Tensor]) -> Call:
    model.eval()

    def predict() -> Sequence[Any]:
        with torch.inference_mode():
            found = model(images)[0]
        return [found["scores"], found["masks"].double().mean()]

    return predict


def resnet50_step(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image with five objects."""
    return _step(*_resnet50(files))


def keypoint_inference(o: dict[str, Any], backward: bool, files: Files) -> Call:
    """One image through Keypoint R-CNN, its 17 keypoints found in 100 boxes."""
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    torch.manual_seed(0)
    model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    _save(model, files.weights)
    image, *_ = cases.large_image()

    def predict() -> Sequence[Any]:
        with torch.inference_mode():
            found = model([_pixels(image)])[0]
        return [found["scores"], found["keypoints_scores"].double().mean()]

    return predict
