"""What the benchmark of isolated references makes of its rounds, and its clock."""

from __future__ import annotations

import pytest
import torch
from incontext_lora.bench import isolated_rounds
from incontext_lora.bench.isolated import figures
from torch import Tensor, nn

ROUND = {"clean": 10.0, "2": {"own": 5.0, "step": 4.0}, "1": {"own": 3.0, "step": 7.0}}
FOUND = {
    "rounds": [ROUND, {**ROUND, "clean": 12.0}, {**ROUND, "clean": 20.0}],
    "growth": {"clean": 10.0, "1": {"own": 2.0, "step": 9.0}, "8": {"own": 8.0, "step": 1.0}},
    "errors": {"flux": 0.0, "sd3": 1.2e-5},
}


def test_speed_counts_the_references_own_pass_once() -> None:
    found = {figure.name: figure for figure in figures(FOUND)}
    speedup = found["references.once_speedup"]
    assert speedup.value == pytest.approx(20 * 12 / (5 + 20 * 4), abs=1e-5)
    assert (speedup.min, speedup.max) == pytest.approx((200 / 85, 400 / 85), abs=1e-5)
    assert speedup.holds
    assert found["references.once_speedup_1_of_3"].value == pytest.approx(240 / 143, abs=1e-5)
    assert "1 of 9" in found["references.once_growth_1"].detail
    assert found["references.once_growth_8"].value == pytest.approx(200 / 28, abs=1e-5)


def test_an_error_just_above_its_bound_is_not_rounded_away() -> None:
    (error,) = (figure for figure in figures(FOUND) if figure.name == "references.once_max_error")
    assert error.value == 1.2e-5
    assert error.holds is False


class Takes(nn.Module):
    """Takes some seconds of a clock."""

    def __init__(self, seconds: float, clock: list[float], blocks: dict[str, list[nn.Module]] | None = None) -> None:
        super().__init__()
        self.seconds, self.clock = seconds, clock
        for name, members in (blocks or {}).items():
            setattr(self, name, nn.ModuleList(members))

    def forward(self, x: Tensor) -> Tensor:
        self.clock[0] += self.seconds
        for blocks in self.children():
            for block in blocks.children():
                x = block(x)
        return x


def test_missing_blocks_count_as_long_as_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(isolated_rounds.time, "perf_counter", lambda: clock[0])
    blocks: dict[str, list[nn.Module]] = {"doubles": [Takes(3, clock)], "singles": [Takes(1, clock), Takes(2, clock)]}
    model = Takes(0.5, clock, blocks)
    with isolated_rounds.timed(model, {"doubles": 19, "singles": 38}) as timed:
        began = timed.now()
        model(torch.zeros(1))
        clock[0] += 0.25  # outside of the transformer
        model(torch.zeros(1))
        seconds = timed.now() - began
    assert timed.passes == pytest.approx([0.5 + 19 * 3 + 19 * (1 + 2)] * 2)
    assert seconds == pytest.approx(sum(timed.passes) + 0.25)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("given", [0, 1, 2, 3])
def test_given_panels_are_the_first_of_the_row(given: int) -> None:
    mask = isolated_rounds.mask_of((3, 8, 24), given)
    assert mask.shape == (1, 64, 192)
    assert mask.sum() == (3 - given) * 64 * 64
    assert not mask[..., : 64 * given].any()
