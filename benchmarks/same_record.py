"""What `same_results.py` writes down of a network: digests of every array, and a few numbers.

Only what is public and stays so is used here, so that old and new code can run it.  The images are
drawn here as well, so that a change of the generated data is no change of the models.

Keys that begin with "numbers/" depend on no choice that rounding could turn (which boxes survive
suppression, which are drawn): any machine must give them up to rounding.  All others are for
machines of the same kind, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from same_cases import CLASSES, Case

import minimask as mm
from minimask.models import Samples, Target

Record = dict[str, Any]
FIRST_STAGES = ("transform", "body", "fpn", "neck", "rpn/objectness", "rpn/deltas", "rpn/anchors")
RATE = 0.05  # of the updates; the gradient is clipped to length 1


def digest(value: Any) -> str:
    """Type, shape and bytes of an array in a few letters."""
    if value is None:
        return "none"
    array = np.asarray(value)
    content = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return content.hexdigest()[:12]


def digest_all(named: Iterable[tuple[str, Any]]) -> str:
    """Of several arrays with their names, in their order."""
    return hashlib.sha256(repr([(n, digest(a)) for n, a in named]).encode()).hexdigest()[:12]


# ---- images


def draw(
    seed: int, height: int, width: int, boxes: Sequence[Sequence[float]]
) -> tuple[np.ndarray, Target]:
    """An image (H, W, 3) uint8 of noise with a disk, box or cross in every one of the boxes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 130, (height, width, 3)).astype(np.uint8)
    masks = np.zeros((len(boxes), height, width), np.uint8)
    y, x = np.mgrid[:height, :width] + 0.5
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        u, v = 2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1
        box = np.maximum(abs(u), abs(v)) <= 1
        cross = box & (np.minimum(abs(u), abs(v)) < 0.4)
        masks[i] = (u * u + v * v <= 1, box, cross)[i % 3]
        image[masks[i] == 1] = rng.integers(0, 256, 3)
    labels = np.arange(len(boxes), dtype=np.int64) % 3
    return image, Target(np.array(boxes, np.float32).reshape(-1, 4), labels, masks)


def scene(name: str) -> list[tuple[np.ndarray, Target]]:
    """Images of different sizes with their objects: "mixed", "large" or "same" (of one size)."""
    first = draw(1, 64, 64, [(3, 4, 20, 21), (30, 8, 62, 38), (8, 40, 24, 57)])
    if name == "same":
        return [first, draw(2, 64, 64, [(10, 11, 43, 42), (42, 44, 58, 60)])]
    if name == "large":  # sides near 112 and 224, where the systems' rules for levels part
        small = [(14.0 * i + 2, 230.0, 14.0 * i + 14, 242.0) for i in range(12)]
        near = [(16, 16, 16 + side, 16 + side) for side in (111.99995, 111.99993)]
        return [draw(4, 256, 256, [*near, (10, 20, 90, 100), (8, 8, 232, 232), *small]), first]
    # the last two have anchors with an IoU between 0.69 and 0.7, so that a slight move of the
    # threshold is seen
    boxes = [(40, 10, 90, 50), (5, 20, 21, 36), (16, 11, 43, 51), (47, 36, 87, 63)]
    gray, target = draw(3, 64, 96, boxes)
    return [first, (gray[:, :, 0], target), draw(5, 80, 64, [])]


def with_keypoints(target: Target, count: int) -> Target:
    """The target with `count` keypoints in each of its boxes, one in three of them unlabeled."""
    shape = (len(target.boxes), count)
    place = np.random.default_rng(count).uniform(0, 1, (*shape, 2))
    corner, far = target.boxes[:, None, :2], target.boxes[:, None, 2:]
    seen = np.arange(shape[0] * count).reshape(*shape, 1) % 3
    keypoints = np.concatenate([corner + place * (far - corner), seen], axis=2)
    return Target(target.boxes, target.labels, target.masks, keypoints.astype(np.float32))


# ---- one network


def lacks(case: Case) -> str | None:
    """The factory or option of the case that this version of the code has not, if any."""
    make = getattr(mm.models, case.factory, None)
    if make is None:
        return f"factory {case.factory}"
    try:
        make(classes=CLASSES, **case.options)
    except ValueError as error:
        if "no option" in str(error):
            return str(error).split("  ")[0]
        raise
    return None


