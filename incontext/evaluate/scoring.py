"""All scores of a grid of generated sets."""

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
    """With what likeness is measured.

    Attributes:
        name: in words, for the table.
        likeness: what panels of a set should share.
        content: what a panel shows, whatever the set shares.
    """

    name: str
    likeness: Embed
    content: Embed


STATISTICS = Measure(
    "colours and shapes, no network (sees a shared palette and outlines, no persons and no things)",
    features.statistics,
    features.shapes,
)


@dataclass(frozen=True, slots=True)
class SetFeatures:
    """The panels of sets as unit vectors, [sets, panels, size] each.

    Attributes:
        likeness, content: by a `Measure`.
        places: composition maps.
    """

    likeness: Tensor
    content: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.likeness)

    def of(self, which: Sequence[int]) -> SetFeatures:
        chosen = list(which)
        return SetFeatures(self.likeness[chosen], self.content[chosen], self.places[chosen])


def look(pictures: Iterable[Tensor], layout: PanelLayout, measure: Measure) -> SetFeatures:
    """Embed the panels of sets, one set in memory at a time.

    Args:
        pictures: the canvases, [1, height, width, 3] each.
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
        texts: what each panel should show, for each caption.
        training: the training sets, for novelty.
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
    """Enter the values of some cells; what could not be measured is left out."""
    for name, column in values.items():
        for index, value in zip(which, column.tolist(), strict=True):
            if math.isfinite(value):
                found[index][name] = value


def mean_composition(seen: SetFeatures) -> float:
    return float(sets.composition(seen.places).mean())
