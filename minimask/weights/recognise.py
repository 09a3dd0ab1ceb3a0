"""Which network a file of weights belongs to, from the names and shapes in it alone.

    recognise(shapes)             of a file's arrays, whichever system's they are
    recognise_translated(...)     of arrays that a system's module has translated

The words are one line, such as "detectron2, Mask R-CNN R50-FPN, 80 classes, convention detectron2".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.weights import stacked
from minimask.weights.anatomy import Anatomy, Shapes, anatomy, body_of
from minimask.weights.choices import choices_of
from minimask.weights.networks import config_of, numbered
from minimask.weights.systems import Translated, others, system_of, translate
from minimask.weights.titles import classes_of, title_of

BY_SIZES = ("mask_rcnn", "faster_rcnn", "keypoint_rcnn", "mask_keypoint_rcnn", "retinanet")
KIND_ONLY = {"rpn": ("object",), "keypoint_rcnn": ("person",)}
READ = (
    "minimask reads Mask, Faster, Fast and Keypoint R-CNNs on residual networks, and torchvision's "
    "RetinaNets"
)
NO_NETWORK = "no network that is known here"
# choices that are no news in a line about a network
_UNSAID = ("anchor_sizes", "norm", "min_size", "max_size")


@dataclass(frozen=True)
class Recognised:
    """A network that was recognised.

    Attributes:
        config: for `minimask.models.build`; the classes are counted from the shapes.
        words: what it is, and what the file cannot say.
    """

    config: dict[str, Any]
    words: str


def recognise(shapes: Shapes) -> Recognised:
    """The network that arrays of these names and shapes are the weights of.

    Known are minimask's own networks, torchvision's R-CNNs and RetinaNets, and the R-CNNs of
    detectron2, mmdetection and matterport. What only the numbers show, such as the pixels that a
    body was trained on, is not known here; `read_source` knows it.

    Raises:
        ValueError: none of them; says what was seen instead.
    """
    if system_of(shapes) == "torchvision":
        return _ours(shapes)
    zero = np.zeros((), np.float32)
    return recognise_translated(translate({n: np.broadcast_to(zero, s) for n, s in shapes.items()}))


def recognise_translated(translated: Translated) -> Recognised:
    """The same of arrays that a system's module has translated.

    Raises:
        ValueError: none of the known networks; says what was seen instead.
    """
    shapes = {name: array.shape for name, array in translated.arrays.items()}
    if translated.system == "torchvision":
        found = _ours(shapes)
        if translated.norm_eps == 0.0:
            found.config["norm_eps"] = 0.0
        words = ", ".join((found.words, *translated.remarks))
        return Recognised(found.config, words)
    other = others.title_of(translated.arrays)
    seen = anatomy(shapes)
    if other is not None or not _is_whole(seen):
        words = _unknown(shapes)
        whose = f"names as in {translated.system}, but " if words.startswith(NO_NETWORK) else ""
        raise ValueError(whose + words)
    return _of_system(shapes, seen, translated)


def _ours(shapes: Shapes) -> Recognised:
    """Of minimask's own names, which are torchvision's."""
    seen = anatomy(shapes)
    if numbered(shapes, seen) is None and (not _is_whole(seen) or others.title_of(shapes)):
        raise ValueError(_unknown(shapes))
    if seen.outputs is not None and seen.box_rows == seen.outputs - 1 and seen.box_rows:
        raise ValueError(
            f"{seen.outputs} class scores but {seen.box_rows} boxes: background comes last, as in "
            "detectron2 and mmdet, whose other choices these names do not tell apart; name the "
            "network with --model and the choices with --option convention=detectron2 or mmdet"
        )
    config = config_of(shapes, seen)
    words = f"torchvision's names, {config['model']}"
    if seen.outputs is not None:
        config["num_classes"] = seen.outputs
        words += f" with {seen.outputs} outputs"
    if config.get("norm") == "group":
        words += " and group norm"
    if config["model"] == "fasterrcnn_mobilenet_v3_large_fpn":
        words += " (fasterrcnn_mobilenet_v3_large_320_fpn has the same names)"
    if config["model"] in BY_SIZES:
        words += ", anchor sizes (which are not in it) torchvision's"
    return Recognised(config, f"{words}, convention {_default_convention(config['model'])}")


def _default_convention(model: str) -> str:
    from minimask.models.factory import MODELS

    return str(MODELS[model].defaults["convention"])  # type: ignore[attr-defined]


def _of_system(shapes: Shapes, seen: Anatomy, translated: Translated) -> Recognised:
    options = dict(translated.options)
    remarks = list(translated.remarks)
    sized = "anchor_sizes" in options
    config = config_of(shapes, seen, sized=sized, guess=True)
    if not sized and "anchor_sizes" in config:
        remarks.append(f"anchor sizes taken for {config['anchor_sizes']}")
    if seen.anchors is None:
        options.pop("anchor_sizes", None)
    convention = translated.convention
    config |= choices_of(translated.system, seen, config["model"], convention)
    counted = _classes(config, seen, translated)
    config |= {"convention": convention, **options}
    choices = ", ".join(f"{n} {_shown(v)}" for n, v in options.items() if n not in _UNSAID)
    words = [translated.system, title_of(seen), counted, f"convention {convention}"]
    words[-1] += f" with {choices}" if choices else ""
    return Recognised(config, ", ".join(word for word in (*words, *remarks) if word))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _classes(config: dict[str, Any], seen: Anatomy, translated: Translated) -> str:
    """Put the classes into the config, with what belongs to their data set; what they are."""
    if seen.outputs is None:
        config["classes"] = ["object"]
        return ""
    count = seen.outputs - 1
    if count < 1:
        raise ValueError("a network without classes")
    names, whose = translated.classes, ""
    if names is None or len(names) != count or len(set(names)) != count:
        names, whose = classes_of(count)
    if names is None and count == 1:
        names = KIND_ONLY.get(seen.kind or "")
    if names is None:
        config["num_classes"] = count + 1
    else:
        config["classes"] = list(names)
    said = f"{count} classes" if count > 1 else "1 class"
    return f"{said} (as {whose} has them)" if whose not in ("", "COCO") else said


def _is_whole(seen: Anatomy) -> bool:
    """Whether there is a detector on a residual network."""
    if seen.body is None or seen.features is None or seen.kind is None:
        return False
    return seen.outputs is None or seen.box_rows is not None or seen.retina is not None


def _unknown(shapes: Shapes) -> str:
    """What was seen in a file that is none of the known detectors."""
    if not shapes:
        return "there are no arrays in it"
    if stacked.is_classifier(shapes):
        return (
            "names as in VGG, EfficientNet or MobileNet that classify images, but no detector: "
            "give it as --backbone-weights"
        )
    body = body_of(shapes) or body_of(shapes, "backbone.body.")
    other = others.title_of(shapes)
    if other is not None:
        return f"{other}; {READ}"
    if body is not None:
        also = ", with a classifier of images" if "fc.weight" in shapes else ""
        return f"{body}{also}, but no detector: give it as --backbone-weights"
    some = ", ".join(name[:80] for name in list(shapes)[:3])
    return f"{NO_NETWORK}: {len(shapes)} arrays such as {some}"
