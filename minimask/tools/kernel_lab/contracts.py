"""What a student's own kernel must be called and take, for each operation that can be tried.

A contract is the kernel's name, its arguments in order, and how many threads it is launched with.
The cases are the operation's own; those with options that the arguments cannot express (other
reductions, groups, half precision) are left out.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import kernels
from minimask.kernels.case import Case
from minimask.kernels.sources import TYPES, Parameter, signatures
from minimask.tools.kernel_lab import values

Values = dict[str, Any]
Bind = Callable[[Any], Values | None]


@dataclass(frozen=True)
class Contract:
    """One kernel to write."""

    name: str  # of the contract and of the kernel
    op: str  # the operation's folder
    function: str  # whose cases and reference hold the kernel to account
    does: str  # what is to be computed, for the template
    parameters: tuple[tuple[str, str], ...]  # C++ declaration, and what it is
    outputs: Mapping[str, str]  # parameter -> its shape in letters
    bind: Bind  # the bound arguments of the function -> inputs and numbers; None: not covered
    threads: str = ""  # letters; default: one for each value of the first output
    zeros: bool = False  # outputs are zeros, to add to; otherwise `values.UNWRITTEN`
    wanted: Callable[[Case, Values], tuple[np.ndarray, ...]] | None = None
    finish: Callable[[Values], tuple[np.ndarray, ...]] | None = None

    @property
    def declaration(self) -> str:
        """The kernel's head in CUDA C++, on one line."""
        parameters = ", ".join(text for text, _ in self.parameters)
        return f'extern "C" __global__ void {self.name}({parameters})'

    @property
    def signature(self) -> tuple[Parameter, ...]:
        """The parameters, as the launcher reads them."""
        return signatures(self.declaration + " {")[self.name]

    def cases(self, *, small: bool = False) -> Iterator[tuple[Case, Values]]:
        """Every case of the operation that the arguments can express, with their values."""
        for case in values.cases(self.op, small=small):
            given = self.values(case)
            if given is not None:
                yield case, given

    def values(self, case: Case) -> Values | None:
        """Every argument of the kernel for one case; outputs are new arrays."""
        floats = [a for a in case.arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        if case.function != self.function or any(a.dtype != np.float32 for a in floats):
            return None
        function = getattr(kernels, self.function)
        bound = inspect.signature(function).bind(*case.arguments, **case.options)
        bound.apply_defaults()
        given = self.bind(bound.arguments)
        if given is None:
            return None
        for name in self.outputs:
            given[name] = self._output(name, given)
        return {
            p.name: np.ascontiguousarray(given[p.name]) if p.pointer else given[p.name]
            for p in self.signature
        }

    def letters(self, given: Mapping[str, Any]) -> dict[str, int]:
        """The sizes that a launch line may use."""
        whole = {p.name for p in self.signature if not p.pointer and p.type in ("int", "i64")}
        return {name: int(given[name]) for name in whole} | {"threads": self.count(given)}

    def count(self, given: Mapping[str, Any]) -> int:
        """How many threads the default launch has to have."""
        text = self.threads or next(iter(self.outputs.values()))
        return math.prod(self._sides(text, given))

    def results(self, given: Values) -> tuple[np.ndarray, ...]:
        """What the kernel computed, in the form of what was wanted."""
        return self.finish(given) if self.finish else tuple(given[n] for n in self.outputs)

    def expected(self, case: Case, given: Values) -> tuple[np.ndarray, ...]:
        """What it should be."""
        return self.wanted(case, given) if self.wanted else values.expected(case)

    def _output(self, name: str, given: Values) -> np.ndarray:
        kind = next(TYPES[p.type] for p in self.signature if p.name == name)
        array: np.ndarray = np.zeros(self._sides(self.outputs[name], given), kind)
        if not self.zeros:
            array.view(np.uint8).fill(values.UNWRITTEN[array.dtype.kind])
        return array

    def _sides(self, text: str, given: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(int(given[letter]) for letter in text.split(", "))


def check(contract: Contract, source: str) -> None:
    """Hold the kernels of a source against a contract.

    Raises:
        ValueError: no kernel of that name, or other parameters; the message says what is expected.
    """
    expected = f"expected\n  {contract.declaration}"
    found = signatures(source)
    if contract.name not in found:
        others = f"it has {', '.join(found)}" if found else "it has no `__global__ void` kernel"
        raise ValueError(f"no kernel {contract.name}: {others}; {expected}")
    mine, theirs = contract.signature, found[contract.name]
    if len(mine) != len(theirs):
        raise ValueError(
            f"{contract.name} takes {len(theirs)} arguments instead of {len(mine)}; {expected}"
        )
    for number, (want, got) in enumerate(zip(mine, theirs, strict=True), 1):
        if want.pointer != got.pointer or _kind(want) != _kind(got):
            raise ValueError(
                f"argument {number} of {contract.name}, {got.name}, is {_text(got)} instead of "
                f"{_text(want)}; {expected}"
            )
    bounds = r"(?:__launch_bounds__\s*\([^)]*\)\s*)?"
    head = rf'extern\s+"C"\s+__global__\s+void\s+{bounds}{contract.name}\s*\('
    if not re.search(head, source):
        raise ValueError(
            f'{contract.name}: a GPU finds it by name only if it is extern "C"; {expected}'
        )


def _kind(parameter: Parameter) -> str:
    """What a type counts as: float4 as float; an int or i64 that is no array as the same."""
    kind = np.dtype(TYPES[parameter.type])
    if not parameter.pointer and kind.kind in "iub":
        return "whole number"
    return str(kind)


def _text(parameter: Parameter) -> str:
    return parameter.type + ("*" if parameter.pointer else "")


# ---- what the arguments of each operation are


def _box_iou(given: Mapping[str, Any]) -> Values:
    a, b = given["boxes_a"], given["boxes_b"]
    return {"boxes_a": a, "boxes_b": b, "A": len(a), "B": len(b)}


def _nms(given: Mapping[str, Any]) -> Values:
    boxes = given["boxes"][np.argsort(-given["scores"], kind="stable")]
    words = -(-len(boxes) // 64)
    threshold = given["iou_threshold"]
    return {"boxes": boxes, "R": len(boxes), "words": words, "threshold": threshold}


def _suppressed(case: Case, given: Values) -> tuple[np.ndarray, ...]:
    """(R, R) bool: whether box i, if it is kept, suppresses the later box j."""
    from minimask.kernels.box_iou.reference import box_iou

    boxes = given["boxes"]
    return (np.triu(box_iou(boxes, boxes) > np.float32(given["threshold"]), 1),)


def _bits(given: Values) -> tuple[np.ndarray, ...]:
    count, mask = given["R"], given["mask"]
    bits = mask[:, :, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    return (np.triu(bits.reshape(count, 64 * given["words"])[:, :count].astype(bool), 1),)


def _features(given: Mapping[str, Any]) -> Values | None:
    features, rois, size = given["features"], given["rois"], given["output_size"]
    if not isinstance(features, np.ndarray) or features.dtype != np.float32:
        return None
    height, width = size if isinstance(size, Sequence) else (size, size)
    values = {"features": features, "rois": rois, "R": len(rois), "PH": height, "PW": width}
    return values | _four("NCHW", features.shape) | {"scale": given["spatial_scale"]}


def _roi_align(given: Mapping[str, Any]) -> Values | None:
    values = _features(given)
    if values is None or given["reduce"] != "mean":
        return None
    return values | {"ratio": given["sampling_ratio"], "aligned": int(given["aligned"])}


def _roi_align_backward(given: Mapping[str, Any]) -> Values | None:
    grad, rois, shape = given["grad"], given["rois"], given["input_shape"]
    if grad.dtype != np.float32 or len(shape) != 4:
        return None
    values = {"grad": grad, "rois": rois, "R": len(rois), "PH": grad.shape[2], "PW": grad.shape[3]}
    values |= {"scale": given["spatial_scale"], "ratio": given["sampling_ratio"]}
    return values | _four("NCHW", shape) | {"aligned": int(given["aligned"])}


def _conv2d(given: Mapping[str, Any]) -> Values | None:
    x, weight = given["x"], given["weight"]
    if given["groups"] != 1 or _pair(given["dilation"]) != (1, 1):
        return None
    filters, _, kh, kw = weight.shape
    (sy, sx), (py, px) = _pair(given["stride"]), _pair(given["padding"])
    height, width = (x.shape[2] + 2 * py - kh) // sy + 1, (x.shape[3] + 2 * px - kw) // sx + 1
    bias = given["bias"] if given["bias"] is not None else np.zeros(filters, np.float32)
    values = {"x": x, "weight": weight, "bias": bias, "K": filters, "KH": kh, "KW": kw}
    values |= {"OH": height, "OW": width, "SY": sy, "SX": sx, "PY": py, "PX": px}
    return values | _four("NCHW", x.shape)


def _max_pool2d(given: Mapping[str, Any]) -> Values | None:
    x, window = given["x"], _pair(given["kernel_size"])
    sy, sx = window if given["stride"] is None else _pair(given["stride"])
    py, px = _pair(given["padding"])
    height = (x.shape[2] + 2 * py - window[0]) // sy + 1
    width = (x.shape[3] + 2 * px - window[1]) // sx + 1
    values = {"x": x, "KH": window[0], "KW": window[1], "OH": height, "OW": width}
    return values | _four("NCHW", x.shape) | {"SY": sy, "SX": sx, "PY": py, "PX": px}


def _four(letters: str, shape: Sequence[int]) -> Values:
    return dict(zip(letters, shape, strict=True))


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, Sequence) else (value, value)
    return int(first), int(second)


# ---- the contracts

_IMAGES = (
    ("int N", "images"),
    ("int C", "channels"),
    ("int H", "height of the features"),
    ("int W", "their width"),
)
_ROIS = (
    ("int R", "regions of interest (RoIs)"),
    ("int PH", "rows of bins of every RoI"),
    ("int PW", "columns of bins"),
    ("float scale", "feature cells per unit of the boxes"),
)
_SAMPLES = (
    ("int ratio", "samples a bin along each axis; 0: ceil(side / PH), ceil(side / PW)"),
    ("int aligned", "1: subtract half a cell; 0: do not, and widen sides below 1 to 1"),
)
_STEPS = (
    ("int SY", "stride down"),
    ("int SX", "stride right"),
    ("int PY", "padding above and below"),
    ("int PX", "padding left and right"),
)
_BOXES = "(R, 5): image index, x0, y0, x1, y1"


@functools.cache
def contracts() -> dict[str, Contract]:
    """All contracts by name."""
    return {contract.name: contract for contract in _all()}


def _all() -> Iterator[Contract]:
    yield Contract(
        "box_iou",
        "box_iou",
        "box_iou",
        "out[i, j] = intersection over union of boxes_a[i] and boxes_b[j]; 0 where either has no "
        "inside",
        (
            ("const float* boxes_a", "(A, 4): x0, y0, x1, y1"),
            ("const float* boxes_b", "(B, 4)"),
            ("int A", "boxes in the first list"),
            ("int B", "boxes in the second"),
            ("float* out", "(A, B)"),
        ),
        {"out": "A, B"},
        _box_iou,
    )
    yield Contract(
        "nms",
        "nms",
        "nms",
        "bit j % 64 of mask[i, j / 64] = IoU(boxes[i], boxes[j]) > threshold, for j > i; the other "
        "bits of a word are ignored. The boxes come sorted by falling score, and the walk down "
        "the rows is done for you",
        (
            ("const float* boxes", "(R, 4): x0, y0, x1, y1"),
            ("int R", "boxes"),
            ("int words", "64-bit words a row, (R + 63) / 64"),
            ("float threshold", "an IoU equal to it does not suppress"),
            ("u64* mask", "(R, words)"),
        ),
        {"mask": "R, words"},
        _nms,
        wanted=_suppressed,
        finish=_bits,
    )
    yield Contract(
        "roi_pool",
        "roi_pool",
        "roi_pool",
        "out[r, c, ph, pw] = the largest value of the bin's cells, argmax = where it is, row * W + "
        "column; 0 and -1 for a bin without a cell",
        (
            ("const float* features", "(N, C, H, W)"),
            ("const float* rois", _BOXES),
            *_IMAGES,
            *_ROIS,
            ("float* out", "(R, C, PH, PW)"),
            ("int* argmax", "(R, C, PH, PW)"),
        ),
        {"out": "R, C, PH, PW", "argmax": "R, C, PH, PW"},
        _features,
    )
    yield Contract(
        "roi_align",
        "roi_align",
        "roi_align",
        "out[r, c, ph, pw] = the mean of the bin's samples, each interpolated between four cells",
        (
            ("const float* features", "(N, C, H, W)"),
            ("const float* rois", _BOXES),
            *_IMAGES,
            *_ROIS,
            *_SAMPLES,
            ("float* out", "(R, C, PH, PW)"),
        ),
        {"out": "R, C, PH, PW"},
        _roi_align,
    )
    yield Contract(
        "roi_align_backward",
        "roi_align",
        "roi_align_backward",
        "grad_in[n, c, y, x] += each bin's gradient times the weight with which it read the cell",
        (
            ("const float* grad", "(R, C, PH, PW)"),
            ("const float* rois", _BOXES),
            *_IMAGES,
            *_ROIS,
            *_SAMPLES,
            ("float* grad_in", "(N, C, H, W), zeros"),
        ),
        {"grad_in": "N, C, H, W"},
        _roi_align_backward,
        threads="R, C, PH, PW",
        zeros=True,
    )
    yield Contract(
        "conv2d",
        "conv2d",
        "conv2d",
        "out[n, k, i, j] = bias[k] + sum over c, u, v of weight[k, c, u, v] * "
        "x[n, c, i * SY - PY + u, j * SX - PX + v], zeros outside",
        (
            ("const float* x", "(N, C, H, W)"),
            ("const float* weight", "(K, C, KH, KW)"),
            ("const float* bias", "(K,)"),
            *_IMAGES,
            ("int K", "output channels"),
            ("int KH", "rows of the window"),
            ("int KW", "its columns"),
            ("int OH", "rows of the output"),
            ("int OW", "its columns"),
            *_STEPS,
            ("float* out", "(N, K, OH, OW)"),
        ),
        {"out": "N, K, OH, OW"},
        _conv2d,
    )
    yield Contract(
        "max_pool2d",
        "max_pool2d",
        "max_pool2d",
        "out[n, c, i, j] = the largest value of the window at row i * SY - PY, column j * SX - PX; "
        "argmax = where it is, row * W + column",
        (
            ("const float* x", "(N, C, H, W)"),
            *_IMAGES,
            ("int KH", "rows of the window"),
            ("int KW", "its columns"),
            ("int OH", "rows of the output"),
            ("int OW", "its columns"),
            *_STEPS,
            ("float* out", "(N, C, OH, OW)"),
            ("int* argmax", "(N, C, OH, OW)"),
        ),
        {"out": "N, C, OH, OW", "argmax": "N, C, OH, OW"},
        _max_pool2d,
    )
