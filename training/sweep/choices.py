"""The user's choices for a sweep. ComfyUI loads this module when it starts, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

# setting → its name in messages and tables
AXES: Mapping[str, str] = {
    "rank": "rank",
    "learning_rate": "learning rate",
    "steps": "steps",
    "sets": "sets",
    "reference_share": "reference share",
    "leave_out": "left out",
}


class Strategy(Enum):
    """How the trainings are compared."""

    GRID = "grid"  # each is trained to its end, unless it is hopeless
    HALVING = "successive halving"  # all are trained a little, the better ones further, and the best to their end
