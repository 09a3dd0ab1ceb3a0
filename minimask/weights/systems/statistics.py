"""What the first norm's statistics say about the images that a network was trained on."""

from __future__ import annotations

import numpy as np

from minimask.weights.systems.translated import Arrays

# Between variances that images have when divided by a standard deviation (about 58) and when not:
# they are 58 squared apart.
_BETWEEN = 58.0


def is_affine(arrays: Arrays, norm: str) -> bool:
    """Whether a norm has no statistics of its own: Caffe2 folded them into scale and shift."""
    mean, var = (arrays.get(f"{norm}.running_{kind}") for kind in ("mean", "var"))
    if mean is None or var is None or not var.size:
        return False
    return not mean.any() and bool(np.abs(var - 1).max() < 1e-3)


def sees_whole_pixels(arrays: Arrays, conv: str, norm: str) -> bool | None:
    """Whether a network sees pixels of 0 .. 255 less a mean, not divided by a deviation.

    The variance that the first norm measured is compared with what its convolution makes of noise
    of variance 1.

    Args:
        arrays: of the network.
        conv: name of the first convolution.
        norm: name of the norm after it.

    Returns:
        None where the statistics are not there or say nothing.
    """
    weight, var = arrays.get(f"{conv}.weight"), arrays.get(f"{norm}.running_var")
    if weight is None or var is None or is_affine(arrays, norm):
        return None
    noise = (weight.astype(np.float64) ** 2).sum(axis=(1, 2, 3))
    if noise.shape != var.shape:
        return None
    good = (noise > 1e-12) & (var > 1e-12)
    if good.sum() * 2 < len(noise) or not len(noise):
        return None
    return bool(np.median(var[good] / noise[good]) > _BETWEEN)
