"""Match the colours of a painted image to another's, so that pasting it back leaves no visible edge."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PanelError
from .choices import ColourMatch

FEWEST = 64  # pixels; statistics of fewer are not reliable


def match_colours(painted: Tensor, reference: Tensor, how: ColourMatch, *, where: Tensor | None = None) -> Tensor:
    """Give each channel of ``painted`` the mean (and spread) that it has in ``reference``.

    Args:
        painted, reference: [batch, h, w, 3] of the same size; a batch of one is used for all.
        how: which statistics are matched.
        where: bool [batch, h, w], the pixels to compare, which should show the same in both; None for all. An image with
            fewer than 64 of them is not changed.

    Returns:
        [batch, h, w, 3] in 0…1.

    Raises:
        PanelError: if the sizes differ.
    """
    if painted.shape[1:3] != reference.shape[1:3]:
        raise PanelError(
            f"The image is {painted.shape[2]}×{painted.shape[1]}, but the colour reference is "
            f"{reference.shape[2]}×{reference.shape[1]}. Resize one of them."
        )
    if how is ColourMatch.OFF:
        return painted
    batch = max(len(painted), len(reference))
    painted = painted.expand(batch, *painted.shape[1:])
    reference = reference.expand(batch, *reference.shape[1:])
    places = [None] * batch if where is None else list(where.expand(batch, *where.shape[1:]))
    return torch.stack(
        [_matched_one(ours, theirs, how, place) for ours, theirs, place in zip(painted, reference, places, strict=True)]
    )


def _matched_one(painted: Tensor, reference: Tensor, how: ColourMatch, where: Tensor | None) -> Tensor:
    ours = painted.reshape(-1, 3) if where is None else painted[where]
    theirs = reference.reshape(-1, 3) if where is None else reference[where]
    if len(ours) < FEWEST:
        return painted
    gain: Tensor | float = 1.0
    if how is ColourMatch.MEAN_AND_CONTRAST:
        gain = (theirs.std(0) / ours.std(0).clamp(min=1e-3)).clamp(0.5, 2.0)
    return ((painted - ours.mean(0)) * gain + theirs.mean(0)).clamp(0, 1)
