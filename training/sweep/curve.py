"""The measured losses of a training: on held-out sets, by step and by set."""

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
        held_out: pairs of step and loss on held-out sets, by step; step 0 is before the training. NaN if the loss was not
            finite.
        each: pairs of step and losses of each held-out set, in the same order for every training; empty if unknown.
        trained: the training loss of every step, from the first.
    """

    held_out: tuple[tuple[int, float], ...] = ()
    each: tuple[tuple[int, tuple[float, ...]], ...] = ()
    trained: tuple[float, ...] = ()

    @staticmethod
    def of(events: Iterable[Mapping[str, Any]]) -> Curve:
        """The curve in a run's events. If a resumed run repeated steps, the later ones count."""
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
        """The last step that was measured; 0 if none was."""
        return self.held_out[-1][0] if self.held_out else 0

    @property
    def start(self) -> float:
        """Loss before the first step; NaN if it was not measured."""
        return self.held_out[0][1] if self.held_out and self.held_out[0][0] == 0 else math.nan

    @property
    def last(self) -> float:
        """The last loss that was measured; NaN if none was."""
        return self.held_out[-1][1] if self.held_out else math.nan

    def at(self, step: int) -> float:
        """Loss at a step, interpolated linearly between measurements; NaN outside their range."""
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
        """Loss of each held-out set at a step; empty if unknown."""
        return dict(self.each).get(step, ())

    def best(self, steps: Iterable[int] | None = None) -> tuple[int, float]:
        """Step and value of the lowest loss on held-out sets, optionally among these steps only; (0, NaN) if there is none."""
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
    """NaN without values."""
    return sum(values) / len(values) if values else math.nan
