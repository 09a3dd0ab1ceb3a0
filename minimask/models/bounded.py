"""Models whose description comes from a file, which may describe anything.

    model = build_for(config, shapes)     # of no more numbers than the file has

What a description may cost is bounded twice: sizes that no network has are refused before it is
built, and the layers may have no more numbers than the arrays they are made for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from minimask.models.factory import build
from minimask.nn.budget import BudgetExceeded, numbers_at_most

Shapes = Mapping[str, tuple[int, ...]]

LARGEST = 1_000_000  # of any whole number, if nothing else is said here
# of options that cost time or memory without having numbers in the file, or before they have them
LARGEST_OF = {
    "layers": 1000, "rpn_conv_depth": 100, "head_depth": 100, "head_kernel": 64,
    "num_classes": 100_000, "num_keypoints": 10_000, "finest": 1024,
    "min_size": 20_000, "max_size": 20_000, "size_divisor": 4096, "single_map_divisor": 4096,
    "sampling_ratio": 64, "crop_size": 2048, "crop_context": 1024, "width_multiplier": 100,
    "topk_candidates": LARGEST, "grid_limit": LARGEST,
}  # fmt: skip
SMALLEST_OF = {"grid_sizes": 0.01, "grid_step": 0.01}  # shares of the image: smaller, more windows
ANY_NUMBER = ("seed",)  # it is drawn from, and sizes nothing
DEEPEST = 20
# numbers that a file may lack: statistics of norms, heads that it was saved without
SHARE, SPARE = 1.25, 100_000


def build_for(config: Mapping[str, Any], shapes: Shapes) -> Any:
    """The model that a `model.config` describes, if it may be that of arrays of these shapes.

    Args:
        config: read from a file.
        shapes: of the arrays that the model is to be filled with.

    Raises:
        ValueError: sizes that no network has, more numbers than the arrays have, or a description
            that cannot be built.
    """
    for name, value in _numbers(config, "", 0):
        if not _allowed(name, value):
            raise ValueError(
                f"its config says {_short(name)}={_short(value)}, which no network has; the file "
                "is damaged, or made to do harm"
            )
    numbers = sum(math.prod(shape) for shape in shapes.values())
    try:
        with numbers_at_most(int(SHARE * numbers) + SPARE):
            return build(config)
    except BudgetExceeded:
        raise ValueError(
            f"its config describes a network of more numbers than the {numbers} in the file; the "
            "file is damaged, or made to do harm"
        ) from None
    except ValueError as error:  # it may quote what the file says at length
        raise ValueError(_short(error, 400)) from error
    except Exception as error:  # values of any type may stand where sizes belong
        raise ValueError(
            f"its config describes no network ({type(error).__name__}: {_short(error)})"
        ) from error


def _numbers(value: Any, name: str, depth: int) -> Iterator[tuple[str, int | float]]:
    """Every number in a config, with the name of the option that it belongs to."""
    if depth > DEEPEST:
        raise ValueError("its config is nested more deeply than that of any network")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, name, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def _allowed(name: str, value: int | float) -> bool:
    if name in ANY_NUMBER:
        return 0 <= value < 2**128
    largest = LARGEST_OF.get(name, LARGEST)
    return value >= SMALLEST_OF.get(name, -LARGEST) and value <= largest


def _short(value: object, longest: int = 60) -> str:
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    text = "".join(c if c.isprintable() else " " for c in str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
