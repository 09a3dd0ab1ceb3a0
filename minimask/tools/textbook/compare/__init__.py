"""The same network in several systems: two files side by side, or one with a choice switched.

`networks` compares the arrays and the stages of two networks; `flip` switches one field of a
convention at a time and runs the same weights again; `page` and `report` show what came of it.
"""

from __future__ import annotations

from minimask.tools.textbook.compare.flip import Flipped, flip_fields
from minimask.tools.textbook.compare.matching import Change, compare_detections
from minimask.tools.textbook.compare.networks import Comparison, compare_networks

__all__ = ["Change", "Comparison", "Flipped", "compare_detections", "compare_networks"]
__all__ += ["flip_fields"]
