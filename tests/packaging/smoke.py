"""What a new user tries first, with the installed package, from a folder of their own."""

from __future__ import annotations

import sys
import tempfile
import time

start = time.perf_counter()
import minimask as mm  # noqa: E402  (its import time is measured)

import_seconds = time.perf_counter() - start

heavy = sorted({"numba", "scipy", "matplotlib", "cupy", "torch"} & set(sys.modules))
assert not heavy, f"`import minimask` imported {heavy}"
assert "site-packages" in mm.__file__, f"not the installed package: {mm.__file__}"

import numpy as np  # noqa: E402

from minimask.data import Shapes  # noqa: E402
from minimask.evaluate import evaluate  # noqa: E402
from minimask.models import build, maskrcnn_laptop  # noqa: E402
from minimask.weights import save_weights  # noqa: E402

assert "kernels" not in sys.modules, "the import name `kernels` belongs to another project"

dataset = Shapes(count=2, size=64, seed=1)
model = maskrcnn_laptop(classes=dataset.classes, min_size=64, max_size=64)
sample = dataset[0]
losses = model.losses([sample.image], [sample.target], rng=np.random.default_rng(0))
sum(losses.values(), start=mm.Tensor(np.zeros((), np.float32))).backward()
assert all(np.isfinite(loss.item()) for loss in losses.values()), losses

(detections,) = model.predict([sample.image])
assert detections.masks.shape == (len(detections), 64, 64)
results = evaluate(model, dataset, progress=False)
assert 0 <= results.mask["AP"] <= 1

with tempfile.TemporaryDirectory() as folder:
    save_weights(model, f"{folder}/weights.safetensors")
    again = build(model.config)
    mm.load_weights(again, f"{folder}/weights.safetensors")

    # the pages: templates, styles and scripts are installed
    from minimask.tools.cli import make_app
    from minimask.tools.textbook.trace import trace

    trace(model, sample.image, sample.target).write(f"{folder}/book.html")
    for words in (
        ["explore", "--out", f"{folder}/explore.html"],
        ["claims", "13", "41", "--html", f"{folder}/claims.html"],
    ):
        make_app(debug=True)(args=words, standalone_mode=False)
    for name in ("book", "explore", "claims"):
        with open(f"{folder}/{name}.html", encoding="utf-8") as page:
            assert "</html>" in page.read()
(repeated,) = again.predict([sample.image])
np.testing.assert_array_equal(repeated.boxes, detections.boxes)
from minimask.kernels.host_shim.build import why_not  # noqa: E402

if why_not() is None:  # the sources of the GPU kernels are installed, and run
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
    with mm.using(emulate=True):
        overlaps = mm.kernels.box_iou(boxes, boxes)
    np.testing.assert_allclose(overlaps, [[1, 1 / 3], [1 / 3, 1]], rtol=1e-6)
print(f"smoke: minimask {mm.__version__} imports in {import_seconds:.3f} s, trains, predicts")