def record(case: Case) -> Record:
    """Everything the network of this case computes."""
    options = dict(case.options)
    if case.convention is not None:
        options["convention"] = case.convention
    model = getattr(mm.models, case.factory)(classes=CLASSES, seed=3, **options)
    images, targets = map(list, zip(*scene_for(model, case.scene), strict=True))
    out: Record = {"inputs": digest_all([*((f"{i}", a) for i, a in enumerate(images))])}
    _weights(out, "start", model)
    out["start/config"] = json.dumps(model.config, sort_keys=True)
    _first_stages(out, model, images[0])
    _recorded_draws(out, model)
    model.train()
    for step in range(2):
        losses = model.losses(images, targets, rng=np.random.default_rng(step))
        _learn(out, f"step {step}", model, losses)
        _update(model)
    _weights(out, "end", model)
    _doubt_background(model, options.get("background") or case.convention)
    if hasattr(model, "propose"):
        proposals = model.propose(images)
        out["propose"] = digest_all((str(i), p) for i, p in enumerate(proposals))
    rng = np.random.default_rng(7)
    if hasattr(model, "proposal_losses"):
        _learn(out, "proposal_losses", model, model.proposal_losses(images, targets, rng=rng))
        losses = model.region_losses(images, targets, proposals, rng=rng)
        _learn(out, "region_losses", model, losses)
    _predictions(out, model, images)
    out["stages"] = {name: digest(a) for name, a in model.stages(images[1])}
    out["stages/order"] = list(out["stages"])
    out["training"] = model.training
    _saved(out, model, images)
    return out


def scene_for(model: Any, name: str) -> list[tuple[np.ndarray, Target]]:
    """The images with the objects that the model learns: with keypoints where it has any."""
    skeleton = getattr(model, "skeleton", None)
    if skeleton is None:
        return scene(name)
    return [(image, with_keypoints(target, len(skeleton))) for image, target in scene(name)]


def _weights(out: Record, key: str, model: Any) -> None:
    state = model.state_dict()
    names = [(name, str(a.dtype), a.shape) for name, a in state.items()]
    out[f"{key}/names"] = hashlib.sha256(repr(names).encode()).hexdigest()[:12]
    out[f"{key}/weights"] = digest_all(state.items())
    learned = [name for name, p in model.named_parameters() if p.requires_grad]
    out[f"{key}/trainable"] = f"{len(learned)} of {len(list(model.parameters()))}"
    total = np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in state.values()))
    if key == "start":
        out[f"numbers/{key}/weights"] = float(total)


def _first_stages(out: Record, model: Any, image: np.ndarray) -> None:
    """Mean sizes of what is computed before the first choice is made."""
    for name, array in model.stages(image):
        if name.startswith(FIRST_STAGES):
            mean = np.mean(np.abs(array), dtype=np.float64)
            out[f"numbers/stages/{name}"] = [*array.shape, float(mean)]


def _learn(out: Record, key: str, model: Any, losses: Mapping[str, Any]) -> float:
    """Note the losses and the gradients of their sum; gives the length of the gradient."""
    for parameter in model.parameters():
        parameter.grad = None
    first, *others = losses.values()
    total = sum(others, start=first)
    out[f"{key}/learns"] = total.requires_grad  # not where no region was drawn at all
    if total.requires_grad:
        total.backward()
    out[f"{key}/losses"] = {name: loss.item() for name, loss in losses.items()}
    grads = [(name, p.grad) for name, p in model.named_parameters()]
    for part in ("backbone", "rpn", "roi_heads", "head"):
        if part == "head" and not hasattr(model, "head"):
            continue
        out[f"{key}/grad/{part}"] = digest_all(g for g in grads if g[0].startswith(f"{part}."))
    assert all(np.isfinite(g).all() for _, g in grads if g is not None)
    return _length(model)


def _length(model: Any) -> float:
    squares = [
        np.sum(np.square(p.grad, dtype=np.float64))
        for p in model.parameters()
        if p.grad is not None
    ]
    return float(np.sqrt(sum(squares)))


def _update(model: Any) -> None:
    """Plain gradient descent, with the optimizers left out."""
    rate = np.float32(RATE / max(1.0, _length(model)))
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data -= rate * parameter.grad


def _doubt_background(model: Any, where: str | None) -> None:
    """Lower background's logit: after two steps it would win everywhere, and nothing be found."""
    parameters = dict(model.named_parameters())
    if "roi_heads.box_predictor.cls_score.bias" not in parameters:
        return
    bias = parameters["roi_heads.box_predictor.cls_score.bias"].data
    bias[-1 if where in ("last", "detectron2", "mmdet") else 0] -= 1


