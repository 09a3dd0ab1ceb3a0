"""What AdamW's settings come to in one step: the six numbers that its kernels multiply by.

They are computed in float64 and then rounded once to the type of the arrays, in every rung alike;
NumPy does the same with the numbers in `reference.py`.  So 1 - 0.999 is the float32 next to 0.001,
not the difference of two float32s, which is 1.3e-5 of it away.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Factors(NamedTuple):
    """In the order in which the kernels take them."""

    toward_grad: float  # how much of the way the mean goes to the gradient
    toward_square: float  # and the mean of squares to the gradient's square
    root_scale: float  # makes up for the mean of squares having begun at 0
    eps: float
    length: float  # of a step, with the same correction for the mean
    keep: float  # what weight decay leaves of a weight


def factors(
    *,
    lr: float,
    beta_mean: float,
    beta_square: float,
    mean_bias: float,
    square_bias: float,
    eps: float,
    weight_decay: float,
) -> Factors:
    """From the arguments of `adamw_step`; `keep` is exactly 1 without weight decay."""
    return Factors(
        toward_grad=1 - beta_mean,
        toward_square=1 - beta_square,
        root_scale=1 / math.sqrt(square_bias),
        eps=eps,
        length=lr / mean_bias,
        keep=1 - lr * weight_decay,
    )
