"""Operations on Tensors: elementwise arithmetic, shapes, reductions, softmax.

Every function takes Tensors, arrays or numbers and returns a Tensor; the operators of `Tensor`
(`a + b`, `a[index]`, `a.sum()`) call these.  Convolutions and losses are in
`minimask.functional`.
"""

from minimask.autograd.ops.arithmetic import (
    add,
    div,
    maximum,
    minimum,
    mul,
    neg,
    power,
    sub,
    where,
)
from minimask.autograd.ops.elementwise import abs, astype, clip, exp, log, sigmoid, sqrt, tanh
from minimask.autograd.ops.reductions import log_softmax, max, mean, min, softmax, sum
from minimask.autograd.ops.shaping import (
    broadcast_to,
    concatenate,
    flatten,
    getitem,
    matmul,
    pad,
    reshape,
    stack,
    take,
    transpose,
)

__all__ = [
    "abs",
    "add",
    "astype",
    "broadcast_to",
    "clip",
    "concatenate",
    "div",
    "exp",
    "flatten",
    "getitem",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "neg",
    "pad",
    "power",
    "reshape",
    "sigmoid",
    "softmax",
    "sqrt",
    "stack",
    "sub",
    "sum",
    "take",
    "tanh",
    "transpose",
    "where",
]
