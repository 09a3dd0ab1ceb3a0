"""How much the stages cost: R-CNN, Fast and Faster R-CNN, Mask R-CNN and RetinaNet in one engine.

    python benchmarks/stages_compared.py                   all, on this machine's cores
    python benchmarks/stages_compared.py --pairs 3 --threads 2 --json found.json
    python benchmarks/stages_compared.py --torchvision     RetinaNet beside torchvision's as well

Two questions.  One stage or two: ResNet-50 with a pyramid, an image of 800 pixels, random weights
whose thresholds are lowered until as many objects pass as in a trained network.  And the history:
the same small network as R-CNN (one pass for each region), Fast R-CNN (one pass, the same regions)
and Faster R-CNN (its own regions), on an image of 256 x 256 pixels.

The models of a question take turns; what is compared are medians, as ratios.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="turns of every model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=800, help="short side of the large image")
    parser.add_argument("--regions", type=int, default=1000, help="of the small network")
    parser.add_argument("--torchvision", action="store_true", help="RetinaNet beside torchvision's")
    parser.add_argument("--only", choices=("stages", "history", "torchvision"))
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    import minimask as mm

    mm.runtime.prepare()
    mm.runtime.use_threads(arguments.threads)
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "arguments": {k: str(v) for k, v in vars(arguments).items()},
    }
    if arguments.only in (None, "stages"):
        found["one stage or two"] = compare(stages(arguments.side), arguments.pairs)
    if arguments.only in (None, "history"):
        found["history"] = compare(history(arguments.regions), arguments.pairs)
    if arguments.torchvision or arguments.only == "torchvision":
        sides = beside_torchvision(arguments.side, arguments.threads)
        found["RetinaNet"] = compare(sides, arguments.pairs)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def compare(runs: dict[str, Run], pairs: int) -> dict[str, dict[str, float]]:
    """Let the models take turns; print and give the medians, and ratios to the last one's."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # compiles, fills caches
    for _ in range(pairs):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    last = list(runs)[-1]
    found = {}
    for name, each in times.items():
        ratio = statistics.median(a / b for a, b in zip(each, times[last], strict=True))
        found[name] = {"seconds": statistics.median(each), "ratio": ratio}
        print(f"{name:34}{found[name]['seconds'] * 1000:10.0f} ms   {ratio:6.2f} x {last}")
    print()
    return found


def stages(side: int) -> dict[str, Run]:
    """Mask R-CNN, Faster R-CNN and RetinaNet on one ResNet-50."""
    import numpy as np

    import minimask as mm
    from minimask.tools.profile.work import find_something, generated

    (sample,) = generated((side, side * 4 // 3), 1, 90)
    image = np.ascontiguousarray(sample.image)

    def ready(name: str) -> Run:
        model = getattr(mm.models, name)(min_size=side, max_size=1333)
        find_something(model, image)
        print(f"{name}: {len(model.predict([image])[0])} objects")
        return lambda: model.predict([image])

    names = ("maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
    return {name: ready(name) for name in names}


def history(regions: int) -> dict[str, Run]:
    """The same body as R-CNN, Fast and Faster R-CNN, on one image and as many regions."""
    import minimask as mm
    from minimask.models import GridProposer
    from minimask.tools.profile.work import generated

    (sample,) = generated((256, 256), 1, 3)
    given = [GridProposer(limit=regions).windows(256, 256)]
    print(f"history: {len(given[0])} regions")
    rcnn = mm.models.rcnn_laptop(["a", "b", "c"], stem_channels=64)
    fast = mm.models.fastrcnn_laptop(["a", "b", "c"])
    counts = {"rpn_pre_nms_top_n_test": regions, "rpn_post_nms_top_n_test": regions}
    faster = mm.models.fasterrcnn_laptop(["a", "b", "c"], rpn_nms_thresh=1.0, **counts)
    return {
        "R-CNN": lambda: rcnn.predict([sample.image], given),
        "Fast R-CNN (regions given)": lambda: fast.predict([sample.image], given),
        "Faster R-CNN": lambda: faster.predict([sample.image]),
    }


def beside_torchvision(side: int, threads: int) -> dict[str, Run]:
    """RetinaNet-ResNet-50 here, and torchvision's with its weights: plain, and channels last."""
    import copy

    import numpy as np
    import torch
    from torchvision.models.detection import retinanet_resnet50_fpn

    import minimask as mm
    from minimask.tools.profile.work import find_something, generated

    torch.set_num_threads(threads)
    (sample,) = generated((side, side * 4 // 3), 1, 90)
    image = np.ascontiguousarray(sample.image)
    plain = retinanet_resnet50_fpn(weights=None, weights_backbone=None, min_size=side)
    with torch.no_grad():  # the class that is none in nobody's way
        plain.head.classification_head.cls_logits.bias.view(-1, 91)[:, 0] = -20
    model = mm.models.retinanet_resnet50_fpn(min_size=side)
    state = {n: a.numpy() for n, a in plain.state_dict().items()}
    model.load_state_dict(state, strict=False)
    plain.score_thresh = find_something(model, image)
    plain.eval()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
    with torch.inference_mode():
        counts = len(model.predict([image])[0]), len(plain([tensor])[0]["boxes"])
    print(f"RetinaNet: {counts[0]} objects here, {counts[1]} in torchvision")

    def run(network: Any) -> Run:
        def predict() -> None:
            with torch.inference_mode():
                network([tensor])

        return predict

    return {
        "torchvision": run(plain),
        "torchvision, channels last": run(last),
        "minimask": lambda: model.predict([image]),
    }


if __name__ == "__main__":
    main()
