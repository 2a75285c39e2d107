"""Sweeps over real trainings of milliseconds: the queue that survives a kill, and the table."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.toy_sweep import ToyTrainer, toy_plan
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sweep import table, work
from incontext_lora.training.sweep.choices import Strategy
from incontext_lora.training.sweep.curve import Curve
from incontext_lora.training.sweep.folder import Record, State, Sweep

ROOT = Path(__file__).resolve().parent.parent.parent
RATES = (3e-2, 1e-2, 30.0)


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Sweep]:
    def made(axes: dict[str, tuple[Any, ...]], **changed: Any) -> Sweep:
        return Sweep.begin(tmp_path / "sweeps", "toy", toy_plan(axes, **changed))

    return made


def worked(sweep: Sweep, **values: Any) -> ToyTrainer:
    runs = sweep.folder.parent.parent / "runs"
    trainer = ToyTrainer(runs, **values)
    work.work(sweep, trainer, runs, pause=0.01)
    return trainer


def states(sweep: Sweep) -> list[State]:
    return [record.state for record in sweep.records().values()]


class TestQueue:
    def test_a_grid_is_trained_and_the_hopeless_one_stopped(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"learning_rate": RATES})
        trainer = worked(sweep)
        assert states(sweep) == [State.FINISHED, State.FINISHED, State.STOPPED]
        assert trainer.trained == [(1, False), (2, False), (3, False)]
        hopeless = sweep.records()[3]
        assert hopeless.curve.step <= 12
        assert "Its loss on held-out sets" in hopeless.why

    def test_the_best_checkpoint_and_the_last_ones_stay(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"learning_rate": (3e-2, 0.3)}, stop_hopeless=False)
        worked(sweep)
        for record in sweep.records().values():
            run = Run(sweep.folder.parent.parent / "runs" / record.run)
            step, loss = record.best
            assert loss == record.curve.best()[1]  # of all that were measured
            assert record.saved == tuple(sorted({step, 48, 54, 60}))
            assert len(run.checkpoints) == len(record.saved)

    def test_without_early_stopping_all_are_trained(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"learning_rate": (3e-2, 3.0)}, stop_hopeless=False)
        worked(sweep)
        assert states(sweep) == [State.FINISHED] * 2

    def test_a_loss_that_is_not_finite_ends_one_training_only(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"learning_rate": (3e-2, 1e25)})
        worked(sweep)
        assert states(sweep)[0] is State.FINISHED
        assert states(sweep)[1] in (State.FAILED, State.STOPPED)
        assert table.best(sweep)[0].number == 1  # type: ignore[index]

    def test_halving(self, begin: Callable[..., Sweep]) -> None:
        rates = (1e-3, 2e-3, 4e-3, 8e-3, 1e-2, 2e-2, 3e-2, 6e-2, 1e-1)
        sweep = begin({"learning_rate": rates}, strategy=Strategy.HALVING, stop_hopeless=False)
        trainer = worked(sweep)
        records = sweep.records()
        first, second, last = sweep.plan.rounds
        steps = sorted(record.curve.step for record in records.values())
        assert steps == [first] * 6 + [second] * 2 + [last]
        assert len(trainer.trained) == 9 + 3 + 1
        assert [state for state in states(sweep) if state is State.FINISHED] == [State.FINISHED]
        # who went on had the lowest losses at the same step
        went_on = {number for number, record in records.items() if record.curve.step > first}
        losses = {number: record.curve.at(first) for number, record in records.items()}
        assert went_on == set(sorted(losses, key=losses.__getitem__)[:3])
        assert all("the best 3 continue" in r.why for r in records.values() if r.curve.step == first)

    def test_the_same_sweep_goes_on_and_another_takes_another_folder(self, begin: Callable[..., Sweep]) -> None:
        first = begin({"rank": (1, 2)})
        assert begin({"rank": (1, 2)}).folder == first.folder
        assert begin({"rank": (1, 3)}).name == "toy-2"
        assert begin({"rank": (1, 3)}).name == "toy-2"

    def test_a_sweep_that_is_over_trains_nothing(self, begin: Callable[..., Sweep]) -> None:
        worked(begin({"rank": (1, 2)}))
        assert worked(begin({"rank": (1, 2)})).trained == []

    def test_what_cancels_is_raised_and_the_training_goes_on_later(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"rank": (1, 2)})

        def cancel(trial: Any) -> None:
            if trial.number == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            worked(sweep, before=cancel)
        assert states(sweep) == [State.FINISHED, State.WAITING]
        assert worked(sweep).trained == [(2, False)]

    def test_if_no_training_can_begin_the_cause_is_reported(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"rank": (1, 2)})

        def fail(trial: Any) -> None:
            raise TrainingError("There is no model file.")

        with pytest.raises(TrainingError, match="no model file"):
            worked(sweep, before=fail)
        assert states(sweep) == [State.WAITING] * 2  # it can be corrected

    def test_where_one_cannot_begin_the_others_are_trained(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"rank": (1, 2, 4)})

        def fail(trial: Any) -> None:
            if trial.number == 2:
                raise TrainingError("Not enough memory.")

        worked(sweep, before=fail)
        assert states(sweep) == [State.FINISHED, State.FAILED, State.FINISHED]
        assert "failed: Not enough memory." in table.text(sweep)

    def test_one_that_another_process_trains_is_left_to_it(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"rank": (1, 2)})
        seen: list[str] = []

        class Enough(Exception):
            pass

        def go_on() -> None:
            seen.append("waited")
            raise Enough

        runs = sweep.folder.parent.parent / "runs"
        trainer = ToyTrainer(runs)
        with sweep.claimed(sweep.plan.trials[0]) as mine, pytest.raises(Enough):
            work.work(sweep, trainer, runs, go_on=go_on, pause=0.01)
        assert mine
        assert trainer.trained == [(2, False)]
        assert seen == ["waited"]

    def test_a_damaged_record_is_named(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"rank": (1, 2)})
        worked(sweep)
        path = sweep.trial_folder(sweep.plan.trials[0]) / "trial.json"
        path.write_text("{", encoding="utf-8")
        with pytest.raises(TrainingError, match=r"trial\.json cannot be read.*Remove it to train rank 1 again"):
            sweep.records()


class TestKilled:
    """A process that works on a sweep is killed; another one goes on."""

    def test_the_queue_goes_on_to_the_same_result(self, tmp_path: Path) -> None:
        plan = toy_plan({"learning_rate": (3e-2, 1e-2, 2e-2, 1e-3)}, strategy=Strategy.HALVING, keep_one_in=2)
        whole = Sweep.begin(tmp_path / "whole" / "sweeps", "toy", plan)
        worked(whole)
        cut = Sweep.begin(tmp_path / "cut" / "sweeps", "toy", plan)
        kill_in(cut, trial=2, step=8)
        before = cut.records()
        assert before[1].state in (State.FINISHED, State.PAUSED)
        assert before[2].state is State.TRAINING
        trainer = worked(cut)
        assert trainer.trained[0] == (2, True)
        assert (1, False) not in trainer.trained
        for number, record in whole.records().items():
            again = cut.records()[number]
            assert (again.state, again.why, again.curve) == (record.state, record.why, record.curve)

    def test_several_share_the_work(self, tmp_path: Path) -> None:
        sweep = Sweep.begin(tmp_path / "sweeps", "toy", toy_plan({"rank": (1, 2, 3, 4)}, stop_hopeless=False))
        with ThreadPoolExecutor(2) as pool:
            trainers = [future.result() for future in [pool.submit(worked, sweep, pause=0.002) for _ in range(2)]]
        assert states(sweep) == [State.FINISHED] * 4
        assert sorted(number for trainer in trainers for number, _ in trainer.trained) == [1, 2, 3, 4]
        assert len(list((tmp_path / "runs").iterdir())) == 4


def kill_in(sweep: Sweep, trial: int, step: int) -> None:
    """Work on a sweep in a process of its own that is killed after this step."""
    program = (
        f"import runpy, sys; runpy.run_path({str(ROOT / 'launcher' / 'pack.py')!r})['register'](); "
        f"sys.argv = ['toy_sweep', {str(sweep.folder)!r}, '{trial}', '{step}']; "
        "from incontext_lora.tests import toy_sweep; toy_sweep.main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode, ended.stdout  # the records say how far it came


class TestTable:
    def test_it_is_sorted_and_says_what_follows(self, begin: Callable[..., Sweep]) -> None:
        sweep = begin({"learning_rate": RATES})
        worked(sweep)
        listed = list(csv.DictReader((sweep.folder / "table.csv").read_text().splitlines()))
        assert listed[0]["training"] == "1"
        assert [float(row["loss"]) for row in listed] == sorted(float(row["loss"]) for row in listed)
        content = json.loads((sweep.folder / "table.json").read_text())
        assert content["best"] == 1
        shown = table.text(sweep)
        assert "learning rate" in shown.splitlines()[0]
        assert "Best: learning rate 0.03, with a loss of" in shown
        assert "Training 3 (learning rate 30) stopped: " in shown

    def test_differences_are_of_the_same_sets(self) -> None:
        def record(*losses: float) -> Record:
            return Record(curve=Curve(((10, sum(losses) / len(losses)),), ((10, losses),)), saved=(10,))

        clear = table.difference(record(1.1, 2.1, 3.1, 4.11), record(1.0, 2.0, 3.0, 4.0))
        assert clear.mean == pytest.approx(0.1025)
        assert clear.margin == pytest.approx(3.182 * 0.005 / 2)
        assert clear.is_clear
        assert not table.difference(record(1.1, 1.9), record(1.0, 2.0)).is_clear
        assert math.isnan(table.difference(record(1.0), record(2.0)).margin)

    def test_no_training_may_be_better_than_before(self, tmp_path: Path) -> None:
        sweep = Sweep.begin(tmp_path, "toy", toy_plan({"rank": (1, 2)}))
        for trial in sweep.plan.trials:
            held_out = ((0, 1.0), (6, 1.1 + trial.number), (12, 1.2 + trial.number))
            sweep.note(trial, Record(State.STOPPED, curve=Curve(held_out), saved=(6, 12), why="Too high."))
        assert any("It is not better than before the training (1.0000)" in line for line in table.conclusions(sweep))

    @pytest.mark.parametrize(
        ("without", "said"),
        [
            (
                (1.2, 1.3, 1.25, 1.2),
                "The sets new-* helped: without them the loss on held-out sets changes by +0.2375 ±",
            ),
            (
                (0.8, 0.7, 0.75, 0.8),
                "The sets new-* did harm: without them the loss on held-out sets changes by -0.2375 ±",
            ),
            ((1.2, 0.8, 1.1, 0.9), "Whether the sets new-* helped is unclear"),
        ],
    )
    def test_whether_new_sets_helped(self, tmp_path: Path, without: tuple[float, ...], said: str) -> None:
        sweep = Sweep.begin(tmp_path, "toy", toy_plan({"leave_out": ("", "new-*")}))
        for trial, losses in zip(sweep.plan.trials, ((1.0, 1.0, 1.0, 1.0), without), strict=True):
            made = Curve(((0, 2.0), (60, sum(losses) / 4)), ((60, losses),))
            sweep.note(trial, Record(State.FINISHED, curve=made, saved=(60,)))
        assert any(line.startswith(said) for line in table.conclusions(sweep))
