"""Reverse-mode automatic differentiation over NumPy and CuPy arrays.

`tensor.py` has the two classes, `backward.py` the walk that fills in gradients, `ops/` the
operations.  `hooks.py` is where others look on; anomaly mode (`anomaly.py`) is one of them.
"""

from minimask.autograd.anomaly import AnomalyError, detect_anomaly
from minimask.autograd.arrays import Array, array_module, unbroadcast
from minimask.autograd.backward import topological_order
from minimask.autograd.checkpoint import checkpoint
from minimask.autograd.tensor import Context, Function, Tensor, no_grad, zero_like

__all__ = ["AnomalyError", "Array", "Context", "Function", "Tensor", "array_module"]
__all__ += ["checkpoint", "detect_anomaly", "no_grad", "topological_order", "unbroadcast"]
__all__ += ["zero_like"]
