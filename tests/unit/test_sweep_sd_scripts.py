"""Sweeps with sd-scripts, by the stand-in trainer: real processes, real runs, killed and resumed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_machine import flux_files, flux_order, small_dataset, stand_in_machine
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import begin, settle, states
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.order import Order
from incontext_lora.training.subset import chosen_sets
from incontext_lora.training.sweep import cli, table
from incontext_lora.training.sweep.choices import Strategy
from incontext_lora.training.sweep.folder import State, Sweep
from incontext_lora.training.sweep.plan import SweepSettings
from incontext_lora.training.sweep.sd_scripts import SdScriptsTrainer, plan_of
from incontext_lora.training.sweep.work import work

RATES = (1e-3, 2e-3, 4e-3, 5.0)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = stand_in_machine(tmp_path / "here", tmp_path / "ComfyUI")
    yield made
    for folder in made.runs.glob("*/run.json"):
        supervise.kill(folder.parent)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    return small_dataset(folder_sets(folder / "sets", 6), folder / "datasets")


@pytest.fixture
def order(dataset: Dataset, tmp_path: Path) -> Order:
    return flux_order(dataset, flux_files(tmp_path / "models"), steps=24, validation_sets=2)


Begin = Callable[..., Sweep]


@pytest.fixture
def begin_sweep(order: Order, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Begin:
    def made(axes: dict[str, tuple[Any, ...]], pause: float = 0.02, **own: Any) -> Sweep:
        monkeypatch.setenv("STAND_IN", json.dumps({"pause": pause, "checkpoints": True, "validate": True}))
        return Sweep.begin(machine.runs.parent / "sweeps", "toy", plan_of(order, SweepSettings(axes, **own)))

    return made


def trial_states(sweep: Sweep) -> list[State]:
    return [record.state for record in sweep.records().values()]


def trials_run(machine: Machine) -> list[str]:
    return sorted(path.parent.name for path in machine.runs.glob("*/run.json"))


def test_the_hopeless_one_is_stopped_and_the_best_is_published(
    begin_sweep: Begin, order: Order, machine: Machine
) -> None:
    sweep = begin_sweep({"learning_rate": RATES})
    work(sweep, SdScriptsTrainer(order, machine, sweep.name), machine.runs)
    assert trial_states(sweep) == [State.FINISHED] * 3 + [State.STOPPED]
    hopeless = sweep.records()[4]
    assert hopeless.curve.step < 24
    trial, record = table.best(sweep) or pytest.fail("nothing was measured")
    assert (trial.number, record.lora) == (3, "toy-t03.safetensors")
    recipe = read_recipe(machine.loras / record.lora)
    assert recipe is not None
    assert recipe.name == "toy"
    assert len(record.curve.by_set(24)) == 2


def test_halving_goes_on_with_the_same_runs(begin_sweep: Begin, order: Order, machine: Machine) -> None:
    sweep = begin_sweep({"learning_rate": RATES[:3]}, strategy=Strategy.HALVING, stop_hopeless=False)
    first, last = sweep.plan.rounds
    work(sweep, SdScriptsTrainer(order, machine, sweep.name), machine.runs)
    assert trial_states(sweep) == [State.STOPPED, State.STOPPED, State.FINISHED]
    assert trials_run(machine) == ["toy-t01", "toy-t02", "toy-t03"]
    events = list(Run(machine.runs / "toy-t03").events())
    begun = [event["first_step"] for event in events if event["event"] == run_folder.STARTED]
    assert len(begun) == 2
    assert first <= begun[1] < last
    steps = [event["step"] for event in events if event["event"] == run_folder.STEP]
    assert steps == list(range(1, 25))  # none was trained twice


def test_a_training_that_went_on_alone_is_joined(begin_sweep: Begin, order: Order, machine: Machine) -> None:
    """The process of the queue is killed, that of the trainer is not: it outlives whoever started it."""
    sweep = begin_sweep({"learning_rate": RATES[:2]}, pause=0.05)

    class Killed(BaseException):
        pass

    class Abandoned(SdScriptsTrainer):
        def _follow(self, run: Run, process: Any, tail: Any, watch: Any) -> Run:
            watch(run, {"event": run_folder.STARTED})
            raise Killed

    with pytest.raises(Killed):
        work(sweep, Abandoned(order, machine, sweep.name), machine.runs)
    assert trial_states(sweep) == [State.TRAINING, State.WAITING]
    work(sweep, SdScriptsTrainer(order, machine, sweep.name), machine.runs)
    assert trial_states(sweep) == [State.FINISHED, State.FINISHED]
    assert trials_run(machine) == ["toy-t01", "toy-t02"]
    assert [step for step, _ in sweep.records()[1].curve.held_out] == list(range(2, 25, 2))


def test_an_interrupted_training_is_resumed(begin_sweep: Begin, order: Order, machine: Machine) -> None:
    sweep = begin_sweep({"learning_rate": RATES[:2]}, pause=0.05)

    def kill_it(event: Mapping[str, Any]) -> None:
        run = Run(machine.runs / "toy-t01")
        if event["event"] == run_folder.VALIDATION and event["step"] == 8 and not killed:
            killed.append(8)
            process = supervise.find(run.folder)
            assert process is not None
            process.send_signal(signal.SIGKILL)

    killed: list[int] = []
    trainer = SdScriptsTrainer(order, machine, sweep.name, show=kill_it)
    work(sweep, trainer, machine.runs)
    assert killed == [8]
    # a training that ended without a word has not been stopped by anybody: it goes on
    assert trial_states(sweep) == [State.FINISHED, State.FINISHED]
    assert trials_run(machine) == ["toy-t01", "toy-t02"]


def test_a_sweep_that_is_cancelled_saves_its_training(begin_sweep: Begin, order: Order, machine: Machine) -> None:
    sweep = begin_sweep({"learning_rate": RATES[:2]}, pause=0.05)

    def cancel(event: Mapping[str, Any]) -> None:
        if event["event"] == run_folder.STEP and event["step"] == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(sweep, SdScriptsTrainer(order, machine, sweep.name, show=cancel), machine.runs)
    run = Run(machine.runs / "toy-t01")
    assert run.state == run_folder.CANCELLED
    assert states.find_last(run) is not None
    assert trial_states(sweep) == [State.TRAINING, State.WAITING]
    work(sweep, SdScriptsTrainer(order, machine, sweep.name), machine.runs)
    assert trial_states(sweep) == [State.FINISHED, State.FINISHED]
    assert trials_run(machine) == ["toy-t01", "toy-t02"]


def test_fewer_sets_are_trained_on_and_the_same_are_held_out(
    order: Order, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "{}")
    names = [item.set for item in order.dataset.items]

    def used(**changed: Any) -> tuple[set[str], set[str]]:
        run, process = begin.start(replace(order, settings=replace(order.settings, **changed)), machine)
        assert process.wait(30) == 0
        settle.settle(run, machine.loras, 0)
        cache = Path(json.loads((run.folder / "job-1" / "job.json").read_text())["cache"])
        ids = {item.id: item.set for item in order.dataset.items}
        folders = {path.parent.name.endswith("-validation"): set[str]() for path in cache.glob("*/*.png")}
        for path in cache.glob("*/*.png"):
            folders[path.parent.name.endswith("-validation")].add(ids[path.stem])
        return folders[False], folders[True]

    assert used() == (set(names[:4]), set(names[4:]))
    two, held_out = used(sets=2)
    assert (len(two), held_out) == (2, set(names[4:]))
    three, _ = used(sets=3)
    assert two < three < set(names[:4])
    assert used(leave_out=names[0]) == (set(names[1:4]), set(names[4:]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sets": 5}, "There should be 5 sets to train on, but toy has 4 besides"),
        ({"leave_out": "*"}, "leaves no set of toy"),
        ({"leave_out": "nobody-*"}, "No set of toy matches 'nobody-\\*'"),
    ],
)
def test_sets_that_are_not_there_are_named(dataset: Dataset, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        chosen_sets(dataset, **{"sets": 0, "leave_out": "", "validation_sets": 2, "seed": 1, **changed})


class TestCommand:
    def options(self, *more: str) -> Any:
        return cli.parser().parse_args(["--comfyui", "c", "--output", "o", *more])

    def test_it_takes_values_and_a_strategy(self) -> None:
        made = cli.sweep_settings(
            self.options(
                "--vary", "learning-rate=1e-4,3e-4", "--vary", "rank=8, 16", "--strategy", "successive halving"
            )
        )
        assert made == SweepSettings({"learning_rate": (1e-4, 3e-4), "rank": (8, 16)}, Strategy.HALVING)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (("--vary", "rank"), "write a setting and its values"),
            (("--vary", "momentum=1,2"), "write a setting and its values"),
            (("--vary", "rank=8,16", "--vary", "rank=32"), "names rank twice"),
        ],
    )
    def test_what_it_cannot_read_is_named(self, more: tuple[str, ...], said: str) -> None:
        with pytest.raises(TrainingError, match=said):
            cli.sweep_settings(self.options(*more))

    def test_it_trains_and_prints_the_table(
        self,
        dataset: Dataset,
        machine: Machine,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("STAND_IN", json.dumps({"checkpoints": True, "validate": True}))
        monkeypatch.setattr(cli.environment, "find", lambda: machine.trainer)
        monkeypatch.setattr(cli.training, "this_machine", lambda options, trainer: machine)
        model, *others = flux_files(tmp_path / "models").values()
        words = ["--dataset", str(dataset.folder), "--architecture", "flux", "--model", str(model)]
        words += ["--files", *map(str, others), "--comfyui", "c", "--output", str(tmp_path / "output")]
        words += ["--steps", "12", "--validation-sets", "2", "--vary", "rank=4,8", "--name", "shelf"]
        before = time.monotonic()
        assert cli.main(words) == 0
        said = capsys.readouterr().out
        assert "training 2 of 2: rank 8, to step 12 of 12" in said
        assert "Best: rank 8, with a loss of" in said
        assert (tmp_path / "output" / "incontext_sweeps" / "shelf" / "table.csv").exists()
        assert cli.main(words) == 0  # it is over
        assert trials_run(machine) == ["shelf-t01", "shelf-t02"]
        assert time.monotonic() - before < 60
