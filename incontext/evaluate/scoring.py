"""Compute the scores of a grid of generated sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..panels.layout import PanelLayout
from ..panels.stitch import split
from . import features, sets
from .grid import Cell

Embed = Callable[[Tensor], Tensor]
"""Pictures [batch, height, width, 3] in 0…1 → vectors [batch, size]."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How likeness is measured.

    Attributes:
        name: in words, for the table.
        likeness: embeds what the panels of a set should share.
        content: embeds what a single panel shows, regardless of what the set shares.
    """

    name: str
    likeness: Embed
    content: Embed


STATISTICS = Measure(
    "colours and shapes, no network (sees a shared palette and outlines, but not people or things)",
    features.statistics,
    features.shapes,
)


@dataclass(frozen=True, slots=True)
class SetFeatures:
    """The panels of sets as unit vectors, [sets, panels, size] each.

    Attributes:
        likeness, content: embeddings by a `Measure`.
        places: composition maps, see `sets.composition_map`.
    """

    likeness: Tensor
    content: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.likeness)

    def of(self, which: Sequence[int]) -> SetFeatures:
        """The features of the sets with these indices."""
        chosen = list(which)
        return SetFeatures(self.likeness[chosen], self.content[chosen], self.places[chosen])


def look(pictures: Iterable[Tensor], layout: PanelLayout, measure: Measure) -> SetFeatures:
    """Embed the panels of sets, with one set in memory at a time.

    Args:
        pictures: the canvases, [1, height, width, 3] in 0…1 each.

    Raises:
        LayoutError: if a canvas does not have the layout's proportions.
    """
    found: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for picture in pictures:
        panels = split(picture, layout)
        for kept, embed in zip(found, (measure.likeness, measure.content, sets.composition_map), strict=True):
            kept.append(normalize(torch.cat([embed(panel).float().cpu() for panel in panels]), dim=-1))
    return SetFeatures(*(torch.stack(kept) for kept in found))


def score(
    cells: Sequence[Cell],
    captions: Sequence[str],
    texts: Sequence[Sequence[str]],
    seen: SetFeatures,
    training: SetFeatures | None = None,
) -> list[dict[str, float]]:
    """The scores of each cell that need no text encoder and no reference.

    Args:
        cells: in the order of ``seen``.
        captions: by the cells' caption index.
        texts: the texts of the panels, for each caption.
        seen: features of the cells' pictures.
        training: features of the training sets, for novelty; None if they are not known.

    Returns:
        For each cell, name → value of every score that could be measured.
    """
    found: list[dict[str, float]] = [{} for _ in cells]
    by_candidate: dict[str, list[int]] = {}
    for index, cell in enumerate(cells):
        by_candidate.setdefault(cell.candidate.label, []).append(index)
    base = [index for index, cell in enumerate(cells) if not cell.candidate.file]
    for own in by_candidate.values():
        asked = [captions[cells[index].caption] for index in own]
        mine = seen.of(own)
        values: dict[str, Tensor] = {
            "consistency": sets.consistency(mine.likeness, asked),
            "within": sets.within(mine.likeness),
            "composition": sets.composition(mine.places),
            "variety": sets.variety(mine.likeness, asked),
        }
        if base:
            shown, drawn = ([texts[cells[index].caption] for index in which] for which in (own, base))
            reference = mine.content if own == base else seen.of(base).content
            values["content"] = sets.content(mine.content, shown, reference, drawn)
        if training is not None:
            values["novelty"] = sets.nearest_training(mine.likeness, training.likeness).novel
        put(found, own, values)
    return found


def put(found: Sequence[dict[str, float]], which: Sequence[int], values: Mapping[str, Tensor]) -> None:
    """Add values to the scores of some cells, in place. Values that are not finite were not measured and are left out."""
    for name, column in values.items():
        for index, value in zip(which, column.tolist(), strict=True):
            if math.isfinite(value):
                found[index][name] = value


def mean_composition(seen: SetFeatures) -> float:
    return float(sets.composition(seen.places).mean())
