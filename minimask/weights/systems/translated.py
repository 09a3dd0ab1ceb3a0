"""What a system's module makes of a file: minimask's names and values, and what else is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
COUNTER = "num_batches_tracked"  # torch's count of batches in norms that are trained


@dataclass(frozen=True)
class Translated:
    """The arrays of a file as minimask's models name and lay them out.

    Attributes:
        system: whose file it is: "torchvision", "detectron2", "mmdet", "matterport", "caffe2".
        arrays: of parameters and running statistics alone.
        convention: the name of the choices that the weights were trained with.
        options: of a factory, in which the network is otherwise than that convention has it, and
            which the shapes do not show.
        classes: the names of its classes, without background; None: unknown.
        norm_eps: what its norms add to variances; None: the file does not show it.
        remarks: what was taken for granted because the file does not say it, each a phrase.
    """

    system: str
    arrays: dict[str, np.ndarray]
    convention: str
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    norm_eps: float | None = None
    remarks: tuple[str, ...] = ()
