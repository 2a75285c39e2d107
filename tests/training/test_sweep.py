"""A sweep by the real trainer: trainings that stop with their state saved, are compared, and the better one goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.order import Order
from incontext_lora.training.sweep import table
from incontext_lora.training.sweep.choices import Strategy
from incontext_lora.training.sweep.folder import State, Sweep
from incontext_lora.training.sweep.plan import SweepSettings
from incontext_lora.training.sweep.sd_scripts import SdScriptsTrainer, plan_of
from incontext_lora.training.sweep.work import work

HELD_OUT = 4


Make = Callable[..., Order]


def test_the_better_half_goes_on(order: Make, machine: Machine, tmp_path: Path) -> None:
    wanted = order("flux", steps=8, validation_sets=HELD_OUT, validate_every=2, sample_every=0)
    varied = SweepSettings({"learning_rate": (1e-9, 1e-2)}, Strategy.HALVING, keep_one_in=2, stop_hopeless=False)
    sweep = Sweep.begin(tmp_path / "sweeps", "real", plan_of(wanted, varied))
    first, last = sweep.plan.rounds
    work(sweep, SdScriptsTrainer(wanted, machine, sweep.name), machine.runs)
    loser, winner = sweep.records().values()
    assert (loser.state, winner.state) == (State.STOPPED, State.FINISHED)
    assert loser.curve.step == first
    assert winner.curve.step == last
    for record in (loser, winner):
        for step, loss in record.curve.held_out:
            each = record.curve.by_set(step)
            assert len(each) == HELD_OUT
            assert sum(each) / HELD_OUT == pytest.approx(loss, abs=1e-5)
    # a rate of 1e-9 changes nothing, so the same noise gives the same losses at every measurement
    still = [loss for _, loss in loser.curve.held_out]
    assert max(still) - min(still) < 1e-4
    events = list(Run(machine.runs / winner.run).events())
    assert [event["first_step"] > 0 for event in events if event["event"] == run_folder.STARTED] == [False, True]
    assert [event["step"] for event in events if event["event"] == run_folder.STEP] == list(range(1, 9))
    best = table.best(sweep)
    assert best is not None
    assert best[0].number == 2
    assert (machine.loras / winner.lora).exists()
