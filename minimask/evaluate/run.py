"""Run a model over a data set and keep only what the metric needs: run-length codes and boxes."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.data.sample import skeleton_of
from minimask.evaluate import semantic
from minimask.evaluate.average_recall import OBJECT, as_objects, average_recall
from minimask.evaluate.coco_metric import evaluate_detections
from minimask.evaluate.notes import COCO_LIMIT
from minimask.models.given_proposals import regions_of

if TYPE_CHECKING:
    from minimask.data.sample import Dataset, Sample
    from minimask.models.detections import Detections

Seen = Callable[["Sample", Any], None]


def evaluate(
    model: Any,
    dataset: Dataset,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    progress: bool = True,
    max_detections: int | None = None,
    on_image: Seen | None = None,
    proposals: Mapping[int | str, np.ndarray] | None = None,
) -> Any:
    """Box, mask and keypoint AP of a model on a data set; of a semantic segmenter, pixel IoU.

    Images are read, predicted and forgotten a batch at a time; masks are kept as run lengths.

    Args:
        model: anything with `classes` and `predict(list of images) -> list of Detections`; of one
            with `class_agnostic`, such as an RPN, the classes do not count, and average recall is
            measured too.
        dataset: images and ground truth; classes are matched with the model's by name.
        batch_size: images per call of `predict`.
        limit: only the first so many images; needed for a data set without end.
        progress: show a progress bar on stderr.
        max_detections: best-scored detections per image and class that count; by default COCO's
            100, or as many as the model keeps of an image if those are more.
        on_image: called with every sample and its detections, e.g. to draw some.
        proposals: where to look in each image, by its id, for a model that takes regions; as
            `models.read_proposals` gives them.

    Returns:
        `Results`; of a model whose `task` is "semantic", `SemanticResults`.

    Raises:
        ValueError: no images, a data set without end and no limit, no class in common, or other
            keypoints.
    """
    if getattr(model, "task", None) == "semantic":
        return evaluate_label_maps(
            model,
            dataset,
            batch_size=batch_size,
            limit=limit,
            progress=progress,
            on_image=on_image,
        )
    indices = indices_of(dataset, limit)
    anything = bool(getattr(model, "class_agnostic", False))
    ids = [OBJECT] if anything else category_ids(model.classes, dataset)
    _check_keypoints(model, dataset)
    results: list[dict[str, Any]] = []
    gt = _GroundTruth(dataset, indices)
    seconds, has_masks, has_keypoints = 0.0, False, False
    for samples, found, spent in detect(model, dataset, indices, batch_size, progress, proposals):
        seconds += spent
        for sample, detections in zip(samples, found, strict=True):
            gt.add(sample)
            results += detections.to_coco(sample.image_id, ids)
            has_masks |= detections.mask_probs is not None
            has_keypoints |= detections.keypoints is not None
            if on_image is not None:
                on_image(sample, detections)
    if max_detections is None:
        max_detections = detections_limit(model)
    known = [result for result in results if result["category_id"] != UNKNOWN]
    truth = as_objects(gt.coco()) if anything else gt.coco()
    kinds: tuple[str, ...] | None = None if has_masks else ("box",)
    if has_keypoints and any(a.get("num_keypoints") for a in truth["annotations"]):
        kinds = ("box", "mask", "keypoints") if has_masks else ("box", "keypoints")
    outcome = evaluate_detections(truth, known, max_detections=max_detections, kinds=kinds)
    notes = [None if anything else _class_note(model.classes, dataset.classes)]
    notes.append(outcome.explanation)
    return dataclasses.replace(
        outcome,
        average_recall=average_recall(truth, known) if anything else None,
        explanation=" ".join(note for note in notes if note) or None,
        seconds_per_image=seconds / len(indices),
    )


def _check_keypoints(model: Any, dataset: Dataset) -> None:
    own, theirs = skeleton_of(model), skeleton_of(dataset)
    if own is not None and theirs is not None and (problem := own.problem(theirs)):
        raise ValueError(f"the model has {problem}: they cannot be compared")


def evaluate_label_maps(
    model: Any,
    dataset: Dataset,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    progress: bool = True,
    on_image: Seen | None = None,
) -> semantic.SemanticResults:
    """Pixel IoU of a semantic segmenter on a data set; arguments as of `evaluate`.

    Raises:
        ValueError: no images, a data set without end and no limit, or no class in common.
    """
    indices = indices_of(dataset, limit)
    category_ids(model.classes, dataset)  # raises where they have no class in common
    order = [model.classes.index(n) if n in model.classes else -1 for n in dataset.classes]
    count = len(model.classes) + 1
    matrix, seconds = np.zeros((count, count), np.int64), 0.0
    for samples, found, spent in detect(model, dataset, indices, batch_size, progress):
        seconds += spent
        label_maps: list[Any] = list(found)
        for sample, label_map in zip(samples, label_maps, strict=True):
            matrix += semantic.confusion(
                semantic.true_label_map(sample, order), label_map.labels, count
            )
            if on_image is not None:
                on_image(sample, label_map)
    return dataclasses.replace(
        semantic.results_of(matrix, model.classes, len(indices)),
        explanation=semantic.class_note(model.classes, dataset.classes),
        seconds_per_image=seconds / len(indices),
    )


def detections_limit(model: Any) -> int:
    """COCO's limit, or the number of detections that a model keeps of an image if it is higher."""
    kept = getattr(getattr(model, "selection", None), "detections_per_img", COCO_LIMIT)
    return max(COCO_LIMIT, int(kept))


