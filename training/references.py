"""References in training: which panels of a sample they are, and where these are in a latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def draw_references(
    panel_count: int, fixed: Sequence[int], share: float, generator: torch.Generator
) -> tuple[int, ...]:
    """Draw the reference panels of one sample; a share of ``1 - share`` of the samples has none.

    Args:
        panel_count: panels per set.
        fixed: indices of the panels that are always the references. If empty, 1 to panel_count - 1 panels are drawn.
        share: of the samples that have references, 0…1.
        generator: source of the random numbers.

    Returns:
        Indices of the panels.
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
    """The latent positions of each panel, bool [panels, height, width].

    Edges are rounded to the nearest position, so panels that touch neither overlap nor leave a gap.

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
