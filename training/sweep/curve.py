"""What was measured of a training: its loss on held-out sets by step, and by set."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runs import run_folder

WINDOW = 20  # steps whose training losses are averaged


@dataclass(frozen=True)
class Curve:
    """Losses of one training.

    Attributes:
        held_out: (step, loss on held-out sets), by rising step; step 0 is the model without what is trained. NaN where the
            loss was not finite.
        each: (step, loss of each held-out set) in an order that is the same for every training; empty where unknown.
        trained: the training loss of every step from the first on.
    """

    held_out: tuple[tuple[int, float], ...] = ()
    each: tuple[tuple[int, tuple[float, ...]], ...] = ()
    trained: tuple[float, ...] = ()

    @staticmethod
    def of(events: Iterable[Mapping[str, Any]]) -> Curve:
        """The curve that a run's events tell; where a resumed run did steps again, the later ones count."""
        held_out: dict[int, float] = {}
        trained: dict[int, float] = {}
        each: dict[int, tuple[float, ...]] = {}
        for event in events:
            if event["event"] == run_folder.VALIDATION and isinstance(event.get("step"), int):
                held_out[event["step"]] = _number(event.get("loss"))
                listed = event.get("each")
                each[event["step"]] = tuple(map(_number, listed)) if isinstance(listed, list) else ()
            elif event["event"] == run_folder.STEP:
                trained[event["step"]] = _number(event.get("loss"))
        by_set = tuple(sorted((step, losses) for step, losses in each.items() if losses))
        return Curve(tuple(sorted(held_out.items())), by_set, tuple(trained[step] for step in sorted(trained)))

    @property
    def step(self) -> int:
        """The last one that was measured."""
        return self.held_out[-1][0] if self.held_out else 0

    @property
    def start(self) -> float:
        """Loss before the first step; NaN where it was not measured."""
        return self.held_out[0][1] if self.held_out and self.held_out[0][0] == 0 else math.nan

    @property
    def last(self) -> float:
        return self.held_out[-1][1] if self.held_out else math.nan

    def at(self, step: int) -> float:
        """Loss at a step, between two measurements on the line that joins them; NaN outside of what was measured."""
        steps = [measured for measured, _ in self.held_out]
        index = bisect_left(steps, step)
        if index == len(steps):
            return math.nan
        after, loss = self.held_out[index]
        if after == step:
            return loss
        if index == 0:
            return math.nan
        before, earlier = self.held_out[index - 1]
        return earlier + (loss - earlier) * (step - before) / (after - before)

    def by_set(self, step: int) -> tuple[float, ...]:
        """Loss of each held-out set at a step; empty where unknown."""
        return dict(self.each).get(step, ())

    def best(self, steps: Iterable[int] | None = None) -> tuple[int, float]:
        """The step with the lowest loss on held-out sets, among these where they are given; (0, NaN) where there is none."""
        allowed = None if steps is None else set(steps)
        found = [
            (loss, step)
            for step, loss in self.held_out
            if step and math.isfinite(loss) and (allowed is None or step in allowed)
        ]
        return (min(found)[1], min(found)[0]) if found else (0, math.nan)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
