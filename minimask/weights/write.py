"""A network with its weights as a file that says which network it is."""

from __future__ import annotations

import io
import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimask.system.files import write_whole

if TYPE_CHECKING:
    from minimask.models.detector import Detector


def write_network(model: Detector, path: str | PathLike[str]) -> None:
    """Write a model's weights, in a safetensors file together with its config.

    Args:
        model: what `minimask.models` builds.
        path: ends in `.safetensors`, which opens again without options, or `.npz`, which holds the
            arrays alone; the file appears whole or not at all.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written; names the path.
    """
    path = Path(path)
    arrays = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}
    if path.suffix.lower() == ".npz":
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        write_whole(path, content.getvalue())
    elif path.suffix.lower() == ".safetensors":
        from safetensors.numpy import save

        write_whole(path, save(arrays, {"minimask": json.dumps({"model": model.config})}))
    else:
        raise ValueError(
            f"{path}: a network is written as .safetensors or .npz, not {path.suffix!r}"
        )
