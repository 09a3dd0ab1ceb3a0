"""`--proposals`: where Fast R-CNN and R-CNN look, from a file of regions or from a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.tools.cli import WrongUse

if TYPE_CHECKING:
    import numpy as np

REGIONS = (".json", ".npz")
HELP = (
    "Where Fast R-CNN and R-CNN look: the run or weights of a network that proposes regions (rpn_.."
    " or a two-stage one)"
)
FILE_HELP = f"{HELP}, or a file of regions: COCO results, or .npz with an array for each image id."


def is_file(path: Path) -> bool:
    """Whether it is a file of regions, not a network."""
    return path.suffix.lower() in REGIONS and not path.is_dir()


def use_proposals(
    model: Any, given: Path | None, own: str | None = None, device: str = "cpu"
) -> Mapping[int | str, np.ndarray] | None:
    """Let a detector look where a file or another network says.

    Args:
        model: any; a network becomes its proposer.
        given: the option's value.
        own: the network that it was trained with; `given` is stronger.
        device: of the network.

    Returns:
        The regions of a file, by image; None: the model's proposer knows.

    Raises:
        WrongUse: the model takes no regions.
        FileNotFoundError: nothing there.
        ValueError: a damaged file, or a network that proposes nothing.
    """
    if given is not None and not hasattr(model, "proposer"):
        name = model.config.get("model", "this network")
        raise WrongUse(
            f"--proposals tells Fast R-CNN and R-CNN where to look, and {name} finds out itself: "
            "leave it out"
        )
    path = given if given is not None else (Path(own) if own else None)
    if path is None:
        return None
    if not path.exists():
        from minimask.data.images import missing_file

        raise FileNotFoundError(missing_file(path, "proposals"))
    if is_file(path):
        from minimask.models import read_proposals

        return read_proposals(path)
    from minimask.tools.cli.sources import open_model

    proposer = open_model(path).model.to(device)
    if not callable(getattr(proposer, "propose", None)):
        name = proposer.config.get("model", "its network")
        raise ValueError(f"{path}: {name} proposes no regions; networks named rpn_.. do")
    model.proposer = proposer.eval()
    return None


def for_training(path: Path | None) -> None:
    """Raise WrongUse for a file: regions of an image mean nothing once it is flipped or scaled."""
    if path is not None and is_file(path):
        raise WrongUse(
            f"--proposals {path}: training changes the images, and a file's regions stay where "
            "they were: name the run or the weights of the network that proposed them"
        )
