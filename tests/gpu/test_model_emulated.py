"""The model's GPU path without a GPU: the stand-in for CuPy, kernels in the host shim.

The same code runs as on a GPU; the results are held against the CPU's.
"""

from __future__ import annotations

import numpy as np
import pytest

from minimask import models
from minimask.data import Shapes
from minimask.device import count_transfers
from minimask.models.detections import Target
from minimask.train.optim import SGD, AdamW
from minimask.train.settings import TrainSettings
from minimask.train.step import Trainer

from . import stand_in

SIDE = 64


def tiny(seed=0, **options):
    """A Mask R-CNN small enough for one CPU thread to play GPU."""
    return models.build(
        {
            "model": "maskrcnn_laptop",
            "num_classes": 5,
            "classes": ("circle", "square", "triangle", "star"),
            "min_size": SIDE,
            "max_size": SIDE,
            "seed": seed,
            **options,
        }
    )


@pytest.fixture(scope="module")
def samples():
    dataset = Shapes(2, SIDE, 3)
    return [dataset[i] for i in range(2)]


def losses_and_gradients(model, samples):
    targets = [Target(s.boxes, s.labels, s.masks) for s in samples]
    losses = model.train().losses(
        [s.image for s in samples], targets, rng=np.random.default_rng(0)
    )
    total = sum(losses.values(), start=next(iter(losses.values())) * 0)
    total.backward()
    numbers = {name: float(np.asarray(loss.data.get() if hasattr(loss.data, "get") else loss.data))
               for name, loss in losses.items()}
    return numbers, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
def test_a_training_step_is_the_cpus(cupy_stand_in, samples):
    wanted, gradients = losses_and_gradients(tiny(), samples)
    model = tiny().to("cuda")
    assert model.device == "cuda:0"
    found, there = losses_and_gradients(model, samples)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=2e-5), name
    assert there.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert type(there[name]) is stand_in.ndarray
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(there[name].get(), gradient, rtol=0, atol=2e-4 * scale + 1e-8)
