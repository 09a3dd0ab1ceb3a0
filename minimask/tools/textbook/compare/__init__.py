"""The same network in several systems: two files side by side, or one with a choice switched.

`networks` compares the arrays and the stages of two networks.  `flip` switches one field of a
convention and runs the same weights again; `demonstrate` does so for all of them, and where nothing
changes, on a scene or a small network where something does.  `page` and `report` show what came of
it.
"""

from __future__ import annotations

from minimask.tools.textbook.compare.demonstrate import flip_fields
from minimask.tools.textbook.compare.flip import Flipped
from minimask.tools.textbook.compare.matching import Change, compare_detections
from minimask.tools.textbook.compare.networks import Comparison, compare_networks

__all__ = ["Change", "Comparison", "Flipped", "compare_detections", "compare_networks"]
__all__ += ["flip_fields"]
