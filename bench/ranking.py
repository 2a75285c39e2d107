"""How well a score ranks candidates: rank correlation with what the exact checker says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .figure import Figure


@dataclass(frozen=True)
class Judgement:
    """A candidate by its scores and by the exact checker; shares.

    Attributes:
        scores: mean of each score.
        agreement: sets whose panels share one colour.
        captions: panels that show their shape.
        right: sets with both.
    """

    label: str
    scores: Mapping[str, float]
    agreement: float
    captions: float
    right: float


def rank_figures(judgements: Sequence[Judgement]) -> list[Figure]:
    """Spearman's correlation of each score with what it should say, over candidates."""
    found = []
    truths = {"content": "captions", "composition": "right", "variety": "right", "novelty": "right"}
    for name in judgements[0].scores:
        known = [one for one in judgements if name in one.scores]
        truth = truths.get(name, "agreement")
        value = spearman([one.scores[name] for one in known], [getattr(one, truth) for one in known])
        is_advised = name == "consistency"
        found.append(
            Figure.of(
                "scores.rank_correlation" + ("" if is_advised else f"_{name}"),
                [value],
                "rho",
                ">= 0.8" if is_advised else "",
                f"{name} against {_TRUTHS[truth]}, {len(known)} candidates",
            )
        )
    return found


_TRUTHS = {
    "agreement": "sets whose panels share one colour",
    "captions": "panels that show their shape",
    "right": "sets with both",
}


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation with mean ranks for ties; 0 if one side is constant."""
    first, second = ranks(one), ranks(other)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, float)
    return np.asarray([((array < value).sum() + (array <= value).sum() - 1) / 2 for value in array])
