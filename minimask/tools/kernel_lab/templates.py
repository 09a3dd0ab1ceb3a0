"""The file a student begins with: the contract as comments, and a kernel without a body."""

from __future__ import annotations

import textwrap
from pathlib import Path

from minimask.tools.kernel_lab.contracts import Contract

_LAUNCH = "launch: block=({block}) grid=((threads + {more}) / {block}) shared=0"


def write(file: Path, contract: Contract) -> None:
    """Write a template; an existing file is never touched.

    Raises:
        FileExistsError: the file exists.
        ValueError: its name ends in neither .cu nor .py.
    """
    if file.suffix not in (".cu", ".py"):
        raise ValueError(f"{file}: expected a name that ends in .cu (CUDA C++) or .py (Numba-CUDA)")
    text = cuda(contract) if file.suffix == ".cu" else numba(contract)
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise FileExistsError(f"{file} exists; choose another name, or remove it") from None


def cuda(contract: Contract) -> str:
    """The template in CUDA C++."""
    lines = [*_head(contract, 256), "", "shared: bytes of DYNAMIC_SHARED(type, name) a block"]
    parameters = ",\n    ".join(text for text, _ in contract.parameters)
    return (
        "\n".join(f"// {line}".rstrip() for line in lines)
        + f'\n#include "device.cuh"\n\nextern "C" __global__ void {contract.name}(\n'
        + f"    {parameters}) {{\n"
        + "  const i64 thread = global_thread();\n"
        + f"  if (thread >= {_product(contract, 'i64')}) return;  // the last block is not full\n"
        + "  // your code\n}\n"
    )


def numba(contract: Contract) -> str:
    """The template in Numba-CUDA."""
    names = ", ".join(p.name for p in contract.signature)
    note = (
        "Arrays have the shapes above: out[i, j]. Write float32(0.5) and float32(i): a plain 0.5 "
        "times a float32 is computed in float64, and slowly, on a GPU."
    )
    lines = [*_head(contract, 64), "", *textwrap.wrap(note, 96)]
    return (
        "\n".join(f"# {line}".rstrip() for line in lines)
        + "\nfrom numba import cuda, float32\n\n\n@cuda.jit\n"
        + f"def {contract.name}({names}):\n"
        + "    thread = cuda.grid(1)\n"
        + f"    if thread >= {_product(contract, '')}:\n"
        + "        return  # the last block is not full\n"
        + "    # your code\n"
    )


def _head(contract: Contract, block: int) -> list[str]:
    """Lines of the comment above the kernel, without the comment signs."""
    width = max(len(p.name) for p in contract.signature)
    pairs = zip(contract.signature, contract.parameters, strict=True)
    return [
        *textwrap.wrap(contract.does, 96),
        "",
        *(f"{parameter.name:{width}}  {meaning}" for parameter, (_, meaning) in pairs),
        "",
        *textwrap.wrap(
            "How it is launched: numbers, the sizes above, `threads` (here "
            f"{_product(contract, '')}), + - * / % and min, max; up to three for x, y, z.",
            96,
        ),
        _LAUNCH.format(block=block, more=block - 1),
    ]


def _product(contract: Contract, cast: str) -> str:
    sides = (contract.threads or next(iter(contract.outputs.values()))).split(", ")
    first = f"{cast}({sides[0]})" if cast else sides[0]
    return " * ".join([first, *sides[1:]])
