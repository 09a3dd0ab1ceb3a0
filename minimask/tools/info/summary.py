"""What a dry run showed, added up.

Letters: N images, H W height and width of the images.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import hooked
from minimask.nn import Module
from minimask.tools.info import work
from minimask.tools.info.dry_run import DryRun
from minimask.tools.info.fields import Field, FieldHook
from minimask.tools.info.work import Counts
from minimask.tools.profile.costs import cost_of
from minimask.tools.profile.observer import FORWARD, Observer, Record
from minimask.tools.profile.stages import sorted_stages

PHOTO = (480, 640)  # height and width of most COCO photographs
STATES = {"adamw": 2, "sgd": 1}  # arrays that an optimizer keeps for each weight
PRODUCTS = ("Conv2d", "ConvTranspose2d", "Linear", "MatMul")  # what multiply-adds count


@dataclass(frozen=True)
class Layer:
    """A module with weights of its own.

    Attributes:
        path: as in a state dict.
        kind: its class, with its sizes.
        output: shape of what it computed first; None: it was not called.
        parameters: of this module alone.
        multiply_adds: of all its calls.
        calls: how often it ran: a head slides over every level.
    """

    path: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    multiply_adds: int
    calls: int


@dataclass(frozen=True)
class Map:
    """A feature map of the body.

    Attributes:
        shape: (N, C, H / stride, W / stride).
        field: what a cell sees; None where that depends on the image.
        rpn_field: the same behind a 3x3 convolution on it, such as the proposal network's.
    """

    shape: tuple[int, ...]
    field: Field | None
    rpn_field: Field | None


@dataclass(frozen=True)
class Bytes:
    """Memory of one kind of work, beside Python, the packages and the images."""

    weights: int  # parameters and statistics
    states: int  # of the optimizer
    peak: int  # of all arrays together with the weights, gradients and the kernels' own memory
    kept: int = 0  # of a training step: what the forward pass leaves for the backward pass

    @property
    def total(self) -> int:
        """What a step needs."""
        return self.weights + self.states + self.peak


@dataclass(frozen=True)
class Summary:
    """What a network consists of and what it costs.

    Attributes:
        name: of the model.
        size: height and width of the network's input, padded.
        images: in the batch.
        counts: regions per image that were assumed.
        parameters: of all modules; `trainable` of them learn.
        layers: in the order of the state dict.
        stages: multiply-adds of each part of a prediction, from the image on.
        maps: of the body, finest first; empty where the model has none.
        inference: memory of a prediction.
        training: memory of a training step; None: not asked for.
        training_multiply_adds: of that step, forward and backward; 0 likewise.
    """

    name: str
    size: tuple[int, int]
    images: int
    counts: Counts
    parameters: int
    trainable: int
    layers: tuple[Layer, ...]
    stages: dict[str, int]
    maps: tuple[Map, ...]
    inference: Bytes
    training: Bytes | None = None
    training_multiply_adds: int = 0

    @property
    def multiply_adds(self) -> int:
        """Of the prediction."""
        return sum(self.stages.values())


def summarize(
    model: Any,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    *,
    train: bool = False,
    optimizer: str = "adamw",
    **counts: int | None,
) -> Summary:
    """Run a model dry and add up what it would do.

    Args:
        model: of `minimask.models`; nothing about it changes.
        size: height and width of the images, which are then not resized; None: a photograph of
            480 x 640 pixels, resized as the model resizes it.
        batch: images at once.
        train: also a training step.
        optimizer: whose states count then: "adamw" or "sgd".
        **counts: other numbers of regions per image than the model's greatest, by the names of
            `Counts`.

    Raises:
        ValueError: images that the model cannot take.
    """
    given = {name: count for name, count in counts.items() if count is not None}
    regions = dataclasses.replace(work.counts_of(model), **given)
    images = [np.zeros((*(size or PHOTO), 3), np.uint8)] * batch
    with work.at_size(model, size):
        dry, observer = DryRun(), Observer(model)
        with hooked(dry), observer.watch():
            work.predict(model, images, regions)
        with no_grad():
            prepared = model.prepare(images)
        training, products = None, 0
        if train:
            training, products = _training(model, images, regions, optimizer)
    weights = _weight_bytes(model)
    return Summary(
        name=str(model.config.get("model", type(model).__name__)),
        size=prepared.shape,
        images=batch,
        counts=regions,
        parameters=model.count_parameters(),
        trainable=model.count_parameters(trainable_only=True),
        layers=tuple(_layers(model, observer.records)),
        stages=_stages(observer.records),
        maps=tuple(_maps(model, prepared.images.shape)),
        inference=Bytes(weights, 0, dry.memory.peak + prepared.images.nbytes),
        training=training,
        training_multiply_adds=products,
    )


def multiply_adds(record: Record) -> int:
    """Of one operation, as `profile.costs` counts them (there a multiply-add is two FLOP).

    Those of convolutions and matrix products; RoIAlign's few are left out, as published numbers do.
    """
    if record.call.name not in PRODUCTS:
        return 0
    cost, forward = cost_of(record.call), record.place.phase == FORWARD
    return round((cost.forward if forward else cost.backward)(record.call) / 2)


def _training(
    model: Any, images: list[np.ndarray], counts: Counts, optimizer: str
) -> tuple[Bytes, int]:
    """Memory and multiply-adds of a training step; the model is left as it was."""
    buffers = {name: buffer.copy() for name, buffer in model.named_buffers()}
    was_training, learn = model.training, [p for p in model.parameters() if p.requires_grad]
    before = [p.grad for p in learn]
    dry, observer = DryRun(learn), Observer(model)
    try:
        for parameter in learn:
            parameter.grad = None
        with hooked(dry), observer.watch():
            loss = work.losses(model, images, counts)
            kept = dry.memory.live
            if loss.requires_grad:
                loss.backward()
    finally:
        for parameter, grad in zip(learn, before, strict=True):
            parameter.grad = grad
        model.train(was_training)
        for name, buffer in model.named_buffers():
            buffer[...] = buffers[name]  # batch norm collected statistics of nothing
    states = STATES[optimizer] * sum(p.data.nbytes for p in learn)
    pixels = sum(image.nbytes for image in images) * 4  # as float32
    peak = max(dry.memory.peak, sum(p.data.nbytes for p in learn)) + pixels
    products = sum(map(multiply_adds, observer.records))
    return Bytes(_weight_bytes(model), states, peak, kept), products


def _weight_bytes(model: Module) -> int:
    arrays = [p.data for p in model.parameters()] + [b for _, b in model.named_buffers()]
    return sum(array.nbytes for array in arrays)


def _layers(model: Module, records: list[Record]) -> list[Layer]:
    """The modules that have weights, or that multiply."""
    calls: dict[str, list[Record]] = {}
    for record in records:
        if record.place.phase == FORWARD and not record.call.name.endswith("(kernel)"):
            calls.setdefault(record.place.layer, []).append(record)
    layers, seen = [], set()
    for path, module in model.named_modules():
        own = [p for _, p in module._own_state() if isinstance(p, Tensor) and id(p) not in seen]
        seen |= {id(p) for p in own}
        ran = calls.get(path, [])
        products = [record for record in ran if record.call.name in PRODUCTS]
        if not own and not products:
            continue
        told = (products or ran)[:1]
        layers.append(
            Layer(
                path,
                f"{type(module).__name__}({module.describe()})",
                told[0].call.output if told else None,
                sum(p.size for p in own),
                sum(map(multiply_adds, ran)),
                len(products) or len(ran),
            )
        )
    return layers


def _stages(records: list[Record]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for record in records:
        sums[record.place.stage] = sums.get(record.place.stage, 0) + multiply_adds(record)
    return {stage: sums[stage] for stage in sorted_stages(set(sums)) if sums[stage]}


def _maps(model: Module, shape: tuple[int, ...]) -> list[Map]:
    """The body's maps and what their cells see."""
    body = work.body_of(model)
    if body is None:
        return []
    was_training = body.training
    dry = DryRun()
    image = dry.memory.stand_in(shape, np.float32)
    fields = FieldHook(image)
    try:
        with hooked(dry), hooked(fields), no_grad():
            levels = body.eval()(Tensor(image))
    finally:
        body.train(was_training)
    found = [(level.shape, fields.of(level.data)) for level in levels]
    return [Map(s, field, field and field.through(3)) for s, field in found]
