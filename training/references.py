"""Panels that enter a training without noise: of which kind they are, and which ones a sample has."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch


class ReferenceKind(Enum):
    """How the panels that enter without noise take part in training."""

    ISOLATED = "isolated"  # they attend to references only, so that sampling computes them once
    CLEAN = "clean"  # they attend to everything
    NONE = "none"


def draw_references(
    panel_count: int, fixed: Sequence[int], share: float, generator: torch.Generator
) -> tuple[int, ...]:
    """The panels of one sample that enter without noise; none in ``1 - share`` of the samples.

    Args:
        panel_count: panels per set.
        fixed: indices of the panels that are always the references. If empty, 1 to panel_count - 1 panels are drawn.
        share: of the samples that have references, 0…1.
        generator: of the random numbers.
    """
    if float(torch.rand((), generator=generator)) >= share:
        return ()
    if fixed:
        return tuple(fixed)
    if panel_count < 2:
        return ()
    count = int(torch.randint(1, panel_count, (), generator=generator))
    return tuple(sorted(torch.randperm(panel_count, generator=generator)[:count].tolist()))
