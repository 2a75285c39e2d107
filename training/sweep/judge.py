"""Decide which trainings of a sweep are hopeless. Pure functions of curves.

A verdict never changes: later results of other trainings can only lower the loss that a training is compared with. So the
order of the trainings does not matter, nor how often a verdict is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from .curve import WINDOW, Curve, mean


@dataclass(frozen=True, slots=True)
class Rule:
    """When to give up a training. "The initial loss" is the loss before the training.

    Attributes:
        steps: of the whole training.
        warmup: steps of rising learning rate.
        grace: share of the steps before a training is compared with others.
        worse: share by which its loss may exceed the initial loss at two measurements in a row.
        diverged: multiple of the initial loss at which it is given up at once.
        near: share of the initial loss by which good trainings may differ. The loss of a good one may rise a little at
            first.
        learnt: share of the initial loss that must be gained before losing some of it counts.
        annealing: share of the best training's gain that may still come from a falling learning rate.
        rising: share of its own gain that a training may lose again.
    """

    steps: int
    warmup: int = 0
    grace: float = 0.1
    worse: float = 0.25
    diverged: float = 2.0
    near: float = 0.15
    learnt: float = 0.02
    annealing: float = 0.0
    rising: float = 0.25

    @property
    def first(self) -> int:
        """The first step at which it is compared with others."""
        return max(2 * self.warmup, math.ceil(self.grace * self.steps))


def hopeless(curve: Curve, others: Iterable[Curve], rule: Rule) -> str:
    """Why a training should end before its last step; empty if it should continue.

    Args:
        curve: its losses so far.
        others: curves of the sweep's other trainings, finished or not.
    """
    return _diverged(curve, rule) or _worse_than_before(curve, rule) or _out_of_reach(curve, others, rule)


def overfitted(curve: Curve, rule: Rule) -> str:
    """Why more steps make a training worse; empty if they do not. Its best checkpoint remains a candidate."""
    if len(curve.held_out) < 5 or curve.step < rule.first:
        return ""
    step, lowest = curve.best()
    last = [loss for _, loss in curve.held_out[-4:]]
    first = curve.held_out[0][1]
    gain = first - lowest
    if gain <= rule.learnt * first:  # it has not learnt enough to lose some of it
        return ""
    if all(a < b for a, b in pairwise(last)) and last[-1] > lowest + rule.rising * gain:
        return f"Its loss on held-out sets has risen since step {step}, from {lowest:.4f} to {last[-1]:.4f}."
    return ""


def _diverged(curve: Curve, rule: Rule) -> str:
    """The loss is not finite, or so high that the model is ruined."""
    if any(not math.isfinite(loss) for loss in curve.trained) or any(
        not math.isfinite(loss) for _, loss in curve.held_out
    ):
        return "Its loss is not a finite number."
    if curve.last > rule.diverged * curve.start:
        return (
            f"Its loss on held-out sets is {curve.last:.4f} at step {curve.step}; before the training it was "
            f"{curve.start:.4f}. The learning rate is too high."
        )
    if len(curve.trained) >= 2 * WINDOW:  # in case nothing was measured before the first step
        first, now = mean(curve.trained[:WINDOW]), mean(curve.trained[-WINDOW:])
        if now > rule.diverged * first:
            return (
                f"Its training loss has risen from {first:.4f} to {now:.4f} at step {len(curve.trained)}. The learning "
                "rate is too high."
            )
    return ""


def _worse_than_before(curve: Curve, rule: Rule) -> str:
    """Twice in a row above the initial loss, and not on the way back to it."""
    if len(curve.held_out) < 3 or curve.step < rule.first:
        return ""
    limit = curve.start * (1 + rule.worse)
    if all(loss > limit for _, loss in curve.held_out[-2:]) and _promised(curve, rule) > curve.start:
        return (
            f"Its loss on held-out sets is {curve.last:.4f} at step {curve.step}, above the {curve.start:.4f} before the "
            "training."
        )
    return ""


def _out_of_reach(curve: Curve, others: Iterable[Curve], rule: Rule) -> str:
    """Twice in a row, even its recent pace kept to the end would not reach what another training has at the same step."""
    curves = list(others)
    reason = ""
    for cut in (len(curve.held_out) - 1, len(curve.held_out)):
        so_far = Curve(curve.held_out[:cut])
        if len(so_far.held_out) < 2 or so_far.step < rule.first:
            return ""
        rivals = [loss for other in curves if math.isfinite(loss := other.at(so_far.step))]
        if not rivals:
            return ""
        best = min(rivals)
        first = so_far.held_out[0][1]
        spare = max(rule.annealing * (first - best), rule.near * first)
        if _promised(so_far, rule) - spare <= best:
            return ""
        reason = (
            f"Its loss on held-out sets is {so_far.last:.4f} at step {so_far.step}, where another training has "
            f"{best:.4f}; at its pace it would not get there by step {rule.steps}."
        )
    return reason


def _promised(curve: Curve, rule: Rule) -> float:
    """The loss at the last step if the fastest recent pace held. This is optimistic, since losses fall ever more slowly."""
    step, loss = curve.held_out[-1]
    earlier = curve.held_out[-4:-1]
    pace = min((loss - before) / (step - at) for at, before in earlier)
    return loss + min(0.0, pace) * max(0, rule.steps - step)
