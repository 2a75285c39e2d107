"""How alike the panels of a set are, and how well they follow their caption.

Similarities are matrices [batch, panels, panels]. They come from the embeddings of an image encoder or, without one,
from statistics of colours and edges, which see a shared palette and shared shapes but do not recognise people or things.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..errors import LayoutError

STATISTICS = "colour and edge statistics, no network"
NOT_MEASURED = -1.0  # marks a missing caption score; real scores are never this low

_AREA = 128 * 128  # px to which panels are resized first, so that their size does not count
_COLOUR_LEVELS = 8  # per channel
_DIRECTIONS = 8
_FAINT = 0.01  # mean gradient, in units of brightness per pixel, below which edges are noise


@dataclass(frozen=True, slots=True)
class SetScore:
    """How alike the panels of one set are.

    Attributes:
        mean: similarity, over all pairs of different panels.
        lowest: similarity of the least similar pair.
        pair: indices of these two panels.
    """

    mean: float
    lowest: float
    pair: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CaptionScore:
    """How well the panels of one set follow their texts.

    Attributes:
        panels: cosine between each panel and its own text; None for a panel without text.
        own_text_first: share of the panels with text that are closer to their own text than to any other panel's.
    """

    panels: tuple[float | None, ...]
    own_text_first: float

    @property
    def mean(self) -> float:
        """Over the panels with text; `NOT_MEASURED` if there are none."""
        known = [value for value in self.panels if value is not None]
        return sum(known) / len(known) if known else NOT_MEASURED


def summary(matrix: Tensor) -> SetScore:
    """The score of one set from its similarities [panels, panels].

    Raises:
        LayoutError: if the layout has a single panel.
    """
    count = matrix.shape[-1]
    if count < 2:
        raise LayoutError("The layout has one panel; similarity needs at least two. Use a layout with more panels.")
    rows, columns = torch.triu_indices(count, count, 1)
    pairs = matrix[rows, columns]
    lowest = int(pairs.argmin())
    return SetScore(float(pairs.mean()), float(pairs[lowest]), (int(rows[lowest]), int(columns[lowest])))


def embedding_similarity(embeddings: Sequence[Tensor]) -> Tensor:
    """Cosines between the panels' embeddings, one [batch, size] per panel → [batch, panels, panels]."""
    stacked = normalize(torch.stack([embedding.float() for embedding in embeddings], dim=1), dim=-1)
    return stacked @ stacked.transpose(1, 2)


def caption_scores(images: Sequence[Tensor], texts: Sequence[Tensor | None]) -> list[CaptionScore]:
    """How well panels follow their texts, for each set of the batch.

    Args:
        images: embeddings, one [batch, size] per panel.
        texts: embeddings in the same space, one [size] per panel; None for an empty text.
    """
    written = [index for index, text in enumerate(texts) if text is not None]
    if not written:
        return [CaptionScore((None,) * len(images), 0.0) for _ in range(images[0].shape[0])]
    wanted = normalize(torch.stack([text.float() for text in texts if text is not None]), dim=-1)
    shown = normalize(torch.stack([images[index].float() for index in written], dim=1), dim=-1)
    cosines = shown @ wanted.T  # [batch, panels with text, texts]
    scores = []
    for matrix in cosines:
        own = matrix.diagonal()
        first = (own >= matrix.max(dim=1).values).float().mean()
        values = dict(zip(written, own.tolist(), strict=True))
        scores.append(CaptionScore(tuple(values.get(index) for index in range(len(images))), float(first)))
    return scores


