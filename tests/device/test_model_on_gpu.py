"""The model on a real GPU, held against the CPU like the emulated one."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.system.device import count_transfers
from minimask.train import memory
from minimask.train.settings import TrainSettings
from minimask.train.step import Trainer

from .test_model_emulated import SIDE, as_samples, draws, learn, samples, tiny

__all__ = ["draws", "samples"]  # fixtures
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("norm", ["batch", "frozen_batch", "group"])
def test_losses_and_gradients_are_the_cpus(real_cupy, samples, draws, norm):
    wanted, gradients = learn(tiny(norm=norm), samples)
    found, there = learn(tiny(norm=norm).to("cuda"), samples, as_samples(draws))
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=1e-4), name
    for name, gradient in gradients.items():
        assert isinstance(there[name], real_cupy.ndarray)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            there[name].get(), gradient, rtol=0, atol=1e-3 * scale + 1e-8, err_msg=name
        )


def test_five_steps_give_the_same_bits(real_cupy, samples):
    runs = [learn(tiny().to("cuda"), samples) for _ in range(5)]
    for numbers, gradients in runs[1:]:
        assert numbers == runs[0][0]
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient.get(), runs[0][1][name].get(), err_msg=name)


def test_a_step_waits_three_times_and_fits_its_estimate(real_cupy, samples):
    model = tiny().to("cuda")
    estimate = memory.step_bytes(model, 2, SIDE, SIDE)
    trainer = Trainer(model, TrainSettings(steps=3, batch=2))
    trainer.advance([samples])
    with count_transfers() as counted:
        row = trainer.advance([samples])
    assert len(counted.downloads) == 3
    assert np.isfinite(row["loss"])
    assert real_cupy.get_default_memory_pool().used_bytes() < 2 * estimate + 2**26


def test_predictions_are_the_cpus(real_cupy, samples):
    images = [s.image for s in samples]
    options = {"box_score_thresh": 0.0, "box_detections_per_img": 20}
    wanted = tiny(**options).predict(images)
    found = tiny(**options).to("cuda").predict(images)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=2e-2)
