"""The rooms of the house and who may import whom: the one place where this is written.

The test holds the source to it, `docs/make_architecture.py` draws the map and writes the table of
`docs/architecture.md` from it.  A new package needs a line here; so does a new permission, and
that line is where to think about whether the house should be built so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from import_graph import Import


@dataclass(frozen=True)
class Room:
    """Modules that belong together.

    Attributes:
        name: as on the map.
        modules: names of modules and packages; of several rooms the longest name decides.
        what: what it is for, in a few words.
        may: the rooms it may import, besides itself.
    """

    name: str
    modules: tuple[str, ...]
    what: str
    may: tuple[str, ...]


GROUND = ("arrays and hooks",)
ENGINE = ("autograd", "kernels", "system", *GROUND)
NETWORK = ("models", "nn", "functional", "boxes", "conventions", *ENGINE)
USE = ("train", "evaluate", "draw", "data", "weights", *NETWORK)

ROOMS = (
    Room(
        "import minimask",
        ("minimask",),
        "the public names, each imported when first used",
        ("cli", "doctor", *USE),
    ),
    Room(
        "cli",
        ("minimask.tools.cli", "minimask.tools"),
        "the command",
        (
            "textbook",
            "profile",
            "info",
            "kernel lab",
            "testing",
            "doctor",
            "classical",
            "import minimask",
            *USE,
        ),
    ),
    Room(
        "textbook",
        ("minimask.tools.textbook",),
        "trace, claims, explorer, ablations",
        ("profile", "info", "classical", "import minimask", *USE),
    ),
    Room(
        "info",
        ("minimask.tools.info",),
        "a network in numbers",
        ("profile", *USE),
    ),
    Room("profile", ("minimask.tools.profile",), "time and memory of a step", USE),
    Room(
        "kernel lab",
        ("minimask.tools.kernel_lab",),
        "every check of a kernel",
        ("testing", "doctor", "boxes", *ENGINE),
    ),
    Room("testing", ("minimask.tools.testing",), "gradcheck", ENGINE),
    Room(
        "doctor",
        ("minimask.system.environment",),
        "what is installed, and how fast",
        ("kernels", "system", *GROUND),
    ),
    Room(
        "train",
        ("minimask.train",),
        "the loop, the optimizers, runs that resume",
        ("evaluate", "draw", "data", "weights", *NETWORK),
    ),
    Room(
        "draw",
        ("minimask.draw",),
        "overlays, curves, sheets",
        ("evaluate", "data", "models", "system"),
    ),
    Room(
        "evaluate",
        ("minimask.evaluate",),
        "COCO metric, and why it is low",
        ("data", "models", "system"),
    ),
    Room("classical", ("minimask.classical",), "segmentation before networks", ()),
    Room("data", ("minimask.data",), "images with their instances", ("boxes", "system", *GROUND)),
    Room(
        "weights",
        ("minimask.weights",),
        "weight files and their names",
        ("models", "nn", "conventions", "system"),
    ),
    Room(
        "models",
        ("minimask.models",),
        "one file per box of the figure",
        ("data", *(room for room in NETWORK if room != "models")),
    ),
    Room(
        "conventions",
        ("minimask.conventions",),
        "where systems disagree",
        (),
    ),
    Room("boxes", ("minimask.boxes",), "arithmetic of boxes", ("kernels", *GROUND)),
    Room("nn", ("minimask.nn",), "layers with weights", ("functional", *ENGINE)),
    Room(
        "functional",
        ("minimask.functional",),
        "operations with gradients",
        ("autograd", "kernels", *GROUND),
    ),
    Room("autograd", ("minimask.autograd",), "Tensor and the backward pass", GROUND),
    Room("kernels", ("minimask.kernels",), "one folder per operation", GROUND),
    Room(
        "system",
        ("minimask.system",),
        "the machine: device, files, BLAS",
        GROUND,
    ),
    Room(
        "arrays and hooks",
        ("minimask.autograd.arrays", "minimask.autograd.hooks", "minimask._version"),
        "NumPy or CuPy; who looks on",
        (),
    ),
)

# Circles that are meant: a Tensor's methods are operations, and operations make Tensors.
CIRCLES = (("minimask.autograd.tensor", "minimask.autograd.ops"),)


def room_of(module: str) -> Room:
    """The room a module belongs to.

    Raises:
        KeyError: it has none yet.
    """
    known = {name: room for room in ROOMS for name in room.modules}
    prefix = module
    while prefix not in known or (prefix == "minimask" and not _at_the_door(module)):
        prefix = prefix.rpartition(".")[0]
        if not prefix:
            raise KeyError(f"{module} lies in no room: add it to docs/rooms.py")
    return known[prefix]


def _at_the_door(module: str) -> bool:
    return module in ("minimask", "minimask.__main__")


def forbidden(imports: Iterable[Import]) -> list[str]:
    """What the source does against the list, one sentence for each import."""
    faults = []
    for edge in imports:
        here, there = room_of(edge.importer), room_of(edge.imported)
        if here is not there and there.name not in here.may:
            faults.append(f"{edge}: {here.name} may not import {there.name}")
    return faults


def unexpected(circles: Iterable[list[str]]) -> list[list[str]]:
    """The circles that are not meant."""
    return [circle for circle in circles if not any(_within(circle, meant) for meant in CIRCLES)]


def _within(circle: list[str], names: Iterable[str]) -> bool:
    return all(
        any(module == name or module.startswith(name + ".") for name in names) for module in circle
    )
