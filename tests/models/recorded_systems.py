"""Networks that other systems recorded, as networks of this package: names, sizes, stages.

What a file says of a network's sizes is read from the shapes of its arrays, and the rest from the
recording's description, so that other recordings of the same kinds can be put in their place.
"""

import json
import pickle
import re

import numpy as np

import minimask as mm
from minimask.models import Target
from minimask.models.transform import ImageTransform
from minimask.weights import read_weights

# What a name is called here; `res2` is `layer1`, and counting begins at 0.
DETECTRON2 = [
    (r"^backbone\.(bottom_up\.)?stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.(bottom_up\.)?stem\.conv1\.", "backbone.body.conv1."),
    (
        r"^backbone\.(?:bottom_up\.)?res(\d)\.(\d+)\.",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.",
    ),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"^(backbone\.body.*)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (
        r"^backbone\.fpn_(lateral|output)(\d)\.(norm\.)?",
        lambda m: (
            f"backbone.fpn.{'inner' if m[1] == 'lateral' else 'layer'}_blocks."
            f"{int(m[2]) - 2}.{int(m[3] is not None)}."
        ),
    ),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (
        r"^(roi_heads\.(?:box|mask)_head\.)(?:conv|mask_fcn)(\d)\.(norm\.)?",
        lambda m: f"{m[1]}{int(m[2]) - 1}.{int(m[3] is not None)}.",
    ),
    (r"^roi_heads\.mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", "roi_heads.mask_predictor.mask_fcn_logits."),
]
DETECTRON2_MLP = [
    (r"^roi_heads\.box_head\.fc(\d)\.", lambda m: f"roi_heads.box_head.fc{int(m[1]) + 5}.")
]
DETECTRON2_CONV = [(r"^roi_heads\.box_head\.fc1\.", "roi_heads.box_head.5.")]  # after four
MMDET = [
    (r"^backbone\.", "backbone.body."),
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^neck\.fpn_convs\.(\d)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
    (r"^rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"^rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"^roi_head\.bbox_head\.fc_cls\.", "roi_heads.box_predictor.cls_score."),
    (r"^roi_head\.bbox_head\.fc_reg\.", "roi_heads.box_predictor.bbox_pred."),
    (
        r"^roi_head\.bbox_head\.shared_fcs\.(\d)\.",
        lambda m: f"roi_heads.box_head.fc{int(m[1]) + 6}.",
    ),
    (r"^roi_head\.mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.\1.0."),
    (r"^roi_head\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_head\.mask_head\.conv_logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
]
NO_WEIGHTS = re.compile(r"^pixel_(mean|std)$|anchor_generator\.cell_anchors\.")
LOSSES = {
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box_reg",
    "loss_rpn_bbox": "loss_rpn_box_reg",
    "loss_cls": "loss_classifier",
    "loss_bbox": "loss_box_reg",
}


class _ArraysOnly(pickle.Unpickler):
    """Knows what a dict of NumPy arrays needs, and nothing else."""

    def find_class(self, module, name):
        known = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
        if (module.removeprefix("numpy.core.").removeprefix("numpy._core."), name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not of an array")
        return super().find_class(module, name)


def arrays_of(path):
    """All arrays of a file under the names they have in it."""
    if path.suffix != ".pkl":
        return read_weights(path)
    with path.open("rb") as file:
        return {k: np.asarray(v) for k, v in _ArraysOnly(file).load()["model"].items()}


class Recording:
    """One recorded network: this package's model with its weights, and what was computed.

    Attributes:
        system: "torchvision", "detectron2" or "mmdet".
        meta, forward, step: the description and the two archives (step: None where there is none).
        model: in eval mode.
    """

    def __init__(self, folder, system, name, convention):
        self.system, self.name = system, name
        at = folder / system / name
        self.meta = json.loads(at.with_name(f"{name}_meta.json").read_text())
        self.forward = _read(at.with_name(f"{name}_forward.npz"))
        step = at.with_name(f"{name}_train.npz")
        self.step = _read(step) if step.is_file() else None
        (weights,) = (p for p in at.parent.glob(f"{name}.*") if p.suffix in (".pth", ".pkl"))
        arrays = arrays_of(weights)
        table = {"torchvision": [], "mmdet": MMDET, "detectron2": DETECTRON2}[system]
        if system == "detectron2":
            mlp = "roi_heads.box_head.fc2.weight" in arrays
            table = table + (DETECTRON2_MLP if mlp else DETECTRON2_CONV)
        self.table = table
        state = {self.here(k): v for k, v in arrays.items() if not NO_WEIGHTS.search(k)}
        options = network_of(state) | self.settings()
        self.model = mm.models.mask_rcnn(convention=convention, **options)
        self.model.load_state_dict(state)
        self.model.eval()

    def here(self, name):
        """What a parameter of the other system is called in this package."""
        for pattern, replacement in self.table:
            name = re.sub(pattern, replacement, name)
        return name

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
        else:
            made = meta["model"]["rpn_head"]["anchor_generator"]
            sizes = [made["scales"][0] * stride for stride in made["strides"]]
            limits = {"min_size": min(meta["scale"]), "max_size": max(meta["scale"])}
            test = meta["model"]["test_cfg"]
            train = meta["model"]["train_cfg"]["rpn_proposal"]
            before_after = [(c["nms_pre"], c["max_per_img"]) for c in (test["rpn"], train)]
            shown = test["rcnn"]["max_per_img"]
        counts = {"box_detections_per_img": shown, "anchor_sizes": sizes}
        for mode, (before, after) in zip(("test", "train"), before_after, strict=True):
            counts[f"rpn_pre_nms_top_n_{mode}"] = before
            counts[f"rpn_post_nms_top_n_{mode}"] = after
        # stem and first stage do not learn, there
        return limits | counts | {"trainable_layers": 3}

    def level(self, kind, i):
        """The recorded map i of the "body" or the "fpn", finest first; None: not recorded."""
        names = {"body": (f"res{i + 2}", str(i)), "fpn": (f"p{i + 2}", str(i), "pool" * (i == 4))}
        found = [f"{kind}/{n}" for n in names[kind] if f"{kind}/{n}" in self.forward]
        return self.forward[found[0]] if found else None

    def pyramid(self):
        """What heads were given."""
        if self.model.backbone.body.strides[-1] == 16:  # dilated C5
            return [self.level("body", 3)]
        return [self.level("fpn", i) for i in range(5)]

    def first_label(self):
        """What the recording calls the first class."""
        return int(self.system == "torchvision")

    def transform(self):
        """Where the photo lies in the network's input."""
        (size,) = self.forward["transform/sizes"]
        return ImageTransform(self.forward["image_u8"].shape[:2], tuple(map(int, size)))

    def target(self):
        """The recorded objects, in the photo."""
        height, width = self.forward["image_u8"].shape[:2]
        boxes = self.transform().to_image(self.step["target/boxes"])
        masks = np.zeros((len(boxes), height, width), np.uint8)
        if "target/masks_original_packed" in self.step:
            masks = np.unpackbits(self.step["target/masks_original_packed"], axis=-1)[..., :width]
        return Target(boxes, self.step["target/labels"], masks)


def _read(path):
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


def network_of(state):
    """The network with these arrays, as options of `mask_rcnn`."""
    shapes = {name: array.shape for name, array in state.items()}
    body = "backbone.body."
    stem = shapes[f"{body}conv1.weight"][0]
    inner, expanded = (shapes[f"{body}layer1.0.conv{i}.weight"][0] for i in (1, 3))
    groups = inner // shapes[f"{body}layer1.0.conv2.weight"][1]
    pyramid = "backbone.fpn.inner_blocks.0.0.weight" in shapes
    trained = any(name.endswith("num_batches_tracked") for name in shapes)
    normed = {"norm": "batch" if trained else "frozen_batch"}
    for option, norm in (
        ("fpn_norm", "backbone.fpn.inner_blocks.0.1.weight"),
        ("box_head_norm", "roi_heads.box_head.0.1.weight"),
        ("mask_head_norm", "roi_heads.mask_head.0.1.weight"),
    ):
        if norm in shapes:
            normed[option] = normed["norm"]
    convolutions = _outputs(shapes, "roi_heads.box_head.{}.0.weight")
    layer = "fc7" if not convolutions else str(len(convolutions) + 1)
    return normed | {
        "num_classes": shapes["roi_heads.box_predictor.cls_score.weight"][0],
        "layers": [len(_outputs(shapes, f"{body}layer{i}.{{}}.conv1.weight")) for i in range(1, 5)],
        "stem_channels": stem,
        "expansion": expanded // stem,
        "groups": groups,
        "width_per_group": inner // groups * 64 // stem,
        "features": "fpn" if pyramid else "dc5",
        "fpn_channels": shapes["rpn.head.conv.0.0.weight"][0],
        "rpn_conv_depth": len(_outputs(shapes, "rpn.head.conv.{}.0.weight")),
        "box_head": "conv" if convolutions else "mlp",
        "box_head_channels": convolutions or (1,),
        "box_head_width": shapes[f"roi_heads.box_head.{layer}.weight"][0],
        "mask_head_channels": _outputs(shapes, "roi_heads.mask_head.{}.0.weight"),
        "mask_predictor_channels": shapes["roi_heads.mask_predictor.conv5_mask.weight"][1],
    }


def _outputs(shapes, name):
    found = []
    while name.format(len(found)) in shapes:
        found.append(shapes[name.format(len(found))][0])
    return found
