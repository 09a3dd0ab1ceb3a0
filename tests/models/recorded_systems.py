"""Networks that other systems recorded, as networks of this package: names, sizes, stages.

What a file says of its network is what the product recognises in it, and the rest is from the
recording's description, so that other recordings of the same kinds can be put in their place.
"""

import json

import numpy as np

import minimask as mm
from minimask.autograd import Tensor
from minimask.data import ObjectMasks
from minimask.data.mask_outlines import outline_of
from minimask.data.segmentation import to_run_lengths
from minimask.models import Target
from minimask.models.system_configs import SYSTEM_CONFIGS
from minimask.models.transform import ImageTransform
from minimask.weights import load_weights, read_source, read_weights, systems

# of each: the system, the recording, and how the system uses such networks
RECORDINGS = {
    "torchvision v2": ("torchvision", "maskrcnn_v2", None),
    "detectron2 FPN": ("detectron2", "mask_rcnn_R_50_FPN", "detectron2/fpn"),
    "detectron2 C4": ("detectron2", "mask_rcnn_R_50_C4", "detectron2/c4"),
    "detectron2 DC5": ("detectron2", "mask_rcnn_R_50_DC5", "detectron2/dc5"),
    "detectron2 4conv1fc": ("detectron2", "mask_rcnn_R_50_FPN_3x_syncbn", "detectron2/4conv1fc"),
    "mmdet FPN": ("mmdet", "mask-rcnn_r50_fpn", "mmdet/fpn"),
    "mmdet caffe FPN": ("mmdet", "mask-rcnn_r50-caffe_fpn", "mmdet/caffe-fpn"),
    "mmdet caffe C4": ("mmdet", "mask-rcnn_r50-caffe-c4", "mmdet/caffe-c4"),
    "mmdet ResNeXt": ("mmdet", "mask-rcnn_x101-32x4d_fpn", "mmdet/fpn"),
}
STAGE = 1e-4  # how far a stage may be from the recorded one, relative to its standard deviation