def detect(
    model: Any,
    dataset: Dataset,
    indices: Sequence[int],
    batch_size: int = 8,
    progress: bool = True,
    proposals: Mapping[int | str, np.ndarray] | None = None,
) -> Iterator[tuple[list[Sample], list[Detections], float]]:
    """Predict the images of a data set, a batch at a time.

    Yields:
        The batch's samples, their detections, and the seconds the model took.
    """
    from tqdm import tqdm

    batch_size = max(1, batch_size)
    bar = tqdm(
        total=len(indices), desc="evaluating", unit="image", disable=not progress, file=sys.stderr
    )
    with bar:
        for start in range(0, len(indices), batch_size):
            samples = [dataset[i] for i in indices[start : start + batch_size]]
            regions: tuple[Any, ...] = ()
            if proposals is not None:
                named = [(sample.image_id, sample.name) for sample in samples]
                regions = (regions_of(proposals, named),)
            began = time.perf_counter()
            found = model.predict([sample.image for sample in samples], *regions)
            yield samples, found, time.perf_counter() - began
            bar.update(len(samples))


UNKNOWN = -1  # category id of a class that the data set does not have


def category_ids(classes: Sequence[str], dataset: Dataset) -> list[int]:
    """The data set's category id of each of the model's classes, matched by name.

    Raises:
        ValueError: no name in common.
    """
    by_name = dict(zip(dataset.classes, dataset.category_ids, strict=True))
    if not set(classes) & by_name.keys():
        raise ValueError(
            f"the model and the data have no class in common: the model knows "
            f"{_listed(classes)}, the data has {_listed(dataset.classes)}"
        )
    return [by_name.get(name, UNKNOWN) for name in classes]


def ground_truth(dataset: Dataset, limit: int | None = None) -> dict[str, Any]:
    """The data set's annotations as a COCO dictionary, of the first `limit` images.

    Raises:
        ValueError: no images, or a data set without end and no limit.
    """
    indices = indices_of(dataset, limit)
    gt = _GroundTruth(dataset, indices)
    if gt.finite:
        gt.seen = {image["id"] for image in dataset.coco()["images"][: len(indices)]}
    else:
        for i in indices:
            gt.add(dataset[i])
    return gt.coco()


class _GroundTruth:
    """The annotations of the images that were seen.

    Taken from the data set's own COCO dictionary (the file's areas and polygons); a data set
    without end has none, so there each image's masks are coded when it is seen.
    """

    def __init__(self, dataset: Dataset, indices: range) -> None:
        self.dataset = dataset
        try:
            self.finite = len(dataset) >= len(indices)
        except TypeError:
            self.finite = False
        self.seen: set[int] = set()
        self.parts: dict[str, Any] = {"images": [], "annotations": []}

    def add(self, sample: Sample) -> None:
        self.seen.add(sample.image_id)
        if self.finite:
            return
        from minimask.data.sample import coco_ground_truth

        part = coco_ground_truth([sample], self.dataset.classes, self.dataset.category_ids)
        self.parts["images"] += part["images"]
        for annotation in part["annotations"]:
            number = len(self.parts["annotations"]) + 1  # counted anew in every part
            self.parts["annotations"].append({**annotation, "id": number})
        self.parts["categories"] = part["categories"]

    def coco(self) -> dict[str, Any]:
        everything = self.dataset.coco() if self.finite else self.parts
        return {
            **everything,
            "images": [image for image in everything["images"] if image["id"] in self.seen],
            "annotations": [a for a in everything["annotations"] if a["image_id"] in self.seen],
        }


def indices_of(dataset: Dataset, limit: int | None) -> range:
    """The images that an evaluation is about.

    Raises:
        ValueError: none, or a data set without end and no limit.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    try:
        count = len(dataset)
    except TypeError:
        if limit is None:
            raise ValueError("limit: this data set has no end, say how many images") from None
        return range(limit)
    if not count:
        raise ValueError("the data set has no images: there is nothing to evaluate")
    return range(count if limit is None else min(limit, count))


def _class_note(model_classes: Sequence[str], data_classes: Sequence[str]) -> str | None:
    """What the two lists of names do not share."""
    notes = []
    untrained = [name for name in data_classes if name not in model_classes]
    unneeded = [name for name in model_classes if name not in data_classes]
    if untrained:
        notes.append(f"The model does not know {_listed(untrained)}: those objects count as missed")
    if unneeded:
        notes.append(f"The data has no class {_listed(unneeded)}: those detections were left out")
    return ". ".join(notes) + "." if notes else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (" ..." if len(names) > 8 else "")
