"""Panels that enter a training without noise: of which kind they are, which ones a sample has, and where they lie."""

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


def panel_masks(panels: Sequence[Sequence[int]], canvas: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """Bool [panels, height, width] of a latent: True in the positions of each panel.

    An edge between two positions of the latent goes to the nearer one, so panels that touch share no position and leave
    none between them.

    Args:
        panels: left, top, width and height per panel, px.
        canvas: width and height, px.
        size: height and width of the latent.
    """
    height, width = size

    def between(start: int, length: int, side: int, count: int) -> slice:
        first, last = ((2 * edge * count + side) // (2 * side) for edge in (start, start + length))
        return slice(first, last)

    masks = torch.zeros(len(panels), height, width, dtype=torch.bool)
    for mask, (x, y, w, h) in zip(masks, panels, strict=True):
        mask[between(y, h, canvas[1], height), between(x, w, canvas[0], width)] = True
    return masks