class Recording:
    """One recorded network: this package's model with its weights, and what was computed.

    Attributes:
        system: "torchvision", "detectron2" or "mmdet".
        meta, forward, step: the description and the two archives (step: None where there is none).
        model: in eval mode.
    """

    def __init__(self, folder, label, **changes):
        """Of `RECORDINGS`; `changes`: options of the model other than the system's."""
        system, name, known = RECORDINGS[label]
        self.system, self.name = system, name
        at = folder / system
        self.meta = json.loads((at / f"{name}_meta.json").read_text())
        self.forward = read(at / f"{name}_forward.npz")
        has_step = f"{name}_train.npz" in self.meta["files"]
        self.step = read(at / f"{name}_train.npz") if has_step else None
        (weights,) = (n for n in self.meta["files"] if n.endswith((".pth", ".pkl")))
        source = read_source(at / weights)
        self.table = table_of(system, at / weights)
        config = {} if known is None else SYSTEM_CONFIGS[known].config()
        options = recognised(source) | config | self.settings() | changes
        self.model = mm.models.mask_rcnn(**options)
        load_weights(self.model, source)
        self.model.eval()

    def here(self, name):
        """What a parameter of the other system is called in this package."""
        return name if self.table is None else self.table.ours(name)

    def settings(self):
        """What the description says, as options of a factory."""
        meta, forward = self.meta, self.forward
        if self.system == "torchvision":
            return meta["sizes"] | {"anchor_sizes": _sizes(forward)}
        if self.system == "detectron2":
            sizes = meta["anchor_sizes"]
            limits = {"min_size": meta["min_size"], "max_size": meta["max_size"]}
            before_after = meta["rpn_top_n_test"], meta["rpn_top_n_train"]
            shown = meta["detections_per_img"]
            sizes = sizes[0] if len(sizes) == 1 else [s[0] for s in sizes]
            limits["stride_in_1x1"] = meta["stride_in_1x1"]
        else:
            made = meta["model"]["rpn_head"]["anchor_generator"]
            sizes = [scale * n for n in made["strides"] for scale in made["scales"]]
            limits = {"min_size": min(meta["scale"]), "max_size": max(meta["scale"])}
            # norms learn scale and shift where they may, and their statistics stay (norm_eval)
            learns = meta["model"]["backbone"]["norm_cfg"]["requires_grad"]
            limits["norm"] = "batch" if learns else "frozen_batch"
            test = meta["model"]["test_cfg"]
            train = meta["model"]["train_cfg"]["rpn_proposal"]
            before_after = [(c["nms_pre"], c["max_per_img"]) for c in (test["rpn"], train)]
            shown = test["rcnn"]["max_per_img"]
        counts = {"box_detections_per_img": shown, "anchor_sizes": sizes}
        for mode, (before, after) in zip(("test", "train"), before_after, strict=True):
            counts[f"rpn_pre_nms_top_n_{mode}"] = before
            counts[f"rpn_post_nms_top_n_{mode}"] = after
        return limits | counts

    def level(self, kind, i):
        """The recorded map i of the "body" or the "fpn", finest first; None: not recorded."""
        maps = [n for n in self.forward if n.startswith("body/")]
        if kind == "body" and len(maps) == 1:  # the last one, whatever its number
            last = len(self.model.backbone.body.strides) - 1
            return self.forward[maps[0]] if i == last else None
        names = {"body": (f"res{i + 2}", str(i)), "fpn": (f"p{i + 2}", str(i), "pool" * (i == 4))}
        found = [f"{kind}/{n}" for n in names[kind] if f"{kind}/{n}" in self.forward]
        return self.forward[found[0]] if found else None

    def pyramid(self):
        """What heads were given."""
        if self.level("fpn", 0) is None:
            return [self.level("body", len(self.model.backbone.body.strides) - 1)]
        return [self.level("fpn", i) for i in range(5)]

    def first_label(self):
        """What the recording calls the first class."""
        return int(self.system == "torchvision")

    def transform(self):
        """Where the photo lies in the network's input."""
        (size,) = self.forward["transform/sizes"]
        return ImageTransform(self.forward["image_u8"].shape[:2], tuple(map(int, size)))

    def target(self):
        """The recorded objects, in the photo: as polygons, where the system keeps these."""
        height, width = self.forward["image_u8"].shape[:2]
        boxes = self.transform().to_image(self.step["target/boxes"])
        if "target/masks_original_packed" in self.step:
            masks = np.unpackbits(self.step["target/masks_original_packed"], axis=-1)[..., :width]
        else:
            drawn = [[o["polygon"]] for o in self.meta["objects"]]
            runs = [to_run_lengths(polygons, height, width) for polygons in drawn]
            outlines = [outline_of(polygons) for polygons in drawn]
            masks = ObjectMasks.from_run_lengths(runs, height, width, outlines)
        return Target(boxes, self.step["target/labels"] - self.first_label(), masks)


def assert_stage(name, ours, recorded, bound=STAGE):
    ours = ours.data if isinstance(ours, Tensor) else ours
    assert ours.shape == recorded.shape and ours.dtype == np.float32
    error = np.abs(ours.astype(np.float64) - recorded).max() / recorded.std(dtype=np.float64)
    print(f"{name}: {error:.1e} of {bound:.0e}")
    assert error < bound, name


def in_double(model):
    """The same network with every number in float64."""
    double = mm.models.build(model.config)
    double.load_state_dict(model.state_dict())
    for module in double.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                value.data = value.data.astype(np.float64)
            elif isinstance(value, np.ndarray) and value.dtype == np.float32:
                setattr(module, name, value.astype(np.float64))
    return double.eval()


def read(path):
    """All arrays of an archive."""
    with np.load(path) as archive:
        return dict(archive)


def _sizes(forward):
    """One anchor size per level, from the square anchor of each."""
    at, sizes = 1, []  # ratios 0.5, 1, 2
    for i in range(5):
        x0, _, x1, _ = forward["rpn/anchors"][at]
        sizes.append(float(x1 - x0))
        at += forward[f"rpn/objectness/{i}"].size
    return sizes


def table_of(system, path):
    """The product's table of a file's names; None: they are its own."""
    modules = {"detectron2": systems.detectron2, "mmdet": systems.mmdet}
    return modules[system].table(read_weights(path)) if system in modules else None


def recognised(source):
    """The network that the product recognised in a file, as options of a factory."""
    options = {n: v for n, v in source.config.items() if n not in ("model", "classes")}
    if source.classes is not None:
        options["num_classes"] = len(source.classes) + 1
    return options
