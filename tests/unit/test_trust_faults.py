"""A part of the campaign of faults with real processes; `python run.py bench trust.faults` runs all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from incontext_lora.bench import trust_faults
from incontext_lora.bench.trust_faults import BOTH, HOST, TRAINER, Tally


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_nothing_is_left_half_done_after_kills_and_full_disks(tmp_path: Path) -> None:
    tally = Tally()
    kinds = [TRAINER, HOST, TRAINER, BOTH]
    trust_faults.stand_in_faults(tmp_path, tally, kinds, firsts=[2, 33])
    assert tally.wrong == []
    assert (tally.kills, tally.survived, tally.faults) == (len(kinds), len(kinds), 6)
    assert (tally.orphans, tally.half_files) == (0, 0)
    assert tally.lost <= 1
