"""What users choose for a training by either trainer, without what carries it out."""

from __future__ import annotations

from enum import Enum


class ReferenceKind(Enum):
    """How references, the panels without noise, take part in training."""

    ISOLATED = "isolated"  # they attend to references only, so sampling computes them once
    CLEAN = "clean"  # they attend to everything
    NONE = "none"
