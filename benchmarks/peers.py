"""What torch and torchvision have for each workload, to be timed beside this project's kernels.

A workload's function, or `Workload.peer`, is the name of a function here.  It gets the workload,
its arrays on the GPU, and returns calls by label that do nothing but the operation.  Needs torch
with CUDA and torchvision; nothing else in the project does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minimask.kernels.case import Workload

Calls = dict[str, Callable[[], Any]]


def box_iou(work: Workload) -> Calls:
    """torchvision.ops.box_iou, made of torch's elementwise operations."""
    from torchvision.ops import box_iou as function

    a, b = tensors(work.arguments)
    return {"torchvision": lambda: function(a, b)}


def nms(work: Workload) -> Calls:
    """torchvision.ops.nms."""
    from torchvision.ops import nms as function

    boxes, scores, threshold = tensors(work.arguments)
    return {"torchvision": lambda: function(boxes, scores, threshold)}


def batched_nms(work: Workload) -> Calls:
    """torchvision.ops.batched_nms, which moves every group elsewhere and compares all."""
    from torchvision.ops import batched_nms as function

    boxes, scores, groups, threshold = tensors(work.arguments)
    return {"torchvision": lambda: function(boxes, scores, groups.long(), threshold)}


def roi_pool(work: Workload) -> Calls:
    """torchvision.ops.roi_pool."""
    from torchvision.ops import roi_pool as function

    features, rois, size = tensors(work.arguments)
    scale = work.options.get("spatial_scale", 1.0)
    return {"torchvision": lambda: function(features, rois, size, scale)}


def roi_pool_backward(work: Workload) -> Calls:
    """The backward pass of torchvision's roi_pool: atomic additions."""
    import torch
    import torchvision  # noqa: F401 - registers the operation

    grad, rois, argmax, shape = tensors(work.arguments)
    scale, size = work.options.get("spatial_scale", 1.0), grad.shape[2:]
    function = torch.ops.torchvision._roi_pool_backward
    return {"torchvision": lambda: function(grad, rois, argmax.int(), scale, *size, *shape)}


def roi_align(work: Workload) -> Calls:
    """torchvision.ops.roi_align."""
    from torchvision.ops import roi_align as function

    features, rois, size = tensors(work.arguments)
    options = work.options
    given = (
        options.get("spatial_scale", 1.0),
        options.get("sampling_ratio", 0) or -1,
        options.get("aligned", True),
    )
    return {"torchvision": lambda: function(features, rois, size, *given)}


def roi_align_backward(work: Workload) -> Calls:
    """The backward pass of torchvision's roi_align: atomic additions."""
    import torch
    import torchvision  # noqa: F401 - registers the operation

    grad, rois, shape = tensors(work.arguments)
    options = work.options
    scale, ratio = options.get("spatial_scale", 1.0), options.get("sampling_ratio", 0) or -1
    given = (scale, *grad.shape[2:], *shape, ratio, options.get("aligned", True))
    function = torch.ops.torchvision._roi_align_backward
    return {"torchvision": lambda: function(grad, rois, *given)}


def roi_align_levels(work: Workload) -> Calls:
    """RoIAlign of a pyramid as torchvision.ops.MultiScaleRoIAlign does it: level by level."""
    import torch
    from torchvision.ops import roi_align as function

    features, rois, levels, size = tensors(work.arguments)
    options, rows = work.options, pair(size)
    given = (options.get("sampling_ratio", 0) or -1, options.get("aligned", True))

    def call() -> Any:
        out = features[0].new_empty((len(rois), features[0].shape[1], *rows))
        for i, (level, scale) in enumerate(zip(features, options["spatial_scales"], strict=True)):
            mine = torch.where(levels == i)[0]
            out[mine] = function(level, rois[mine], rows, scale, *given)
        return out

    return {"torchvision": call}


