"""Every choice where it can be seen: on the person's own network and image, or else elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from minimask.conventions import Convention
from minimask.data.masks import ObjectMasks
from minimask.tools.textbook.compare import scenes
from minimask.tools.textbook.compare.fields import Switch, switches, value_of
from minimask.tools.textbook.compare.flip import Base, Flipped, flip, open_base
from minimask.tools.textbook.compare.stand_ins import StandIn, stand_ins

SAME = "on this image both values come to the same"
HARD = "the same network on a difficult scene, with objects that overlap, are thin, tiny or cut off"
SCENES = {
    "crowds": (
        scenes.crowded,
        "the same network on a scene of which some objects are annotated as crowds",
    ),
    "mask_target": (scenes.outlined, "the same network on stars whose outlines are known"),
    "max_size": (scenes.wide, "the same network on a wide image, whose long side is limited"),
}
SHOWS = ("prediction", "training")


def flip_fields(
    base: Base,
    which: str = "all",
    progress: Callable[[str], None] = lambda field: None,
) -> Iterator[Flipped]:
    """Switch one field after the other to what another system chooses, and run again.

    A switch that changes neither what is found nor training is tried on other images and networks.

    Args:
        base: from `open_base`.
        which: the name of a field, or "all".
        progress: called with the field's name before each.

    Raises:
        ValueError: no such field.
    """
    elsewhere = Elsewhere(base)
    for switch in switches(base.model, which):
        progress(switch.field)
        yield elsewhere.show(switch)


class Elsewhere:
    """The other images and networks, each run once before any switch."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self._opened: dict[str, Base] = {}

    def show(self, switch: Switch) -> Flipped:
        """The switch on the given image, or where that shows nothing, where it shows something."""
        result = flip(self.base, switch)
        polygons = switch.field == "mask_target" and "polygon" in (switch.before, switch.after)
        outlined = isinstance(self.base.target.masks, ObjectMasks)
        if result.kind in SHOWS and (outlined or not polygons):
            return result
        why = why_nothing(self.base.model, switch)
        lacking = why != SAME
        if result.kind == "stages":
            why = f"{result.begins} differs a little, and no object that is shown"
        elif result.kind == "problem":
            why = f"it cannot run so: {result.problem}"
        elif polygons and why == SAME:
            why = (
                "its objects are known by their pixels alone, and polygons are drawn from outlines"
            )
        for words, other in self._places(switch, lacks=result.kind == "nothing" and lacking):
            shown = flip(other, switch)
            if shown.kind in SHOWS:
                return dataclasses.replace(shown, instead=words, why=why)
        return dataclasses.replace(result, why=why)

    def _places(self, switch: Switch, *, lacks: bool) -> Iterator[tuple[str, Base]]:
        """Where a switch may be seen, the nearest to the person's own first.

        Args:
            switch: that shows nothing there.
            lacks: whether the network has no such part, on whatever image.
        """
        model, least = self.base.model, self.base.min_score
        if not lacks:
            scene, words = SCENES.get(switch.field, (scenes.difficult, HARD))
            yield words, self._open(words, lambda: open_base(model, *scene(model), least))
        # as the network is before the switch
        own = {switch.field: switch.before} if switch.of_hyperparameter else {}
        for other in stand_ins(switch.field, own):
            key = f"{other.words}, {other.options}"
            words = f"{other.words}, with random weights"
            yield words, self._open(key, partial(_run, other, model.convention))

    def _open(self, key: str, make: Callable[[], Base]) -> Base:
        if key not in self._opened:
            self._opened[key] = make()
        return self._opened[key]


def _run(stand_in: StandIn, convention: Convention) -> Base:
    return open_base(*stand_in.build(convention), stand_in.min_score)


def why_nothing(model: Any, switch: Switch) -> str:
    """Why a field changes nothing in this network on this image, as far as that can be said."""
    field, config = switch.field, model.config
    heads = getattr(model, "roi_heads", None)
    keypoints = getattr(heads, "keypoint_head", None)
    masks = getattr(heads, "mask_head", None)
    pyramid = hasattr(model.backbone, "fpn")
    block = getattr(getattr(model.backbone, "body", None), "block", config.get("block"))
    aligns = value_of(model, "roi_op") == "align"
    cases = (
        (field.startswith("keypoint_") and keypoints is None, "it finds no keypoints"),
        (field.startswith("mask_") and masks is None, "it draws no masks"),
        (field == "paste" and masks is None, "it draws no masks"),
        (field == "stride_in_1x1" and block != "bottleneck", "its blocks have no 1x1 convolution"),
        (field == "single_map_divisor" and pyramid, "it has a pyramid"),
        (field == "dilate_first_block", "none of its stages is dilated"),
        (field == "anchor_order" and pyramid, "each of its levels has anchors of one size"),
        (field == "level_rule" and not pyramid, "it has no pyramid"),
        (field in ("roi_aligned", "sampling_ratio") and not aligns, "it has no RoIAlign"),
        (field == "moving_targets" and heads is None, "it has one stage"),
    )
    for holds, reason in cases:
        if holds:
            return reason
    return SAME
