"""Claims 55 and 57 to 60: how good results are, by the metric and by eye."""

# N images   R detections   H, W height and width   T thresholds of IoU

from __future__ import annotations

import numpy as np

from minimask.conventions import EXACT
from minimask.data.sample import encode_masks
from minimask.data.shapes import Shapes
from minimask.draw import cutouts, overlay
from minimask.evaluate import evaluate_detections
from minimask.kernels import box_iou
from minimask.models.mask_head import mask_targets
from minimask.models.paste import paste_mask
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import three_objects

CHAPTER = Chapter("Results and their metric")


def through_a_grid(shapes: Shapes, side: int) -> list[dict]:
    """The true masks as results, each squeezed through side x side cells and pasted back."""
    results = []
    for index in range(len(shapes)):
        sample = shapes[index]
        cells = mask_targets(
            sample.masks.astype(np.uint8),
            sample.boxes,
            np.arange(len(sample)),
            side,
            target=EXACT.mask_target,
            aligned=EXACT.mask_target_aligned,
        )
        height, width = sample.image.shape[:2]
        masks = [
            paste_mask(c, b, height, width, EXACT.paste) >= 0.5
            for c, b in zip(cells, sample.boxes, strict=True)
        ]
        for run, label in zip(encode_masks(np.array(masks)), sample.labels, strict=True):
            category = int(shapes.category_ids[label])
            results.append(
                {
                    "image_id": sample.image_id,
                    "category_id": category,
                    "segmentation": run,
                    "score": 1.0,
                }
            )
    return results


@CHAPTER.claim(
    55,
    by="S3",
    says="The results cannot be told from the ground truth.",
    verdict=WRONG,
    correction="The ground truth scores 100. The best model of the paper reaches a mask AP of "
    "37.1.",
    section="Mask R-CNN, table 1",
)
def far_from_the_truth(evidence: Evidence) -> None:
    """The metric on the truth itself, also after a grid of 28 x 28 cells."""
    shapes = Shapes(8, seed=5, size=96, objects=(2, 4))
    truth = shapes.coco()
    itself = [{**a, "score": 1.0} for a in truth["annotations"]]
    ap = _mask_ap(truth, itself)
    evidence.equal("mask AP of the ground truth itself", ap, 1.0, within=1e-9)
    through = _mask_ap(truth, through_a_grid(shapes, 28))
    evidence.at_least("mask AP of true masks through 28 x 28 cells", through, 0.9)
    best = max(row[2] for row in published.MASK_AP) / 100
    evidence.at_most("best mask AP in the paper", best, 0.5)
    evidence.quote()


def _mask_ap(truth: dict, results: list[dict]) -> float:
    measured = evaluate_detections(truth, results, kinds=("mask",)).mask
    assert measured is not None
    return measured["AP"]


def boxes_to_judge(seed: int = 0) -> tuple[dict, list[dict]]:
    """Generated truth of one class, and detections that hit, miss and repeat (xywh boxes)."""
    rng = np.random.default_rng(seed)
    images: list[dict] = []
    annotations: list[dict] = []
    results: list[dict] = []
    for image in range(1, 7):
        images.append({"id": image, "height": 200, "width": 200})
        for _ in range(rng.integers(2, 6)):
            x, y, w, h = rng.uniform(0, 120), rng.uniform(0, 120), *rng.uniform(30, 70, 2)
            box = [float(v) for v in (x, y, w, h)]
            annotations.append(
                {"image_id": image, "category_id": 1, "bbox": box, "id": len(annotations) + 1}
            )
            for _ in range(rng.integers(0, 3)):
                near = (np.array(box) + rng.normal(0, 7, 4)).tolist()
                results.append({"image_id": image, "category_id": 1, "bbox": near})
        far = [float(v) for v in (*rng.uniform(0, 120, 2), 40, 40)]
        results.append({"image_id": image, "category_id": 1, "bbox": far})
    for result, score in zip(results, rng.permutation(len(results)), strict=True):
        result["score"] = float(score + 1) / len(results)
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    return truth, results


def average_precision(truth: dict, results: list[dict], threshold: float) -> float:
    """AP at one IoU by the definition: 101 recalls, precision made to fall."""
    boxes: dict[int, list[list[float]]] = {i["id"]: [] for i in truth["images"]}
    for annotation in truth["annotations"]:
        boxes[annotation["image_id"]].append(annotation["bbox"])
    free = {image: np.ones(len(found), bool) for image, found in boxes.items()}
    hits = []
    for result in sorted(results, key=lambda r: -r["score"]):
        image = result["image_id"]
        iou = box_iou(_corners([result["bbox"]]), _corners(boxes[image]))[0] * free[image]
        best = int(iou.argmax())
        hits.append(iou[best] >= threshold)
        if hits[-1]:
            free[image][best] = False
    right = np.cumsum(hits)
    recall = right / len(truth["annotations"])
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[p] if p < len(precision) else 0.0 for p in places]))


def _corners(boxes: list[list[float]]) -> np.ndarray:
    corners = np.array(boxes, np.float64)
    corners[:, 2:] += corners[:, :2]
    return corners


