"""Caffe2's classifiers of images, as MSRA and FAIR published them for Detectron: names of blobs.

conv1_w, res_conv1_bn_s, res2_0_branch2a_w, res2_0_branch2a_bn_b, fc1000_w ...; a norm is a scale s
and a shift b, for its statistics are in them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minimask.weights.systems.translated import Arrays, Translated

SYSTEM = "caffe2"
SIGN = re.compile(r"^res2_0_branch2a_w$|^res_conv1_(bn|gn)_[sb]$")
STEM = re.compile(r"^(?:res_)?conv1(_bn|_gn)?_([wbs])$")
BLOCK = re.compile(r"^res(\d)_(\d+)_branch(1|2[abc])(_bn|_gn)?_([wbs])$")
PARTS = {"2a": "1", "2b": "2", "2c": "3"}
EPS = 1e-5


def is_ours(names: Collection[str]) -> bool:
    """Whether these are names of Caffe2's blobs."""
    return any(SIGN.match(name) for name in names)


def translate(arrays: Arrays, about: Mapping[str, Any]) -> Translated:
    """The body under the names it has in classifiers here: conv1.weight, bn1.weight, layer1 ...

    The classifier and what the optimizer remembers are left out.
    """
    here: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}  # of convolutions, by the norm that follows
    for name, array in arrays.items():
        found = _place(name)
        if found is None:
            continue
        conv, norm, kind, is_norm = found
        if not is_norm and kind == "w":
            here[f"{conv}.weight"] = array
        elif not is_norm:
            biases[norm] = array
        else:
            here[f"{norm}.{'weight' if kind == 's' else 'bias'}"] = array
    group = any("_gn_" in name for name in arrays)
    if not group:
        _add_statistics(here)
    for norm, bias in biases.items():
        if f"{norm}.bias" in here:
            here[f"{norm}.bias"] = here[f"{norm}.bias"] + here[f"{norm}.weight"] * bias
    inner = here.get("layer1.0.conv2.weight")
    grouped = inner is not None and inner.shape[1] < inner.shape[0]
    options: dict[str, Any] = {"stride_in_1x1": False} if group else {}
    convention = "detectron2_3x3" if grouped else "detectron2"
    return Translated(SYSTEM, here, convention, options, None, None if group else EPS)


def _place(name: str) -> tuple[str, str, str, bool] | None:
    """The convolution and the norm a blob belongs to, its kind, and whether it is a norm's."""
    stem, block = STEM.match(name), BLOCK.match(name)
    if stem:
        return "conv1", "bn1", stem[2], stem[1] is not None
    if block is None:
        return None
    place = f"layer{int(block[1]) - 1}.{block[2]}."
    if block[3] == "1":
        return f"{place}downsample.0", f"{place}downsample.1", block[5], block[4] is not None
    part = PARTS[block[3]]
    return f"{place}conv{part}", f"{place}bn{part}", block[5], block[4] is not None


def _add_statistics(here: dict[str, np.ndarray]) -> None:
    """Mean 0, and the variance to which adding the epsilon makes 1."""
    norms = [n.removesuffix(".bias") for n in here if n.endswith(".bias")]
    for norm in norms:
        shift = here[f"{norm}.bias"]
        here[f"{norm}.running_mean"] = np.zeros_like(shift)
        here[f"{norm}.running_var"] = np.full_like(shift, 1 - EPS)
