"""The recorded Keypoint R-CNNs, torchvision's and detectron2's, as networks of this package."""

import json

from conftest import narrow_options
from recorded_names import DETECTRON2, DETECTRON2_MLP, NO_WEIGHTS
from recorded_systems import Recording, arrays_of, read

import minimask as mm
from minimask.models import Target
from minimask.models.system_configs import SYSTEM_CONFIGS


class KeypointRecording(Recording):
    """One of the two recordings, with the model that it is of."""

    def __init__(self, folder, system):
        self.system = system
        name = "keypointrcnn" if system == "torchvision" else "keypoint_rcnn_R_50_FPN"
        at = folder if system == "torchvision" else folder / system
        self.meta = json.loads((at / f"{name}_meta.json").read_text())
        self.forward = read(at / f"{name}_forward.npz")
        self.step = read(at / f"{name}_train.npz")
        if system == "torchvision":
            self.table = []
            options = narrow_options(self.meta) | {
                "num_keypoints": self.meta["kwargs"]["num_keypoints"],
                "keypoint_head_channels": (32,) * 8,
            }
            path = at / f"{name}.safetensors"
        else:
            self.table = DETECTRON2 + DETECTRON2_MLP
            known = SYSTEM_CONFIGS["detectron2/keypoint"].config()
            options = known | self.settings() | self.narrowed()
            path = at / f"{name}.pkl"
        options = {k: v for k, v in options.items() if not k.startswith("mask_")}
        self.model = mm.models.keypoint_rcnn(**{"convention": system, **options})
        state = {self.here(k): v for k, v in arrays_of(path).items() if not NO_WEIGHTS.search(k)}
        self.model.load_state_dict(state)
        self.model.eval()

    def narrowed(self):
        sizes = self.meta["narrowed"]
        return {
            "num_classes": sizes["classes"] + 1,
            "stem_channels": sizes["stem"],
            "expansion": sizes["res2"] // sizes["width_per_group"],
            "width_per_group": sizes["width_per_group"] * 64 // sizes["stem"],
            "fpn_channels": sizes["fpn"],
            "box_head_width": sizes["fc"],
            "keypoint_head_channels": (sizes["conv"],) * 8,
            "num_keypoints": self.step["target/keypoints"].shape[1],
        }

    def target(self):
        """The recorded objects, in the photo."""
        boxes, keypoints = self.step["target/boxes"], self.step["target/keypoints"]
        if self.system == "detectron2":  # they are in the network's input, there
            boxes = self.transform().to_image(boxes)
            keypoints = self.transform().keypoints_to_image(keypoints)
        labels = self.step["target/labels"] - self.first_label()
        return Target(boxes, labels, None, keypoints)

    def keypoints(self):
        """Of the first detections x, y in the network's input, and scores."""
        count = len(self.forward["keypoint/logits"])
        if self.system == "detectron2":
            found = self.forward["det/keypoints"][:count]
            return found[:, :, :2], found[:, :, 2]
        found = self.transform().keypoints_to_network(self.forward["out/keypoints"][:count])
        return found[:, :, :2], self.forward["out/keypoints_scores"][:count]
