"""The self test of every detector: it must be able to learn one image by heart."""

from __future__ import annotations

import pytest

from minimask import models
from minimask.data import Shapes
from minimask.train import TrainSettings, train


@pytest.mark.slow
def test_one_image_is_learned_by_heart(tmp_path):
    data = Shapes(1, 128, seed=3, objects=(3, 3), object_size=(0.3, 0.5))
    model = models.maskrcnn_laptop(data.classes)
    settings = TrainSettings(
        steps=90, batch=2, lr=2e-3, warmup=10, eval_every=30, pictures=1, keep=1
    )
    summary = train(model, data, settings, tmp_path / "run", val=data, progress=False)
    assert summary["objects"] == 3
    assert summary["mask"]["AP"] > 0.9, (tmp_path / "run" / "ap.csv").read_text()
    assert summary["box"]["AP"] > 0.9
