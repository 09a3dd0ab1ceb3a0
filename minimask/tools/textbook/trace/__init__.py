"""The trace: a prediction and a training step opened like a book, step by step.

    from minimask.tools.textbook.trace import trace
    run = trace(model, image, target)        # target: minimask.models.Target, or None
    run.rpn.proposals                        # (R, 4): any intermediate by its name
    run["rpn-proposals"]                     # the step, with its pictures in a notebook
    run.write("trace.html")                  # all of it as one page

The training half needs the ground-truth objects; without them it is left out.
"""

from __future__ import annotations

from minimask.tools.textbook.trace.steps import Step
from minimask.tools.textbook.trace.whole import Trace, trace

__all__ = ["Step", "Trace", "trace"]