def _recorded_draws(out: Record, model: Any) -> None:
    """The losses with draws made here: nothing in them hangs on a choice that rounding may turn."""
    images, targets = map(list, zip(*scene_for(model, "same"), strict=True))
    stages = dict(model.stages(images[0]))
    if "rpn/anchors" not in stages or not hasattr(model, "roi_heads"):
        return  # it draws nothing, or not in two stages
    if stages["transform/image"].shape[2:] != images[0].shape[:2]:
        return  # the draws below are made in pixels of the image
    model.train()
    rng = np.random.default_rng(11)
    draws = [_draws(stages["rpn/anchors"], t.boxes, rng) for t in targets]
    samples = Samples(*map(list, zip(*draws, strict=True)))
    losses = model.losses(images, targets, rng=np.random.default_rng(12), samples=samples)
    length = _learn(out, "recorded draws", model, losses)
    out["numbers/recorded draws/losses"] = [loss.item() for loss in losses.values()]
    out["numbers/recorded draws/grad"] = length


def _draws(anchors: np.ndarray, gt_boxes: np.ndarray, rng: np.random.Generator) -> tuple:
    """Anchors and proposals of one image that are positive or negative in every convention."""
    best = overlaps(anchors, gt_boxes).max(axis=1)
    positive, negative = np.flatnonzero(best > 0.71)[:16], np.flatnonzero(best < 0.05)
    negative = np.sort(rng.choice(negative, min(40, len(negative)), replace=False))
    near = np.repeat(gt_boxes, 3, axis=0) + rng.uniform(-1, 1, (3 * len(gt_boxes), 4))
    corner = rng.uniform(0, 40, (30, 2))
    far = np.concatenate([corner, corner + rng.uniform(6, 24, (30, 2))], axis=1)
    far = far[overlaps(far, gt_boxes).max(axis=1) < 0.25]
    proposals = np.concatenate([near, far]).astype(np.float32)
    assert overlaps(near, gt_boxes).max(axis=1).min() > 0.75
    return positive, negative, proposals, np.arange(len(near)), len(near) + np.arange(len(far))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes: (A, 4) and (B, 4) -> (A, B) float64."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=2)
    area_a, area_b = (np.prod(boxes[..., 2:] - boxes[..., :2], axis=2) for boxes in (a, b))
    return common / (area_a + area_b - common)


def _predictions(out: Record, model: Any, images: Sequence[np.ndarray]) -> None:
    rgba = np.dstack([images[0], images[0][:, :, 0]])
    for i, found in enumerate(model.predict([*images, rgba], batch_size=3)):
        fields = ["boxes", "labels", "scores", "mask_probs", "mask_boxes", "image_size", "paste"]
        named = [(name, getattr(found, name)) for name in fields]
        if found.mask_probs is not None:
            named += [("masks", found.masks), ("soft_masks", found.soft_masks)]
        if getattr(found, "keypoints", None) is not None:
            named += [("keypoints", found.keypoints)]
        out[f"predict/{i}"] = {"count": len(found), "all": digest_all(named)}
    (alone,) = model.predict([images[0]])
    out["predict/alone"] = digest_all([("boxes", alone.boxes), ("scores", alone.scores)])


def _saved(out: Record, model: Any, images: Sequence[np.ndarray]) -> None:
    """Written to a file, and read by a model that is built from the configuration."""
    again = mm.models.build(json.loads(json.dumps(model.config)))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.safetensors"
        mm.save_weights(model, path)
        out["saved/bytes"] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        mm.load_weights(again, path)
    (found,) = again.predict([images[0]])
    out["saved/predict"] = digest_all([("boxes", found.boxes), ("scores", found.scores)])


# ---- whole trainings


def record_training(features: str) -> Record:
    """`train`, then `open_run`; and the four steps of alternating training."""
    from minimask.data import Shapes
    from minimask.train import TrainSettings, train
    from minimask.train.four_step import four_step

    options = {"features": features, "stem_channels": 8, "fpn_channels": 8, "box_head_width": 16}
    options |= {"mask_head_channels": [8], "mask_predictor_channels": 8}
    config = {"model": "maskrcnn_laptop", "classes": ["circle", "star"], **options}
    data = Shapes(None, 48, 0, config["classes"], objects=(1, 1))
    settings = TrainSettings(steps=2, batch=2, warmup=0, pictures=0, lr=1e-2, threads=1)
    out: Record = {}
    with tempfile.TemporaryDirectory() as folder:
        model = mm.models.build(config)
        train(model, data, settings, pathlib.Path(folder) / "run", progress=False)
        _weights(out, "train", model)
        opened = mm.open_run(pathlib.Path(folder) / "run").model
        _predictions(out, opened, [data[0].image])
        model = mm.models.build(config)
        report = four_step(model, data, settings, pathlib.Path(folder) / "four", progress=False)
        out["four_step"] = [step["hashes"] for step in report["steps"]]
    return out
