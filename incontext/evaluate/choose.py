"""Choose the best of several candidates by a stated rule, with a confidence.

A candidate is a checkpoint at a strength, or the base model. All were judged on the same captions, so they are compared
caption by caption (paired). The bootstrap draws whole captions, since seeds of one caption are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InContextError

BASE = "base"
FEWEST_CAPTIONS = 4  # with fewer, resampling says nothing about the spread, so no confidence is given
ROUNDS = 2_000
CONFIDENCE = 0.95


class ChoiceError(InContextError):
    """The results do not allow a choice."""


@dataclass(frozen=True, slots=True)
class Result:
    """The scores of one generated set.

    Attributes:
        candidate: label of the candidate, e.g. ``storyboard-step000250 × 1.0``; `BASE` for the model without a LoRA.
        caption: results with the same caption are compared with each other.
        seed: of the noise.
        scores: name → value; higher is always better. A score that could not be measured is missing.
    """

    candidate: str
    caption: str
    seed: int
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that a candidate's mean must meet, regardless of its main score.

    Attributes:
        score: the name of the score. A score that was not measured rejects no candidate.
        least: the lowest acceptable mean; None for no absolute limit.
        below_base: how far the mean may be below the base model's; None for no such limit.
        meaning: what failing means, as a sentence for messages.
    """

    score: str
    least: float | None = None
    below_base: float | None = None
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """The highest mean of one score among the candidates that meet all guards, if it is better than the base model.

    Attributes:
        score: the main score.
        guards: conditions on other scores.
        confidence: required for "better than the base model", from 0.5 to below 1.

    Raises:
        ChoiceError: if the confidence is out of range.
    """

    score: str = "consistency"
    guards: tuple[Guard, ...] = ()
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ChoiceError(
                f"The confidence is {self.confidence}; expected a share from 0.5 to below 1, such as 0.95."
            )

    def describe(self) -> str:
        """One sentence for users."""
        return (
            f"Highest mean {self.score} among the candidates that meet all guards"
            f"{' (' + ', '.join(guard.score for guard in self.guards) + ')' if self.guards else ''}, if it is better than "
            f"the base model with a confidence of {self.confidence:.0%}."
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate in the comparison.

    Attributes:
        candidate: its label.
        mean: of the main score over captions.
        low, high: bounds of the mean's confidence interval.
        gain: mean difference from the base model on the same captions; None without a base model.
        better: share of bootstrap rounds in which it beats the base model; None without one, or with too few captions.
        best: share of bootstrap rounds in which it is the best of all that meet the guards.
        rejected: reasons why it cannot be chosen; empty if it can.
        means: name of each score → its mean.
    """

    candidate: str
    mean: float
    low: float
    high: float
    gain: float | None
    better: float | None
    best: float
    rejected: tuple[str, ...]
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome.

    Attributes:
        chosen: label of the chosen candidate; None if none is better than the base model.
        confident: whether there were enough captions for the rule's confidence.
        reason: one or two sentences for users.
        alike: labels of candidates that these captions cannot tell from the chosen one, best first.
        standings: all candidates, best first.
        captions: number of captions compared.
        score: the main score's name.
        rule: the rule in words.
    """

    chosen: str | None
    confident: bool
    reason: str
    alike: tuple[str, ...]
    standings: tuple[Standing, ...]
    captions: int
    score: str
    rule: str


_DEFAULT = Rule()


def choose(results: Sequence[Result], rule: Rule = _DEFAULT, *, seed: int = 0, rounds: int = ROUNDS) -> Choice:
    """Choose among the candidates.

    Only captions on which every candidate has the main score count. If `BASE` is not among the candidates, the best of
    those that meet the guards is chosen.

    Args:
        results: at least one per candidate.
        rule: the main score and the guards.
        seed: of the bootstrap; the same results and seed give the same choice.
        rounds: of the bootstrap.

    Raises:
        ChoiceError: if there are no results, or there is no caption on which all candidates were judged.
    """
    labels = list(dict.fromkeys(result.candidate for result in results))
    if not labels:
        raise ChoiceError("There are no results to choose from. Compare at least one checkpoint.")
    values, captions = _by_caption(results, labels, rule.score)
    means = {label: _means(results, label, captions) for label in labels}
    rejected = {label: _rejections(means[label], means.get(BASE), rule.guards) for label in labels}
    draws = np.random.Generator(np.random.PCG64(seed)).integers(len(captions), size=(rounds, len(captions)))
    boot = values[:, draws].mean(axis=2)  # [candidates, rounds]
    enough = len(captions) >= FEWEST_CAPTIONS
    fit = [index for index, label in enumerate(labels) if label != BASE and not rejected[label]]
    winners = np.asarray(fit)[boot[fit].argmax(axis=0)] if fit else np.empty(0, int)
    tail = (1 - rule.confidence) / 2
    base = labels.index(BASE) if BASE in labels else None
    standings: list[Standing] = []
    for index, label in enumerate(labels):
        low, high = np.quantile(boot[index], (tail, 1 - tail))
        standings.append(
            Standing(
                label,
                mean=float(values[index].mean()),
                low=float(low),
                high=float(high),
                gain=None if base is None else float((values[index] - values[base]).mean()),
                better=float((boot[index] > boot[base]).mean()) if base is not None and enough else None,
                best=float((winners == index).mean()) if fit else 0.0,
                rejected=rejected[label],
                means=means[label],
            )
        )
    standings.sort(key=lambda standing: (bool(standing.rejected), -standing.mean))
    return _decide(standings, rule, boot, labels, len(captions), enough)


def _decide(
    standings: Sequence[Standing], rule: Rule, boot: np.ndarray, labels: Sequence[str], captions: int, enough: bool
) -> Choice:
    best = next((one for one in standings if one.candidate != BASE and not one.rejected), None)
    base = next((one for one in standings if one.candidate == BASE), None)
    few = "" if enough else f" {captions} captions are too few to be sure; compare on {FEWEST_CAPTIONS} or more."

    def outcome(chosen: str | None, reason: str, alike: Sequence[str] = ()) -> Choice:
        return Choice(
            chosen, enough, reason + few, tuple(alike), tuple(standings), captions, rule.score, rule.describe()
        )

    if best is None:
        return outcome(None, "Every candidate fails a guard, so the base model stays as it is.")
    if base is not None and (best.gain or 0.0) <= 0:
        return outcome(None, f"None is better than the base model ({rule.score} {base.mean:.3f}).")
    if best.better is not None and best.better < rule.confidence:
        return outcome(
            None,
            f"{best.candidate} is the best ({rule.score} {best.mean:.3f}), but it is better than the base model with a "
            f"confidence of {best.better:.0%} only; {rule.confidence:.0%} is required. Compare on more captions or train "
            "further.",
        )
    ahead = boot[labels.index(best.candidate)]
    alike = [
        one.candidate
        for one in standings
        if one is not best
        and one.candidate != BASE
        and not one.rejected
        and float((boot[labels.index(one.candidate)] >= ahead).mean()) > 1 - rule.confidence
    ]
    against = f" Without a LoRA it is {base.mean:.3f}." if base is not None else ""
    return outcome(
        best.candidate,
        f"{best.candidate} has the highest {rule.score} of those that meet all guards: {best.mean:.3f} "
        f"({best.low:.3f} to {best.high:.3f})." + against,
        alike,
    )


def _by_caption(results: Sequence[Result], labels: Sequence[str], score: str) -> tuple[np.ndarray, list[str]]:
    """The main score [candidates, captions], means over seeds, and the captions that all candidates have."""
    found: dict[tuple[str, str], list[float]] = {}
    for result in results:
        value = result.scores.get(score)
        if value is not None and np.isfinite(value):
            found.setdefault((result.candidate, result.caption), []).append(value)
    every = dict.fromkeys(result.caption for result in results)
    captions = [caption for caption in every if all((label, caption) in found for label in labels)]
    if not captions:
        raise ChoiceError(
            f"There is no caption on which all {len(labels)} candidates have a {score} score. Finish the comparison, or "
            "leave out the candidates that were not judged."
        )
    return np.asarray([[np.mean(found[label, caption]) for caption in captions] for label in labels]), captions


def _means(results: Sequence[Result], label: str, captions: Sequence[str]) -> dict[str, float]:
    """The mean of every score of a candidate on these captions."""
    known = set(captions)
    found: dict[str, list[float]] = {}
    for result in results:
        if result.candidate == label and result.caption in known:
            for name, value in result.scores.items():
                if np.isfinite(value):
                    found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _rejections(
    means: Mapping[str, float], base: Mapping[str, float] | None, guards: Sequence[Guard]
) -> tuple[str, ...]:
    """Why a candidate cannot be chosen."""
    reasons = []
    for guard in guards:
        value = means.get(guard.score)
        if value is None:
            continue
        limits = [guard.least] if guard.least is not None else []
        if guard.below_base is not None and base is not None and guard.score in base:
            limits.append(base[guard.score] - guard.below_base)
        if limits and value < max(limits):
            reason = f"{guard.score} {value:.3f}; at least {max(limits):.3f} is required."
            reasons.append(f"{reason} {guard.meaning}".rstrip())
    return tuple(reasons)
