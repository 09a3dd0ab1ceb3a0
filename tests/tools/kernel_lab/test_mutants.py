"""Mistakes put into the project's own kernels: the tier that is there for them must fail.

Every mutant changes one piece of text, which must be there exactly once; so a mutant whose kernel
has been rewritten fails here, instead of testing nothing.
"""

from __future__ import annotations

import pytest

from minimask.kernels.sources import ROOT as KERNELS
from minimask.kernels.sources import read_source
from minimask.tools.kernel_lab import processes, tiers
from minimask.tools.kernel_lab.mutants import Mutant, NoMutant, changed, mutated

BARRIER = "  __syncthreads();\n"
# operation, rung, tier, file, the text, what stands there instead, what the tier says
MUTANTS = {
    "nms: no barrier after a tile is loaded": (
        *("nms", "cuda_2_bitmask", "thread", "rung_2_bitmask.cu"),
        "  }\n  __syncthreads();\n  if (i >= count) return;",
        "  }\n  if (i >= count) return;",
        "data race",
    ),
    "nms: a warp does not wait for its lanes": (
        *("nms", "cuda_3_ballot", "thread", "scan.cuh"),
        "      __syncwarp();  // all lanes have read it\n",
        "",
        "data race",
    ),
    "nms: an IoU equal to the threshold suppresses": (
        *("nms", "cuda_2_bitmask", "values", "nms.cuh"),
        "> threshold;",
        ">= threshold;",
        "IoU of 1/3 at",
    ),
    "box_iou: no barrier after a tile is loaded": (
        *("box_iou", "cuda_2_tiled", "thread", "rung_2_tiled.cu"),
        f"  }}\n{BARRIER}",
        "  }\n",
        "data race",
    ),
    "box_iou: no check of the last column": (
        *("box_iou", "cuda_1_naive", "address", "rung_1_naive.cu"),
        "if (i >= count_a || j >= count_b) return;",
        "if (i >= count_a) return;",
        "outside an array",
    ),
    "box_iou: a literal in float64": (
        *("box_iou", "cuda_1_naive", "compiled", "rung_1_naive.cu"),
        "ratio = overlap /",
        "ratio = 1.1 * overlap /",
        "computes in float64",
    ),
    "conv2d: no barrier before a tile is overwritten": (
        *("conv2d", "cuda_2_shared", "thread", "forward_2_shared.cu"),
        "    __syncthreads();  // before the next numbers overwrite these\n",
        "",
        "data race",
    ),
    "conv2d: a barrier that not all threads reach": (
        *("conv2d", "cuda_2_shared", "values", "forward_2_shared.cu"),
        "    __syncthreads();\n#pragma unroll",
        "    if (has_pixel) __syncthreads();\n#pragma unroll",
        "__syncthreads",
    ),
    "conv2d: one column too many": (
        *("conv2d", "cuda_1_direct", "values", "forward_1_direct.cu"),
        "column >= width) continue;",
        "column > width) continue;",
        "differ",
    ),
    "conv2d: a sum in float64": (
        *("conv2d", "cuda_1_direct", "compiled", "forward_1_direct.cu"),
        "  float sum = 0;\n",
        "  double sum = 0;\n",
        "computes in float64",
    ),
    "roi_align: an addition that is not atomic": (
        *("roi_align", "cuda_backward_1_atomic", "thread", "backward_1_atomic.cu"),
        "atomicAdd(above + x.near, share * (1 - y.part) * (1 - x.part));",
        "above[x.near] += share * (1 - y.part) * (1 - x.part);",
        "data race",
    ),
    "max_pool2d: the last column is left out": (
        *("max_pool2d", "cuda_1_naive", "values", "forward_1_naive.cu"),
        "u < right; ++u",
        "u < right - 1; ++u",
        "differ",
    ),
    "max_pool2d: one row too many": (
        *("max_pool2d", "cuda_1_naive", "address", "forward_1_naive.cu"),
        "min(y + window_y, height)",
        "min(y + window_y, height + 1)",
        "outside an array",
    ),
}


@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name, request):
    op, rung, tier, file, old, new, said = MUTANTS[name]
    mutant = Mutant(file, old, new)
    if tier == "compiled":
        request.getfixturevalue("nvrtc")
    if tier in ("address", "thread"):
        outcome = processes.sanitize(op, [rung], tier, mutant=mutant, seeds=[0])[rung]
        passed, text = outcome.passed, "; ".join(outcome.findings)
        assert f"{file}:" in text  # it names the line
    else:
        with mutated(mutant):
            (result,) = tiers.check(op, [rung], [tier])
        passed, text = result.passed, result.text
    assert passed is False and said in text, text


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_changes_its_kernel(name):
    op, _, _, file, old, new, _ = MUTANTS[name]
    text = (KERNELS / op / "cuda" / file).read_text(encoding="utf-8")
    assert changed(text, Mutant(file, old, new)) != text


def test_a_mutant_without_its_text_is_an_error():
    path = KERNELS / "box_iou" / "cuda" / "rung_1_naive.cu"
    with pytest.raises(NoMutant, match="expected once, found 0 times: 'no such text'"):
        changed(read_source(path), Mutant(path.name, "no such text", ""))
