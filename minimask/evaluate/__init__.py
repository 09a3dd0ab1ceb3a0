"""How good a model is: the official COCO metric for boxes and masks, and why it is low; pixel IoU.

`evaluate(model, dataset)` runs the model, `evaluate_detections(ground_truth, results)` is the
pure function on COCO dictionaries under it.  Both give `Results`; of semantic segmenters
`evaluate` gives `SemanticResults`.
"""

from __future__ import annotations

from minimask.evaluate.average_recall import average_recall
from minimask.evaluate.coco_metric import evaluate_detections
from minimask.evaluate.results import Curve, Results
from minimask.evaluate.results_file import read_results, write_results
from minimask.evaluate.run import detect, evaluate, ground_truth
from minimask.evaluate.semantic import SemanticResults

__all__ = [
    "Curve",
    "Results",
    "SemanticResults",
    "average_recall",
    "detect",
    "evaluate",
    "evaluate_detections",
    "ground_truth",
    "read_results",
    "write_results",
]
