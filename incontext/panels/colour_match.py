"""Colours of a painted image brought to those of another, so that what is pasted back shows no edge."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from ..errors import PanelError

FEWEST = 64  # pixels from which statistics are taken seriously


class ColourMatch(Enum):
    """Which statistics of each colour channel are carried over."""

    OFF = "off"
    MEAN = "brightness and tint"
    MEAN_AND_CONTRAST = "brightness, tint and contrast"


def matched(painted: Tensor, reference: Tensor, how: ColourMatch, *, where: Tensor | None = None) -> Tensor:
    """``painted`` with each channel's mean (and spread) as in ``reference``.

    Args:
        painted, reference: [batch, h, w, 3] of the same size; a batch of one serves all.
        how: what is carried over.
        where: bool [batch, h, w]: the pixels that both show and that are compared; all when None. An image with fewer
            than 64 of them is left as it is.

    Returns:
        [batch, h, w, 3] in 0…1.

    Raises:
        PanelError: where sizes differ.
    """
    if painted.shape[1:3] != reference.shape[1:3]:
        raise PanelError(
            f"The image is {painted.shape[2]}×{painted.shape[1]}, the one whose colours it is to have "
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
