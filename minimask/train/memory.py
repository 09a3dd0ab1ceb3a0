"""How much memory a training step will need, said before the first one.

Almost all of it is what the forward pass keeps for the backward pass, and that grows with the
number of pixels.  Two small steps are recorded and what they keep is counted; a line through both
gives the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.autograd import topological_order
from minimask.data.sample import Target
from minimask.system.device import DeviceError, free_memory, on_gpu

SIDES = (128, 256)  # pixels, of the images tried
GIB = 2**30
# Gradients on the way back, workspaces of convolutions, blocks of the memory pool that do not fit:
# together at most about a third of what the forward pass keeps.
BACKWARD = 1.35


def step_bytes(model: Any, images: int, height: int, width: int, states: int = 2) -> int:
    """An estimate for one training step; 20 % off either way is usual.

    Args:
        model: in the device's memory already; its weights are not changed.
        images: in a batch.
        height: of the images as the network takes them, in pixels; like `width`.
        width: see there.
        states: arrays the optimizer keeps for each weight: 1 for SGD, 2 for AdamW.

    Returns:
        Bytes, weights included.
    """
    weights = sum(p.data.nbytes for p in model.parameters())
    small, large = (_kept(model, side) for side in SIDES)
    per_pixel = (large - small) / (SIDES[1] ** 2 - SIDES[0] ** 2)
    fixed = max(0.0, small - per_pixel * SIDES[0] ** 2)
    kept = images * (fixed + per_pixel * height * width)
    return int((2 + states) * weights + BACKWARD * kept)


def check(model: Any, images: int, height: int, width: int, states: int = 2) -> str:
    """A sentence on what a step needs on the model's GPU and what there is.

    Raises:
        DeviceError: it is more than the GPU has left.
    """
    needed, free = step_bytes(model, images, height, width, states), free_memory()
    text = (
        f"a step of {images} images of {height} x {width} needs about {needed / GIB:.1f} GiB; "
        f"{model.device} has {free / GIB:.1f} GiB free"
    )
    if needed > free:
        fits = max(0, int(images * free / needed))
        way_out = f"--batch {fits} should fit" if fits else "use smaller images (--max-size)"
        raise DeviceError(f"{text}: {way_out}, or --accumulate with a smaller batch")
    return text


def _kept(model: Any, side: int) -> int:
    """Bytes that the forward pass of one image of `side` x `side` pixels keeps."""
    image = np.zeros((side, side, 3), np.uint8)
    box = np.array([[side / 4, side / 4, side / 2, side / 2]], np.float32)
    mask = np.zeros((1, side, side), np.uint8)
    target = Target(box, np.zeros(1, np.int64), mask)
    was_training, sizes = model.training, (model.min_size, model.max_size)
    running = {name: buffer.copy() for name, buffer in model.named_buffers()}
    model.min_size = model.max_size = None
    try:
        losses = model.train().losses([image], [target], rng=np.random.default_rng(0))
    finally:
        model.min_size, model.max_size = sizes
        model.train(was_training)
        for name, buffer in model.named_buffers():
            buffer[...] = running[name]  # batch norm collected statistics of a black image
    own = {_address(p.data) for p in model.parameters()}
    first, *others = losses.values()
    for loss in others:
        first = first + loss
    arrays: dict[int, int] = {}
    for tensor in topological_order(first):
        saved = tensor._ctx._saved if tensor._ctx is not None else ()
        saved = () if callable(saved) else saved  # a checkpoint keeps nothing of it
        for array in (tensor.data, *saved):
            if hasattr(array, "nbytes") and hasattr(array, "flags") and any(array.strides):
                arrays[_address(array)] = max(array.nbytes, arrays.get(_address(array), 0))
    return sum(size for address, size in arrays.items() if address not in own)


def _address(array: Any) -> int:
    return int(array.data.ptr if on_gpu(array) else array.__array_interface__["data"][0])