def roi_align_levels_backward(work: Workload) -> Calls:
    """Its gradient, level by level: atomic additions."""
    import torch
    import torchvision  # noqa: F401 - registers the operation

    grad, rois, levels, shapes = tensors(work.arguments)
    options = work.options
    ratio, aligned = options.get("sampling_ratio", 0) or -1, options.get("aligned", True)
    function = torch.ops.torchvision._roi_align_backward
    chosen = [torch.where(levels == i)[0] for i in range(len(shapes))]  # known from the forward

    def call() -> Any:
        return [
            function(grad[mine], rois[mine], scale, *grad.shape[2:], *shape, ratio, aligned)
            for mine, shape, scale in zip(chosen, shapes, options["spatial_scales"], strict=True)
        ]

    return {"torchvision": call}


def conv2d(work: Workload) -> Calls:
    """Convolution by cuDNN, the algorithm chosen by trying; in float32, and in TF32."""
    import torch

    x, weight, *bias = tensors(work.arguments)
    return cudnn(lambda: torch.nn.functional.conv2d(x, weight, *bias, **work.options))


def conv_transpose2d(work: Workload) -> Calls:
    """Transposed convolution by cuDNN."""
    import torch

    x, weight, *bias = tensors(work.arguments)
    return cudnn(lambda: torch.nn.functional.conv_transpose2d(x, weight, *bias, **work.options))


def conv2d_backward_input(work: Workload) -> Calls:
    """The gradient by cuDNN for the input."""
    grad, weight, shape = tensors(work.arguments)
    return cudnn(convolution_backward(work, grad, empty(shape, grad), weight, 0))


def conv2d_backward_weight(work: Workload) -> Calls:
    """The gradient by cuDNN for the weight."""
    grad, x, shape = tensors(work.arguments)
    return cudnn(convolution_backward(work, grad, x, empty(shape, grad), 1))


def conv2d_backward_bias(work: Workload) -> Calls:
    """A sum over images, rows and columns, by torch."""
    (grad,) = tensors(work.arguments)
    return {"torch": lambda: grad.sum((0, 2, 3))}


def max_pool2d(work: Workload) -> Calls:
    """Max pooling with positions, by torch."""
    import torch

    x, given = tensors(work.arguments[0]), windows(work)
    function = torch.nn.functional.max_pool2d
    return {"torch": lambda: function(x, *given, return_indices=True)}


def max_pool2d_backward(work: Workload) -> Calls:
    """The gradient of max pooling, by torch."""
    import torch

    grad, argmax, shape = tensors(work.arguments)
    x, indices = empty(shape, grad), argmax.long()
    given = (*(pair(value) for value in windows(work)), [1, 1], False)
    function = torch.ops.aten.max_pool2d_with_indices_backward
    return {"torch": lambda: function(grad, x, *given, indices)}


# ---- what they share


def tensors(value: Any) -> Any:
    """Arguments with every CuPy array as a torch tensor of the same memory."""
    import torch

    if hasattr(value, "__cuda_array_interface__"):
        return torch.from_dlpack(value)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value).cuda()
    if isinstance(value, tuple | list):
        return type(value)(tensors(item) for item in value)
    return value


def empty(shape: Any, like: Any) -> Any:
    """A tensor of a shape; its values play no part."""
    return like.new_zeros(tuple(shape))


def cudnn(call: Callable[[], Any]) -> Calls:
    """A call with cuDNN in float32, and with its tensor cores."""
    import torch

    def in_float32() -> Any:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return call()

    def in_tf32() -> Any:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            return call()

    return {"cuDNN float32": in_float32, "cuDNN TF32": in_tf32}


def convolution_backward(
    work: Workload, grad: Any, x: Any, weight: Any, which: int
) -> Callable[[], Any]:
    """One gradient of a convolution: 0 for the input, 1 for the weight."""
    import torch

    options = work.options
    steps = [
        pair(options.get(name, default))
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    ]
    wanted = [i == which for i in range(3)]
    groups = work.options.get("groups", 1)
    function = torch.ops.aten.convolution_backward
    return lambda: function(grad, x, weight, None, *steps, False, [0, 0], groups, wanted)


def windows(work: Workload) -> tuple[Any, Any, Any]:
    """Size, stride and padding of a workload's windows."""
    size = work.options["kernel_size"]
    return size, work.options.get("stride") or size, work.options.get("padding", 0)


def pair(value: Any) -> list[int]:
    """An int or a pair as a list of two."""
    return list(value) if isinstance(value, tuple | list) else [value, value]