@CHAPTER.claim(
    57,
    by="S4",
    says="AP is the mean of the areas under precision-recall curves; AP_x that at an IoU of x %.",
    verdict=IMPRECISE,
    correction="COCO takes the curve at 101 recalls, its precision made to fall, and the mean "
    "over ten IoUs from 0.50 to 0.95 and over all classes, with 100 detections an image.",
    section="Mask R-CNN, section 4",
)
def average_precision_by_hand(evidence: Evidence) -> None:
    """The definition beside pycocotools on generated boxes."""
    truth, results = boxes_to_judge()
    official = evaluate_detections(truth, results, kinds=("box",))
    ours = [average_precision(truth, results, t) for t in np.linspace(0.5, 0.95, 10)]
    evidence.show("objects, detections", (official.objects, official.detections))
    evidence.equal("AP50, by hand less pycocotools", ours[0] - official.box["AP50"], 0, within=1e-9)
    evidence.equal("AP75, by hand less pycocotools", ours[5] - official.box["AP75"], 0, within=1e-9)
    mean = float(np.mean(ours))
    evidence.equal("AP, by hand less pycocotools", mean - official.box["AP"], 0, within=1e-9)
    evidence.quote()
    evidence.show(
        "AP, AP50, AP75", [round(official.box[name], 4) for name in ("AP", "AP50", "AP75")]
    )
    evidence.at_least("AP50 less AP", official.box["AP50"] - official.box["AP"], 0.05)


@CHAPTER.claim(
    58,
    by="S4",
    says="Two tables of results: mask AP of six models, box AP of seven.",
    verdict=RIGHT,
    correction="Right: all 37 numbers are those of the paper; two are missing in both.",
    section="Mask R-CNN, tables 1 and 3",
)
def slides_and_paper_agree(evidence: Evidence) -> None:
    """Both copies, number by number."""
    for name, slides, paper in (
        ("masks", published.SLIDES_MASK_AP, published.MASK_AP),
        ("boxes", published.SLIDES_BOX_AP, published.BOX_AP),
    ):
        pairs = [
            pair
            for printed, row in zip(slides, paper, strict=True)
            for pair in zip(printed, row[2:], strict=True)
            if pair != (None, None)
        ]
        same = sum(left == right for left, right in pairs)
        evidence.equal(f"{name}: numbers that agree of {len(pairs)}", same, len(pairs))
        evidence.true(f"{name}: AP50 above AP above 0", all(r[3] > r[2] > 0 for r in paper))


@CHAPTER.claim(
    59,
    by="S1 S2",
    says="Results are drawn as colored masks over the image, one random color an object, from a "
    "score of 0.7; or each object is cut out by multiplying image and mask.",
    verdict=RIGHT,
    correction="Right as a recipe. But adding half of a color, as the example does, only "
    "brightens; a mixture shows dark colors too. Masks are probabilities and need a threshold of "
    "0.5.",
)
def overlays(evidence: Evidence) -> None:
    """Adding a color and mixing it in, on a gray image; thresholds; nothing found."""
    image, found = three_objects()
    sure = found.keep(found.scores > 0.7)
    evidence.equal("objects above 0.7 of 3", len(sure), 2)
    color, inside = np.array([20, 30, 90]), sure.mask(0)
    added = np.clip(image + 0.5 * inside[:, :, None] * color, 0, 255)
    mixed = np.where(inside[:, :, None], 0.5 * image + 0.5 * color, image)
    evidence.true("adding a dark color makes no pixel darker", (added >= image).all())
    evidence.quote()
    evidence.true("mixing it in does", (mixed < image).any())
    soft = sure.soft_masks[0]
    evidence.at_least(
        "pixels between 0 and 1 in a soft mask", int(((soft > 0) & (soft < 1)).sum()), 100
    )
    evidence.true("a mask is where the soft one reaches 0.5", ((soft >= 0.5) == inside).all())
    evidence.equal("objects cut out", len(cutouts(image, sure)), 2)
    none = found.keep(found.scores > 1)
    drawn = overlay(image, none)
    evidence.equal("picture with nothing found", drawn.shape[2], 3)


@CHAPTER.claim(
    60,
    by="S2",
    says="The masks of an image with three objects have the shape (480, 640, 3): the 3 are "
    "objects, not colors.",
    verdict=RIGHT,
    correction="Right for matterport's code. torchvision gives (3, 1, 480, 640), detectron2 and "
    "minimask (3, 480, 640).",
)
def shape_of_masks(evidence: Evidence) -> None:
    """Three objects in our order and in that of the text."""
    image, found = three_objects()
    evidence.equal("ours", found.masks.shape, (3, 480, 640))
    theirs = found.masks.transpose(1, 2, 0)
    evidence.equal("the text's", theirs.shape, (480, 640, 3))
    evidence.equal("the same as the image's, by chance", theirs.shape, image.shape)
    evidence.equal(
        "with one object fewer", found.keep([0, 1]).masks.transpose(1, 2, 0).shape, (480, 640, 2)
    )
