"""Weights from files: safetensors, npz, and torch's `.pth` read without torch.

load_weights(model, "weights.safetensors")     of the same network
transfer_weights(model, "weights.pth")         of a network with other classes
transfer_backbone(model, "resnet50.pth")       of a classifier of images
export_weights(model, "m.pkl", "detectron2")   under the names of another system
read_source("weights.pkl").words               whose are they?
"""

from __future__ import annotations

from minimask.weights.backbone import transfer_backbone
from minimask.weights.export import export_weights
from minimask.weights.files import read_weights, save_weights
from minimask.weights.load import load_weights
from minimask.weights.readers.contents import UnsafeFileError
from minimask.weights.recognise import Recognised, recognise
from minimask.weights.source import Source, read_source
from minimask.weights.transfer import Transfer, transfer_weights

__all__ = ["Recognised", "Source", "Transfer", "UnsafeFileError", "export_weights"]
__all__ += ["load_weights", "read_source"]
__all__ += ["read_weights", "recognise", "save_weights", "transfer_backbone", "transfer_weights"]
