"""How good generated sets are, by the toy world's exact checker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from . import world
from .tasks import COLOUR, Task


@dataclass(frozen=True)
class Judgement:
    """One generated picture against what was asked for.

    Attributes:
        asked: the held-out set whose shapes the caption named.
        read: what the checker sees, panel by panel.
        reference: index of the panel that was given; None if none was.
        task: whose relation the panels should have.
    """

    asked: world.Set
    read: tuple[world.Reading, ...]
    reference: int | None = None
    task: Task = COLOUR

    @property
    def panels_agree(self) -> bool:
        return self.task.holds(self.read)

    @property
    def agrees_with_reference(self) -> bool:
        """Whether the generated panels have the task's relation to the given one."""
        assert self.reference is not None
        return self.task.keeps_to(self.asked.panels[self.reference], self.reference, self.read)

    @property
    def captions_met(self) -> list[bool]:
        """For each generated panel, whether it shows the shape that the caption names."""
        return [
            reading.shape == panel.shape
            for place, (reading, panel) in enumerate(zip(self.read, self.asked.panels, strict=True))
            if place != self.reference
        ]


def judge(asked: world.Set, picture: np.ndarray, reference: int | None = None, task: Task = COLOUR) -> Judgement:
    """Read a picture, uint8 [PANEL, PANEL * panels, 3]."""
    return Judgement(asked, world.read_set(picture), reference, task)


def set_agreement(judged: Sequence[Judgement]) -> float:
    """Share of the sets whose panels have the task's relation."""
    return round(mean(one.panels_agree for one in judged), 4)


def reference_agreement(judged: Sequence[Judgement]) -> float:
    """Share of the sets whose generated panels have the task's relation to the given one."""
    return round(mean(one.agrees_with_reference for one in judged), 4)


def caption_accuracy(judged: Sequence[Judgement]) -> float:
    """Share of the generated panels that show the shape their caption names."""
    return round(mean(met for one in judged for met in one.captions_met), 4)
