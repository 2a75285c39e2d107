"""Panels as vectors, without a network: their colours, and the shape of what they show.

These simple features see a shared palette, and outlines on a plain background; they do not recognise people or things.
For photographs, connect an image encoder such as DINOv2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

COLOUR_LEVELS = 8  # per channel
SHAPE_CELLS = 4  # per side of the square around the contents
SHAPE_DIRECTIONS = 8
_SIDE = 96  # px per side to which panels are resized
_REACH = 1.6  # half the side of the square around the contents, in units of their spread
_GROUND = 0.3  # share of a panel above which its most frequent colour is its background
_NEAR = 0.12  # colours (in 0…1) closer than this to the background's count as background
_CONTENTS = 0.01  # share of a panel that must differ from the background; otherwise the panel is plain
_FAINT = 1e-6


def colours(panels: Tensor) -> Tensor:
    """The distribution of colours, as unit vectors; the product of two is their Bhattacharyya coefficient.

    A plain background (one colour in more than `_GROUND` of the panel) is ignored, so that it does not make all panels
    alike.

    Args:
        panels: [batch, height, width, 3] in 0…1.

    Returns:
        [batch, `COLOUR_LEVELS`³].
    """
    image = _square(panels)
    weights = torch.ones_like(image[:, 0]).flatten(1)
    share, ground = _most_frequent(image)
    distance = (image.flatten(2) - ground[:, :, None]).norm(dim=1)
    contents = ((distance - _NEAR) / _NEAR).clamp(0, 1)
    has_ground = (share > _GROUND) & (contents.mean(dim=1) > _CONTENTS)
    return _colour_histogram(image, torch.where(has_ground[:, None], contents, weights)).sqrt()


def shapes(panels: Tensor) -> Tensor:
    """The outline of a panel's contents, regardless of position and size, as unit vectors.

    It is a histogram of edge directions in a grid, centred on the edges and scaled by their spread.

    Args:
        panels: [batch, height, width, 3] in 0…1.

    Returns:
        [batch, `SHAPE_CELLS`² · `SHAPE_DIRECTIONS`].
    """
    brightness = _square(panels).mean(dim=1)
    across = brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]
    down = brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]
    strength = torch.hypot(across, down)
    angle = torch.atan2(down, across) / math.pi * SHAPE_DIRECTIONS  # a direction and its opposite are the same
    rows, columns = _in_square(strength)
    histogram = strength.new_zeros(len(strength), SHAPE_CELLS**2 * SHAPE_DIRECTIONS)
    for row, row_share in _neighbours(rows):
        for column, column_share in _neighbours(columns):
            for step, share in ((0, angle.floor() + 1 - angle), (1, angle - angle.floor())):
                direction = (angle.floor() + step) % SHAPE_DIRECTIONS
                place = (row * SHAPE_CELLS + column) * SHAPE_DIRECTIONS + direction
                weight = strength * row_share * column_share * share
                histogram.scatter_add_(1, place.long().flatten(1), weight.flatten(1))
    return (histogram / histogram.sum(dim=1, keepdim=True).clamp(min=_FAINT)).sqrt()


def statistics(panels: Tensor) -> Tensor:
    """Colours and shapes in equal parts, as unit vectors."""
    return torch.cat([colours(panels), shapes(panels)], dim=1) / math.sqrt(2)


def _square(panels: Tensor) -> Tensor:
    """[batch, h, w, channels] → [batch, 3, side, side]."""
    channels = panels.float().clamp(0, 1).movedim(-1, 1)
    channels = channels.expand(-1, 3, -1, -1) if channels.shape[1] == 1 else channels[:, :3]
    return interpolate(channels, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)


def _in_square(strength: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's row and column in the grid around the contents: [batch, h, w] each, fractional, 0 to cells − 1."""
    height, width = strength.shape[1:]
    y = torch.linspace(-1, 1, height).to(strength)[None, :, None]
    x = torch.linspace(-1, 1, width).to(strength)[None, None]
    total = strength.sum(dim=(1, 2), keepdim=True) + _FAINT
    centre_y = (strength * y).sum(dim=(1, 2), keepdim=True) / total
    centre_x = (strength * x).sum(dim=(1, 2), keepdim=True) / total
    spread = (strength * ((y - centre_y) ** 2 + (x - centre_x) ** 2)).sum(dim=(1, 2), keepdim=True) / total
    reach = _REACH * spread.sqrt().clamp(min=0.05)
    half = SHAPE_CELLS / 2
    rows = ((y - centre_y) / reach * half + half - 0.5).clamp(0, SHAPE_CELLS - 1)
    columns = ((x - centre_x) / reach * half + half - 0.5).clamp(0, SHAPE_CELLS - 1)
    return rows.expand_as(strength), columns.expand_as(strength)


def _neighbours(position: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The two cells that share a pixel, and their shares, which change smoothly with its position."""
    lower = position.floor()
    upper_share = position - lower
    return [(lower, 1 - upper_share), ((lower + 1).clamp(max=SHAPE_CELLS - 1), upper_share)]


def _most_frequent(image: Tensor) -> tuple[Tensor, Tensor]:
    """The share of the most frequent colour [batch], and its mean [batch, 3]."""
    pixels = image.flatten(2)
    levels = (pixels * (COLOUR_LEVELS - 1)).round().long()
    index = (levels[:, 0] * COLOUR_LEVELS + levels[:, 1]) * COLOUR_LEVELS + levels[:, 2]
    counts = image.new_zeros((len(image), COLOUR_LEVELS**3)).scatter_add_(1, index, torch.ones_like(pixels[:, 0]))
    most, place = counts.max(dim=1)
    belongs = (index == place[:, None]).to(pixels)
    return most / pixels.shape[2], (pixels * belongs[:, None]).sum(dim=2) / most[:, None]


def _colour_histogram(image: Tensor, weights: Tensor) -> Tensor:
    """[batch, 3, h, w] and weights [batch, h · w] → [batch, levels³], adding up to 1.

    Each pixel is shared between its neighbouring levels, so the histogram changes smoothly with its colour.
    """
    position = image.flatten(2) * (COLOUR_LEVELS - 1)  # [batch, 3, pixels]
    lower = position.floor().clamp(max=COLOUR_LEVELS - 2)
    upper_share = position - lower
    histogram = image.new_zeros((len(image), COLOUR_LEVELS**3))
    for corner in range(8):
        index = image.new_zeros((len(image), position.shape[2]))
        share = weights
        for channel in range(3):
            upper = (corner >> channel) & 1
            index = index * COLOUR_LEVELS + lower[:, channel] + upper
            share = share * (upper_share[:, channel] if upper else 1 - upper_share[:, channel])
        histogram.scatter_add_(1, index.long(), share)
    return histogram / histogram.sum(dim=1, keepdim=True).clamp(min=_FAINT)
