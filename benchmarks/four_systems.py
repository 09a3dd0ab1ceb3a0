"""One photo segmented through files in four systems' own formats, beside their recorded answers.

    python benchmarks/four_systems.py --out docs/figures/four_systems.png

The files are those that the systems themselves wrote (torchvision's .pth, detectron2's .pkl,
mmdetection's .pth, matterport's .h5): networks of real depth, narrow and with random weights, so
what they find means nothing; that both find the same is the point. The recordings are the
project's development data: --recordings, or ../shared/goldens beside the checkout.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "models")]  # how recordings are read

import recorded_matterport  # noqa: E402
import recorded_systems  # noqa: E402

from minimask import draw  # noqa: E402
from minimask.models.detections import Detections  # noqa: E402
from minimask.tools.textbook.compare import compare_detections  # noqa: E402
from minimask.weights import load_weights, read_source  # noqa: E402

SYSTEMS = {
    "torchvision": "torchvision v2",
    "detectron2": "detectron2 FPN",
    "mmdetection": "mmdet FPN",
    "matterport": None,
}
MATTERPORT = "mask_rcnn_resnet50"
CLOSE = 0.02  # pixels: the same box
SHOWN = 6  # objects that are drawn
NEAR = 0.999  # IoU: the same mask


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a system recorded on the photo, and what minimask finds there with its file."""

    file: str
    image: np.ndarray
    boxes: np.ndarray  # (R, 4) recorded
    labels: np.ndarray  # (R,) counted from 0 without background
    scores: np.ndarray
    masks: np.ndarray  # (M, H, W) bool: of the first M
    ours: Detections


def open_answers(folder: pathlib.Path, system: str) -> Answers:
    """The recorded answer, and minimask's with the same file."""
    label = SYSTEMS[system]
    if label is None:
        recorded: Any = recorded_matterport.Matterport(folder, MATTERPORT)
        file = folder / "matterport" / f"{MATTERPORT}.h5"
        load_weights(recorded.model, read_source(file))  # through the product's own reader
        names = ("out/rois", "out/class_ids")
    else:
        recorded = recorded_systems.Recording(folder, label)
        at, name, _ = recorded_systems.RECORDINGS[label]
        (file,) = (p for p in (folder / at).glob(f"{name}.*") if p.suffix in (".pth", ".pkl"))
        names = ("out/boxes", "out/labels")
    forward = recorded.forward
    boxes, labels = (forward[key] for key in names)
    if label is None:
        boxes = boxes[:, [1, 0, 3, 2]]
    first = int(label is None or recorded.first_label())
    image = forward["image_u8"]
    (ours,) = recorded.model.predict([image])
    return Answers(
        file.name, image, boxes.astype(np.float32), labels - first, forward["out/scores"],
        _masks(forward, image.shape[1]), ours,
    )  # fmt: skip


def _masks(forward: dict[str, np.ndarray], width: int) -> np.ndarray:
    if "out/masks_packed" in forward:
        return np.unpackbits(forward["out/masks_packed"], axis=-1)[..., :width].astype(bool)
    return forward["out/masks"][:, 0] >= 0.5


def line(system: str, found: Answers) -> list[str]:
    """How many of the recorded objects minimask finds, and how exactly."""
    theirs = Detections(
        found.boxes, found.labels, found.scores, None, found.image.shape[:2], found.ours.classes
    )
    change = compare_detections(theirs, dataclasses.replace(found.ours, mask_probs=None))
    i, j = change.pairs[:, 0], change.pairs[:, 1]
    same = np.abs(theirs.boxes[i] - found.ours.boxes[j]).max(axis=1) < CLOSE
    same &= theirs.labels[i] == found.ours.labels[j]
    ious, wrong, pixels = [], 0, 0
    for a, b in zip(i, j, strict=True):
        if a < len(found.masks):
            mask = found.ours.mask(int(b))
            union = np.count_nonzero(mask | found.masks[a])
            wrong += np.count_nonzero(mask ^ found.masks[a])
            pixels += np.count_nonzero(found.masks[a])
            ious.append(np.count_nonzero(mask & found.masks[a]) / union if union else 1.0)
    right = sum(iou >= NEAR for iou in ious)
    return [
        system, found.file, f"{int(same.sum())} of {len(theirs)}", f"{change.box:.4f}",
        f"{change.score:.1e}", f"{right} of {len(ious)}", f"{wrong} of {pixels}",
    ]  # fmt: skip


def rows_of(found: Answers) -> list[np.ndarray]:
    """The recorded answer and minimask's, drawn alike."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[order < len(found.masks)][:SHOWN]
    from minimask.models import Target

    theirs = Target(found.boxes[order], found.labels[order], found.masks[order])
    kept = []
    for box in found.boxes[order]:
        kept.append(int(np.abs(found.ours.boxes - box).max(axis=1).argmin()))
    ours = found.ours.keep(np.array(kept))
    mine = Target(ours.boxes, ours.labels, ours.masks)
    classes = [str(i) for i in range(len(found.ours.classes))]
    style = {"labels": False, "boxes": True, "color_by": "instance"}
    return [draw.draw_target(found.image, t, classes, **style) for t in (theirs, mine)]


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=pathlib.Path, default=None)
    parser.add_argument("--out", type=pathlib.Path, default=None)
    given = parser.parse_args()
    folder = given.recordings or ROOT.parent / "shared" / "goldens"
    heads = ["system", "file", "boxes", "px", "scores", "masks", "pixels of them that differ"]
    table, pictures, titles = [heads], [], []
    for system in SYSTEMS:
        found = open_answers(folder, system)
        table.append(line(system, found))
        drawn = rows_of(found)
        pictures += drawn
        titles += [f"{system} itself", f"minimask, {found.file}"]
    print("\n".join(f"| {' | '.join(row)} |" for row in [table[0], ["---"] * 7, *table[1:]]))
    print("random weights: what is found means nothing, that it is the same is the point")
    if given.out is not None:
        draw.save_image(given.out, draw.contact_sheet(pictures, titles, columns=4))


if __name__ == "__main__":
    main()
