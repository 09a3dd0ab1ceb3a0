"""The recorded Keypoint R-CNNs, torchvision's and detectron2's, as networks of this package."""

import json

from conftest import narrow_options
from recorded_systems import Recording, read, recognised, table_of

import minimask as mm
from minimask.models import Target
from minimask.weights import load_weights, read_source


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
            self.table = None
            options = narrow_options(self.meta) | {
                "num_keypoints": self.meta["kwargs"]["num_keypoints"],
                "keypoint_head_channels": (32,) * 8,
            }
            path = at / f"{name}.safetensors"
        else:
            path = at / f"{name}.pkl"
            self.table = table_of(system, path)
            options = recognised(read_source(path)) | self.settings()
        options = {k: v for k, v in options.items() if not k.startswith("mask_")}
        self.model = mm.models.keypoint_rcnn(**{"convention": system, **options})
        load_weights(self.model, path)
        self.model.eval()

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
