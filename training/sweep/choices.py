"""What a user chooses for a sweep, without what carries it out: ComfyUI's start loads this."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

# setting → how it is called in messages and tables
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
    HALVING = "successive halving"  # all are trained a little, the better ones further, the best to their end
