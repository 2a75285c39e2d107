"""The benchmark's own arithmetic."""

from __future__ import annotations

import pytest
from incontext_lora.bench.ranking import Judgement, rank_figures, ranks, spearman


def test_ranks_are_means_for_ties() -> None:
    assert ranks([3.0, 1.0, 3.0]).tolist() == [1.5, 0.0, 1.5]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([1, 2, 3], [10, 20, 90], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 2, 3], [5, 5, 5], 0.0)],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float) -> None:
    assert spearman(one, other) == pytest.approx(expected)


def test_each_score_is_ranked_against_what_it_should_say() -> None:
    made = [
        Judgement(str(number), {"consistency": number, "content": -number}, number / 4, number / 4, 0.0)
        for number in range(4)
    ]
    found = {figure.name: figure for figure in rank_figures(made)}
    assert found["scores.rank_correlation"].value == pytest.approx(1.0)
    assert found["scores.rank_correlation"].bound == ">= 0.8"
    assert found["scores.rank_correlation_content"].value == pytest.approx(-1.0)
    assert found["scores.rank_correlation_content"].bound == ""