def panel_means(scores: Sequence[CaptionScore]) -> list[float | None]:
    """Each panel's mean caption score over all sets, None for a panel without text; empty if there are no sets."""
    means: list[float | None] = []
    for values in zip(*(score.panels for score in scores), strict=True):
        known = [value for value in values if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means


# --- without a network ----------------------------------------------------------------------------------------------


def statistics_similarity(panels: Sequence[Tensor]) -> Tensor:
    """How alike panels are in colours and edges, from 0 to 1 (the same picture).

    It is the mean of two values: the overlap of the colour histograms, and the overlap of the edge directions times the
    ratio of the amounts of edges. The positions of things in a panel, and the panel's size, do not count.

    Args:
        panels: one [batch, height, width, channels] per panel; 1, 3 or 4 channels in 0…1; sizes may differ.

    Returns:
        [batch, panels, panels].
    """
    shown = [_normal_size(panel) for panel in panels]
    colours = torch.stack([_colour_histogram(panel) for panel in shown], dim=1)
    edges = [_edge_statistics(panel) for panel in shown]
    directions = torch.stack([direction for direction, _ in edges], dim=1)
    amounts = torch.stack([amount for _, amount in edges], dim=1)
    ratio = torch.minimum(amounts[:, :, None], amounts[:, None]) / torch.maximum(amounts[:, :, None], amounts[:, None])
    return ((_overlap(colours) + _overlap(directions) * ratio) / 2).clamp(0, 1)


def _overlap(distributions: Tensor) -> Tensor:
    """[batch, panels, bins], each adding up to 1 → [batch, panels, panels]."""
    return torch.minimum(distributions[:, :, None], distributions[:, None]).sum(dim=-1)


def _normal_size(panel: Tensor) -> Tensor:
    """[batch, h, w, channels] → [batch, 3, H, W] of about `_AREA` pixels and the same proportions."""
    channels = panel.float().clamp(0, 1).movedim(-1, 1)  # BHWC -> BCHW
    channels = channels.expand(-1, 3, -1, -1) if channels.shape[1] == 1 else channels[:, :3]
    height, width = channels.shape[2:]
    scale = math.sqrt(_AREA / (height * width))
    size = (max(2, round(height * scale)), max(2, round(width * scale)))
    return interpolate(channels, size, mode="bilinear", antialias=True, align_corners=False)


def _colour_histogram(image: Tensor) -> Tensor:
    """[batch, 3, h, w] → [batch, levels³]. Each pixel is shared between its neighbouring levels, so changes are smooth."""
    batch = image.shape[0]
    position = image.flatten(2) * (_COLOUR_LEVELS - 1)  # [batch, 3, pixels]
    lower = position.floor().clamp(max=_COLOUR_LEVELS - 2)
    upper_share = position - lower
    histogram = image.new_zeros((batch, _COLOUR_LEVELS**3))
    for corner in range(8):
        upper = [(corner >> channel) & 1 for channel in range(3)]
        index = image.new_zeros((batch, position.shape[2]))
        share = image.new_ones((batch, position.shape[2]))
        for channel in range(3):
            index = index * _COLOUR_LEVELS + lower[:, channel] + upper[channel]
            share = share * (upper_share[:, channel] if upper[channel] else 1 - upper_share[:, channel])
        histogram.scatter_add_(1, index.long(), share)
    return histogram / histogram.sum(dim=1, keepdim=True)


def _edge_statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """[batch, 3, h, w] → the distribution of edge directions [batch, directions] and the mean gradient [batch]."""
    brightness = torch.einsum("bchw,c->bhw", image, image.new_tensor((0.299, 0.587, 0.114)))
    across = (brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]) / 2
    down = (brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]) / 2
    strength = torch.hypot(across, down).flatten(1)
    angle = torch.atan2(down, across).flatten(1) / math.pi * _DIRECTIONS  # a direction and its opposite are the same
    lower = angle.floor()
    histogram = image.new_zeros((image.shape[0], _DIRECTIONS))
    histogram.scatter_add_(1, (lower % _DIRECTIONS).long(), strength * (lower + 1 - angle))
    histogram.scatter_add_(1, ((lower + 1) % _DIRECTIONS).long(), strength * (angle - lower))
    pixels = max(1, strength.shape[1])
    # a uniform share outweighs the random directions of faint noise, so pictures without edges are alike
    histogram = histogram / pixels + _FAINT / _DIRECTIONS
    return histogram / histogram.sum(dim=1, keepdim=True), strength.sum(dim=1) / pixels + _FAINT


# --- for users ------------------------------------------------------------------------------------------------------


def report(
    names: Sequence[str], scores: Sequence[SetScore], measure: str, captions: Sequence[CaptionScore], remark: str
) -> str:
    """A report with one line per set, the averages, and the measure.

    Args:
        names: of the panels.
        scores, captions: one per set; ``captions`` is empty if they were not measured.
        remark: a sentence about the caption score, such as why it was not measured; may be empty.
    """
    lines = [f"Measure: {measure}."]
    for number, score in enumerate(scores, 1):
        first, second = (names[index] for index in score.pair)
        line = f"Set {number}: {score.mean:.3f} alike; least {first} and {second}, {score.lowest:.3f}"
        if captions:
            line += "; caption " + _caption_words(captions[number - 1], names)
        lines.append(line + ".")
    if len(scores) > 1:
        means = [score.mean for score in scores]
        lines.append(
            f"{len(scores)} sets: mean {sum(means) / len(means):.3f}, from {min(means):.3f} to {max(means):.3f}."
        )
    lines.append(remark)
    return "\n".join(line for line in lines if line)


def _caption_words(score: CaptionScore, names: Sequence[str]) -> str:
    each = ", ".join(
        f"{name} {value:.3f}" for name, value in zip(names, score.panels, strict=True) if value is not None
    )
    return f"{score.mean:.3f} ({each}), own text first in {score.own_text_first:.0%}"
