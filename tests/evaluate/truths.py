"""Small ground truths and results that tests of evaluation share."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as rle_tools

SIZE = (100, 120)  # height, width


def rectangle(x: float, y: float, width: float, height: float) -> dict:
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[int(y) : int(y + height), int(x) : int(x + width)] = 1
    code = rle_tools.encode(mask)
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def truth_of(*objects: tuple, images: int = 1, categories: tuple = ("cell",)) -> dict:
    """Objects are (image_id, category_id, box xywh, {more})."""
    annotations = [
        {
            "id": i + 1,
            "image_id": image,
            "category_id": category,
            "bbox": list(box),
            "segmentation": rectangle(*box),
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
            **(more[0] if more else {}),
        }
        for i, (image, category, box, *more) in enumerate(objects)
    ]
    return {
        "images": [{"id": i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(categories)],
    }


def found(image: int, category: int, box: tuple, score: float, mask: bool = True) -> dict:
    result = {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
    return {**result, "segmentation": rectangle(*box)} if mask else result


A, B, FAR = (10, 10, 40, 40), (60, 10, 40, 40), (10, 60, 30, 30)
