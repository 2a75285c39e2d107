"""Hostile inputs for every parser, at a fiftieth of what `bench trust` tries."""

from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.bench import hostile

CASES = 2_000
FIRST = 1_000_000  # other cases than those of the bench


@pytest.mark.filterwarnings("ignore")
def test_hostile_inputs_end_in_our_own_words_and_at_once(tmp_path: Path) -> None:
    outcome = hostile.campaign(range(FIRST, FIRST + CASES), tmp_path)
    assert outcome.foreign == []
    assert set(outcome.cases) == set(hostile.PARSERS)
    refused = sum(outcome.refused.values())
    assert 0.2 * CASES < refused < 0.9 * CASES  # both what is taken and what is refused
    assert outcome.slowest[0] < hostile.SECONDS, outcome.slowest
    assert outcome.hungriest[0] < hostile.MEMORY, outcome.hungriest


def test_a_case_follows_from_its_number(tmp_path: Path) -> None:
    places = [hostile.Places(tmp_path / name) for name in ("a", "b")]
    for number in range(FIRST, FIRST + 50):
        assert hostile.case(number, places[0])[0] == hostile.case(number, places[1])[0]
    assert (places[0].run / "run.json").read_bytes() == (places[1].run / "run.json").read_bytes()
