"""Every explanation of a low AP names the cause that was put there; good results get none."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pycocotools import mask as rle_tools
from truths import FAR, SIZE, A, B, found, rectangle, truth_of

from minimask.evaluate import evaluate_detections


def explanation(truth: dict, results: list[dict]) -> str:
    text = evaluate_detections(truth, results).explanation
    assert text is not None
    return text


def test_nothing_to_say_when_all_is_well() -> None:
    sizes = ((2, 2, 10, 10), (20, 2, 40, 40), (0, 0, 98, 99))
    truth = truth_of(*((i + 1, 1, box) for i, box in enumerate(sizes)), images=3)
    results = [found(i + 1, 1, box, 0.9) for i, box in enumerate(sizes)]
    assert evaluate_detections(truth, results).explanation is None


def test_explains_no_ground_truth() -> None:
    assert "nothing is annotated in the 2 images" in explanation(truth_of(images=2), [])
    crowd = truth_of((1, 1, A, {"iscrowd": 1}))
    assert "all 1 annotations are crowds" in explanation(crowd, [])
    assert "lists no images" in explanation(truth_of(images=0), [])
    nothing = evaluate_detections(truth_of(images=2), [found(1, 1, A, 0.5)])
    assert nothing.box["AP"] == -1


def test_explains_no_detections() -> None:
    results = evaluate_detections(truth_of((1, 1, A)), [])
    assert results.box["AP"] == 0 and results.mask is not None and results.mask["AP"] == 0
    assert "no detections at all in 1 image with 1 object" in (results.explanation or "")


def test_explains_image_ids() -> None:
    text = explanation(truth_of((1, 1, A)), [found(77, 1, A, 0.9)])
    assert "1 of 1 detections name an image" in text and "77" in text


def test_explains_category_ids() -> None:
    truth = truth_of((1, 1, A), (1, 2, B), categories=("cell", "dust"))
    text = explanation(truth, [found(1, 0, A, 0.9), found(1, 1, B, 0.9)])
    assert "1 of 2 detections name a category" in text
    assert "indices from 0" in text


def test_explains_swapped_classes() -> None:
    truth = truth_of((1, 1, A), (1, 2, B), categories=("cell", "dust"))
    text = explanation(truth, [found(1, 2, A, 0.9), found(1, 1, B, 0.8)])
    assert "The classes are wrong, the places are right" in text and "1.00" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x, y, w, h: (x, y, x + w, y + h), "are corners (x0, y0, x1, y1)"),
        (lambda x, y, w, h: (x + w / 2, y + h / 2, w, h), "(center x, center y"),
        (lambda x, y, w, h: (x / 120, y / 100, w / 120, h / 100), "are fractions"),
        (
            lambda x, y, w, h: (x / 120, y / 100, (x + w) / 120, (y + h) / 100),
            "corners as fractions",
        ),
        (lambda x, y, w, h: (y, x, h, w), "x and y are swapped"),
    ],
)
def test_explains_box_formats(change, expected: str) -> None:
    boxes = [(40, 45, 20, 12), (80, 15, 24, 14), (15, 60, 22, 10), (90, 70, 20, 12)]
    truth = truth_of(*((1, 1, box) for box in boxes))
    results = [{**found(1, 1, box, 0.9), "bbox": list(change(*box))} for box in boxes]
    assert expected in explanation(truth, results)


def test_explains_bad_places_and_bad_ranking() -> None:
    text = explanation(truth_of((1, 1, A)), [found(1, 1, FAR, 0.04)])
    assert "do not fit" in text and "IoU 0.00" in text and "highest score 0.04" in text
    false = [found(1, 1, (x % 80, 60, 30, 30), 0.9) for x in range(300)]
    text = evaluate_detections(
        truth_of((1, 1, A)), [*false, found(1, 1, A, 0.1)], max_detections=1000
    ).explanation
    assert text is not None and "ranked below many false detections" in text


def test_explains_wrong_masks() -> None:
    moved = {**found(1, 1, A, 0.9), "segmentation": rectangle(*FAR)}
    text = explanation(truth_of((1, 1, A)), [moved])
    assert "boxes are right but the masks are wrong" in text
    turned = np.zeros(SIZE[::-1], np.uint8, order="F")
    turned[10:50, 10:50] = 1
    code = rle_tools.encode(turned)
    code = {"size": list(code["size"]), "counts": code["counts"].decode()}
    text = explanation(truth_of((1, 1, A)), [{**found(1, 1, A, 0.9), "segmentation": code}])
    assert "120x100 for an image of 100x120" in text and "swapped" in text


def test_explains_silent_classes_and_sizes() -> None:
    truth = truth_of((1, 1, A), (1, 2, B), (1, 3, FAR), categories=("cell", "dust", "hair", "bug"))
    text = explanation(truth, [found(1, 1, A, 0.9), found(1, 3, A, 0.9)])
    assert "Class 'dust' has AP 0: 1 object, but no detection has this class." in text
    assert "Class 'hair' has AP 0: 1 object, but none of its 1 detection fits an object." in text
    assert "No object of 1 class is annotated ('bug')" in text
    assert " APl is -1: no object is larger than 96x96 pixels." in text


# ---------------------------------------------------------------- other readings, at any AP


def scene(seed: int = 0, images: int = 6, corner: float = 0.0) -> dict:
    """Three objects of two classes in each image; a share of them touches the corner."""
    rng = np.random.default_rng(seed)
    objects = []
    for image in range(images):
        for j in range(3):
            width, height = (int(v) for v in rng.integers(12, 34, 2))
            x, y = int(rng.integers(4, 119 - width)), int(rng.integers(4, 99 - height))
            if rng.random() < corner:
                x, y = 0, 0
            objects.append((image + 1, 1 + j % 2, (x, y, width, height)))
    return truth_of(*objects, images=images, categories=("cat", "dog"))


def answers(truth: dict, **more) -> list[dict]:
    """Perfect results with falling scores."""
    keys = ("image_id", "category_id", "bbox", "segmentation")
    return [
        {**{k: copy.deepcopy(a[k]) for k in keys}, "score": 0.99 - 0.01 * i, **more}
        for i, a in enumerate(truth["annotations"])
    ]


def with_boxes(truth: dict, change) -> list[dict]:
    return [{**r, "bbox": list(change(*r["bbox"])), "segmentation": None} for r in answers(truth)]


def with_masks(truth: dict, change, boxes: bool = True) -> list[dict]:
    results = []
    for result in answers(truth):
        pixels = np.zeros(SIZE, np.uint8)
        x, y, w, h = result["bbox"]
        pixels[y : y + h, x : x + w] = 1
        pixels[y : y + h // 2, x : x + w // 2] = 0  # no symmetry
        code = rle_tools.encode(np.asfortranarray(change(pixels)))
        result["segmentation"] = {"size": list(code["size"]), "counts": code["counts"].decode()}
        if not boxes:
            del result["bbox"]
        results.append(result)
    return results


def notched(truth: dict) -> dict:
    """The same objects, each without its upper left quarter."""
    for annotation, result in zip(
        truth["annotations"], with_masks(truth, lambda m: m), strict=True
    ):
        annotation["segmentation"] = result["segmentation"]
        del annotation["area"]
    return truth


@pytest.mark.parametrize("corner", [0.0, 0.3, 0.7])
def test_corner_boxes_are_recognised_at_any_ap(corner: float) -> None:
    truth = scene(corner=corner)
    results = with_boxes(truth, lambda x, y, w, h: (x, y, x + w, y + h))
    measured = evaluate_detections(truth, results)
    assert (measured.box["AP50"] > 0.1) == (corner > 0)
    assert "are corners (x0, y0, x1, y1)" in (measured.explanation or "")


def test_shifted_and_overturned_boxes() -> None:
    truth = scene()
    text = explanation(truth, with_boxes(truth, lambda x, y, w, h: (x + 9, y - 7, w, h)))
    assert "boxes are shifted by about +9 pixels in x and -7 in y" in text
    text = explanation(truth, with_boxes(truth, lambda x, y, w, h: (x, 100 - y - h, w, h)))
    assert "boxes are upside down" in text


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.T, "transposed they fit"),
        (lambda m: m[::-1], "The masks are upside down"),
        (lambda m: m[:, ::-1], "The masks are mirrored"),
        (lambda m: m[::-1, ::-1], "turned by 180 degrees"),
        (lambda m: 1 - m, "The masks are inverted"),
        (lambda m: np.roll(m, (6, -8), (0, 1)), "masks are shifted by about -8 pixels in x and +6"),
        (lambda m: m[::2, ::2], "stretched to it they fit"),
        (lambda m: m.ravel().reshape(SIZE, order="F"), "along the rows they fit"),
    ],
)
def test_masks_read_otherwise(change, said: str, boxes: bool) -> None:
    truth = notched(scene())
    assert said in explanation(truth, with_masks(truth, change, boxes))


def test_masks_cut_out_of_their_boxes() -> None:
    def cut(mask: np.ndarray) -> np.ndarray:
        y, x = (int(v.min()) for v in np.nonzero(mask))
        result = np.zeros_like(mask)
        result[: SIZE[0] - y, : SIZE[1] - x] = mask[y:, x:]
        return result

    truth = notched(scene())
    assert "cut-outs placed in the image's corner" in explanation(truth, with_masks(truth, cut))


def test_boxes_of_the_truth_that_are_corners() -> None:
    truth = scene()
    results = answers(truth)
    for annotation in truth["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    text = explanation(truth, results)
    assert "In the ground truth" in text and "they are corners (x0, y0, x1, y1)" in text


@pytest.mark.parametrize("step", [1, -1])
def test_image_ids_off_by_one(step: int) -> None:
    truth = scene()
    results = [{**r, "image_id": r["image_id"] + step} for r in answers(truth)]
    text = explanation(truth, results)
    assert "image ids are off by one" in text and ("previous" if step == 1 else "next") in text


def test_class_mixups_are_named_in_pairs() -> None:
    truth = scene(images=8)
    truth["categories"].append({"id": 3, "name": "cow"})
    for i, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = 1 + i % 3
    swapped = {1: 2, 2: 1, 3: 3}
    results = [{**r, "category_id": swapped[r["category_id"]]} for r in answers(truth)]
    text = explanation(truth, results)
    assert "those of class 'dog' on objects of class 'cat'" in text
    assert "those of class 'cat' on objects of class 'dog'" in text and "'cow'" not in text


def test_a_network_that_knows_one_class_mixes_nothing_up() -> None:
    truth = scene(images=8)
    truth["categories"].append({"id": 3, "name": "cow"})
    for i, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = 1 + i % 3
    results = [{**r, "category_id": 1} for r in answers(truth)]
    assert "mixed up" not in explanation(truth, results)


def test_scores_that_rank_nothing() -> None:
    truth = scene(images=8)
    false = [
        {**r, "bbox": [1, 1, 3, 3], "segmentation": None, "score": 0.5} for r in answers(truth)
    ]
    text = explanation(truth, [{**r, "score": 0.5} for r in answers(truth)] + false)
    assert "All scores are equal (0.5)" in text and "50%" in text
    right = [{**r, "score": 1 - r["score"]} for r in answers(truth)]
    assert "scores look inverted" in explanation(truth, right + false)


FALSE_ALARMS = ("corner", "swapped", "fractions", "shifted", "upside", "masks", "off by one",
                "mixed", "scores", "centers", "classes are", "boxes do not")  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("quality", ["perfect", "noisy", "trained"])
def test_no_false_alarm(quality: str, seed: int) -> None:
    """As a model's results are: boxes off by some pixels, classes confused, many false ones."""
    rng = np.random.default_rng(seed)
    truth = scene(seed, images=int(rng.integers(3, 12)), corner=0.1)
    results = answers(truth)
    if quality != "perfect":
        noise = 1.5 if quality == "noisy" else 4.0
        for result in results:
            x, y, w, h = (
                int(v) for v in np.array(result["bbox"]) + rng.normal(0, noise, 4).round()
            )
            box = (max(x, 0), max(y, 0), max(w, 3), max(h, 3))
            result.update(found(result["image_id"], result["category_id"], box, rng.beta(4, 2)))
            if rng.random() < 0.15:
                result["category_id"] = 3 - result["category_id"]
    if quality == "trained":
        for _ in range(10 * len(truth["images"])):
            box = tuple(int(v) for v in (*rng.integers(0, 80, 2), *rng.integers(8, 40, 2)))
            image, category = int(rng.integers(len(truth["images"]))) + 1, int(rng.integers(1, 3))
            results.append(found(image, category, box, rng.beta(1, 4)))
    text = evaluate_detections(truth, results).explanation or ""
    assert not [word for word in FALSE_ALARMS if word in text], text
