"""The user's choices for either trainer. ComfyUI loads this module when it starts, so it imports nothing heavy."""

from __future__ import annotations

from enum import Enum


class ReferenceKind(Enum):
    """How references, the panels without noise, take part in training."""

    ISOLATED = "isolated"  # they attend to references only, so sampling computes them once
    CLEAN = "clean"  # they attend to everything
    NONE = "none"
