from __future__ import annotations

import pytest
from incontext_lora.training import give_way as ways


def test_long_work_pauses_after_each_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = [0.0], []
    monkeypatch.setattr(ways.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ways.time, "sleep", lambda seconds: pauses.append(clock[0]))
    seen = []
    for value in ways.give_way(range(10)):
        seen.append(value)
        clock[0] += 0.0004
    assert seen == list(range(10))
    assert len(pauses) == 3
    assert list(ways.give_way([])) == []
