"""How fast are the convolutions of a small Mask R-CNN, in every direction and variant?

    python benchmarks/convolution.py [--variants cpu winograd] [--layers mask] [--threads 1]

Prints GFLOP/s (2 x multiply-adds of the definition, whatever the variant really computes) of the
forward pass, the input gradient and the weight gradient, as the best of the repetitions: others'
load on the machine only ever makes a run slower.  With torch installed its numbers stand beside,
measured in turns with ours.  The last lines weigh the layers by their number in one training step.

    python benchmarks/convolution.py --grouped [--threads 1 --cpu-time]

does the same for the grouped convolutions of ResNeXt and the depthwise ones of EfficientNet and
MobileNetV3.  `--cpu-time`, of one thread: medians of the time the processor worked, for a machine
that others use meanwhile.

    python benchmarks/convolution.py --ladder

times the end of a residual block, convolution, bias, sum with the shortcut and ReLU, rung by rung.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cpu_cases as cases

from minimask.system import runtime

runtime.prepare()  # before NumPy loads, as the command does

import numpy as np  # noqa: E402

from minimask.kernels.conv2d import (  # noqa: E402
    VARIANTS,
    conv2d,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv_transpose2d,
)
from minimask.kernels.conv2d.geometry import geometry  # noqa: E402

Runs = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Layer:
    name: str
    x: tuple[int, int, int, int]
    filters: int
    window: int
    stride: int = 1
    count: int = 1  # how many of them a training step runs
    transposed: bool = False
    first: bool = False  # the network's first layer needs no input gradient
    groups: int = 1

    @property
    def padding(self) -> int:
        return 0 if self.transposed else self.window // 2

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        c = self.x[1] // self.groups
        pair = (c, self.filters) if self.transposed else (self.filters, c)
        return (*pair, self.window, self.window)

    @property
    def flop(self) -> float:
        if self.transposed:
            return 2.0 * np.prod(self.x) * np.prod(self.weight_shape[1:])
        g = geometry(
            self.x,
            self.weight_shape,
            stride=self.stride,
            padding=self.padding,
            dilation=1,
            groups=self.groups,
        )
        return 2.0 * np.prod(g.output_shape) * g.inner


def laptop_layers(batch: int = 8, rois: int = 128) -> list[Layer]:
    """Basic blocks 1-1-1-1, a pyramid of 64 channels, RPN, and a mask head, on 128x128 images."""
    n = batch
    layers = [
        Layer("stem 7x7/2", (n, 3, 128, 128), 64, 7, 2, first=True),
        Layer("layer1 3x3", (n, 64, 32, 32), 64, 3, count=2),
    ]
    for i, c in enumerate((64, 128, 256)):
        size = 32 >> i
        name = f"layer{i + 2}"
        layers += [
            Layer(f"{name} 3x3/2", (n, c, size, size), 2 * c, 3, 2),
            Layer(f"{name} 1x1/2", (n, c, size, size), 2 * c, 1, 2),
            Layer(f"{name} 3x3", (n, 2 * c, size // 2, size // 2), 2 * c, 3),
        ]
    for i, c in enumerate((64, 128, 256, 512)):
        layers.append(Layer(f"fpn 1x1 {c}", (n, c, 32 >> i, 32 >> i), 64, 1))
    for i in range(4):  # the pyramid's own 3x3, and the proposal network's
        layers.append(Layer(f"fpn, rpn 3x3 {32 >> i}", (n, 64, 32 >> i, 32 >> i), 64, 3, count=2))
    return [
        *layers,
        Layer("rpn 1x1", (n, 64, 32, 32), 15, 1),
        Layer("mask 3x3", (rois, 64, 14, 14), 64, 3, count=4),
        Layer("mask up 2x2/2", (rois, 64, 14, 14), 64, 2, 2, transposed=True),
        Layer("mask 1x1", (rois, 64, 28, 28), 4, 1),
    ]


def grouped_layers() -> list[Layer]:
    """Of ResNeXt-50 and -101 at 800 x 1216; depthwise ones, small and large."""
    layers = [
        Layer(
            f"{groups} groups of {x[1] // groups}, 3x3/{stride}", x, x[1], 3, stride, groups=groups
        )
        for x, groups, stride in cases.CONV_GROUPED
    ]
    return layers + [
        Layer(f"depthwise {window}x{window}/{stride}", x, x[1], window, stride, groups=x[1])
        for x, window, stride in cases.CONV_DEPTHWISE
    ]


def ours(layer: Layer, variant: str) -> Runs:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(layer.x).astype(np.float32)
    weight = (rng.standard_normal(layer.weight_shape) / 30).astype(np.float32)
    bias = np.zeros(layer.filters, np.float32)
    options = {"stride": layer.stride, "padding": layer.padding, "variant": variant}
    options |= {} if layer.transposed else {"groups": layer.groups}
    if layer.transposed:
        y = conv_transpose2d(x, weight, bias, **options)
        return {
            "forward": lambda: conv_transpose2d(x, weight, bias, **options),
            "dx": lambda: conv2d(y, weight, **options),
            "dw": lambda: conv2d_backward_weight(x, y, weight.shape, **options),
        }
    y = conv2d(x, weight, bias, **options)
    return {
        "forward": lambda: conv2d(x, weight, bias, **options),
        "dx": lambda: conv2d_backward_input(y, weight, x.shape, **options),
        "dw": lambda: conv2d_backward_weight(y, x, weight.shape, **options),
    }


def torchs(layer: Layer) -> Runs:
    import torch

    rng = np.random.default_rng(0)
    x, weight, bias = (
        torch.tensor(rng.standard_normal(shape).astype(np.float32))
        for shape in (layer.x, layer.weight_shape, (layer.filters,))
    )
    name = "conv_transpose2d" if layer.transposed else "conv2d"
    run = getattr(torch.nn.functional, name)
    options = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
    y = run(x, weight, bias, **options)

    def backward(wanted: list[bool]) -> object:
        p, s = [layer.padding] * 2, [layer.stride] * 2
        return torch.ops.aten.convolution_backward(
            y, x, weight, None, s, p, [1, 1], layer.transposed, [0, 0], layer.groups, wanted
        )

    return {
        "forward": lambda: run(x, weight, bias, **options),
        "dx": lambda: backward([True, False, False]),
        "dw": lambda: backward([False, True, False]),
    }


def measure(
    candidates: dict[str, Callable[[], object]], seconds: float, cpu_time: bool = False
) -> dict[str, float]:
    """Best time of each, taken in turns, so that load from outside meets all of them.

    `cpu_time`: the median of the time that this thread has worked.
    """
    clock = time.thread_time if cpu_time else time.perf_counter
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds * len(candidates)
    while time.perf_counter() < end or not times[next(iter(times))]:
        for name, run in candidates.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: (np.median if cpu_time else min)(found) for name, found in times.items()}


LADDER = {  # the ends of residual blocks: x, filters, window
    "3x3, 64 -> 64, 200 x 272": ((1, 64, 200, 272), 64, 3),
    "3x3, 256 -> 256, 50 x 68": ((1, 256, 50, 68), 256, 3),
    "1x1, 64 -> 256, 200 x 272": ((1, 64, 200, 272), 256, 1),
}


def block_end(x: np.ndarray, filters: int, window: int, name: str) -> Callable[[], object]:
    """relu(conv2d(x) + bias + shortcut) in one rung, or in torch."""
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((filters, x.shape[1], window, window)) / 30).astype(np.float32)
    bias = np.zeros(filters, np.float32)
    shortcut = rng.standard_normal((x.shape[0], filters, *x.shape[2:]), np.float32)
    if name != "torch":
        options = {"padding": window // 2, "residual": shortcut, "relu": True, "variant": name}
        return lambda: conv2d(x, weight, bias, **options)
    import torch
    from torch.nn.functional import conv2d as convolve

    pixels, w, b, r = map(torch.from_numpy, (x, weight, bias, shortcut))
    return lambda: convolve(pixels, w, b, padding=window // 2).add_(r).relu_()


def ladder(names: list[str], seconds: float) -> None:
    """A table: milliseconds of every rung on the ends of some residual blocks."""
    print(f"| rung | {' | '.join(LADDER)} |")
    print("|---|" + "---:|" * len(LADDER))
    times: dict[str, list[float]] = {name: [] for name in names}
    for shape, filters, window in LADDER.values():
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        runs = {name: block_end(x, filters, window, name) for name in names}
        for name, best in measure(runs, seconds).items():
            times[name].append(best)
    for name, row in times.items():
        print(f"| {name} | " + " | ".join(f"{1e3 * t:.1f}" for t in row) + " |", flush=True)


def set_threads(count: int) -> None:
    import numba
    import threadpoolctl

    numba.set_num_threads(count)
    threadpoolctl.threadpool_limits(count, user_api="blas")


def rows(layers: list[Layer], names: list[str], seconds: float, cpu_time: bool) -> Iterator[tuple]:
    for layer in layers:
        sides = {n: torchs(layer) if n == "torch" else ours(layer, n) for n in names}
        for direction in ("forward", "dx", "dw"):
            if layer.first and direction == "dx":
                continue
            best = measure({n: runs[direction] for n, runs in sides.items()}, seconds, cpu_time)
            yield layer, direction, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[name for name, v in VARIANTS.items() if v.device == "cpu" and name != "reference"],
    )
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--seconds", type=float, default=0.3, help="per row and variant")
    parser.add_argument("--threads", type=int, default=0, help="of every pool; default: as it is")
    parser.add_argument("--grouped", action="store_true", help="groups and depthwise")
    parser.add_argument("--cpu-time", action="store_true", help="medians; with --threads 1")
    parser.add_argument("--ladder", action="store_true", help="the end of a residual block")
    args = parser.parse_args()
    if args.threads:
        set_threads(args.threads)
    names = list(args.variants)
    with contextlib.suppress(ImportError):
        import torch

        torch.set_grad_enabled(False)
        torch.set_num_threads(args.threads or torch.get_num_threads())
        names.append("torch")
    if args.ladder:
        ladder(["reference", *names], args.seconds)
        return
    layers = [
        layer
        for layer in (grouped_layers() if args.grouped else laptop_layers())
        if args.layers in layer.name
    ]
    print("| layer | x | direction | ms | " + " | ".join(f"{n} GFLOP/s" for n in names) + " |")
    print("|---|---|---|---:|" + "---:|" * len(names))
    total: dict[str, dict[str, float]] = {}
    for layer, direction, best in rows(layers, names, args.seconds, args.cpu_time):
        rates = " | ".join(f"{layer.flop / best[n] / 1e9:.0f}" for n in names)
        ms = " / ".join(f"{1e3 * best[n]:.2f}" for n in names)
        print(f"| {layer.name} | {layer.x} | {direction} | {ms} | {rates} |", flush=True)
        for n in names:
            sums = total.setdefault(n, {})
            sums[direction] = sums.get(direction, 0.0) + layer.count * best[n]
    if args.grouped:
        return
    print("\nOne training step, all layers by their number, milliseconds:")
    for n in names:
        parts = ", ".join(f"{d} {1e3 * t:.1f}" for d, t in total[n].items())
        print(f"  {n}: {1e3 * sum(total[n].values()):.1f} ({parts})")


if __name__ == "__main__":
    main()
