"""Train a sweep until nothing is left to train.

The next training follows from the records alone, so a process can continue where another one ended, and several can work on
one sweep at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ...incontext.errors import TrainingError
from ..runs import run_folder
from ..runs.monitor import checkpoints
from ..runs.run_folder import Run
from . import judge, table
from .choices import Strategy
from .curve import Curve
from .folder import OVER, Record, State, Sweep
from .plan import Plan, Trial, ranked

Say = Callable[[str], None]
Watch = Callable[[Run, Mapping[str, Any]], bool]
_DECIDED = (State.PAUSED, State.STOPPED)
LAST = 3  # newest checkpoints to keep per training besides the best one, for example to average them


class Trainer(Protocol):
    """A trainer: sd-scripts in a process of its own, or the in-host trainer."""

    def train(self, trial: Trial, earlier: Run | None, watch: Watch) -> Run:
        """Train to the end, or until ``watch`` says so.

        Args:
            trial: which training.
            earlier: its run so far. It is resumed if it has a saved state; otherwise the training begins again.
            watch: called with the run and each of its events. If it returns True, the training saves its state and
                ends.

        Returns:
            The run, when it is over and settled.

        Raises:
            TrainingError: if it cannot begin.
        """
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """A training, and the step at which it will be compared with others."""

    trial: Trial
    until: int


# --- what is next ---------------------------------------------------------------------------------------------------


def tasks(plan: Plan, records: Mapping[int, Record]) -> list[Task]:
    """The trainings that can be trained now, in order; empty if nothing is left.

    Args:
        records: from `eliminated`.
    """
    if plan.sweep.strategy is Strategy.GRID:
        return [Task(trial, trial.steps) for trial in plan.trials if records[trial.number].state not in OVER]
    for step in plan.rounds:
        due = [
            Task(trial, min(step, trial.steps))
            for trial in plan.trials
            if records[trial.number].state not in OVER and not has_reached(trial, records[trial.number], step)
        ]
        if due:
            return due
    return []


def has_reached(trial: Trial, record: Record, step: int) -> bool:
    """Whether a training can be compared at the end of a round."""
    return record.state is State.FINISHED or (step < trial.steps and record.curve.step >= step)


def _out(plan: Plan, records: Mapping[int, Record], step: int) -> dict[int, str]:
    """Trainings that are eliminated after a round, and why; empty until all have reached its end."""
    if step == plan.rounds[-1]:
        return {}
    alive = [trial for trial in plan.trials if records[trial.number].state not in (State.STOPPED, State.FAILED)]
    if not all(has_reached(trial, records[trial.number], step) for trial in alive):
        return {}
    losses = {trial.number: _loss(records[trial.number], step) for trial in alive}
    # the number to keep depends on the round only, not on how many trainings were hopeless
    reached = plan.rounds.index(step) + 1
    most = max(1, len(plan.trials) // plan.sweep.keep_one_in**reached)
    if len(alive) <= most:
        return {}
    chosen = set(ranked(losses)[:most])
    order = ranked(losses)
    return {
        number: f"Its loss of {losses[number]:.4f} at step {step} is number {order.index(number) + 1} of {len(order)}; "
        f"the best {len(chosen)} continue."
        for number in order
        if number not in chosen and records[number].state is not State.FINISHED
    }


def _loss(record: Record, step: int) -> float:
    return record.curve.at(step) if record.curve.step >= step else record.curve.last


def eliminated(sweep: Sweep) -> dict[int, Record]:
    """All records, after recording which trainings are eliminated by the rounds that are over."""
    records = sweep.records()
    if sweep.plan.sweep.strategy is Strategy.HALVING:
        for step in sweep.plan.rounds[:-1]:
            for number, why in _out(sweep.plan, records, step).items():
                records[number] = sweep.changed(sweep.plan.trials[number - 1], state=State.STOPPED, why=why)
    return records


# --- one training ---------------------------------------------------------------------------------------------------


class Watcher:
    """Keeps a training's record up to date, and decides when it should end."""

    def __init__(self, sweep: Sweep, task: Task) -> None:
        self._sweep, self._task = sweep, task
        self._before = sweep.record(task.trial).seconds
        self._began = time.monotonic()
        self._events: list[Mapping[str, Any]] = []
        self._run = ""
        self._first = 0
        self.rule = rule(task.trial)
        self.why = ""
        self.state = State.TRAINING

    def __call__(self, run: Run, event: Mapping[str, Any]) -> bool:
        if run.name != self._run:
            self._run = run.name
            self._events = []
            self._note(run)
        if event["event"] in (run_folder.STEP, run_folder.VALIDATION):
            self._events.append(event)
        if event["event"] == run_folder.VALIDATION:
            self._judge(self._note(run))
        return self.state is not State.TRAINING

    def begin(self) -> None:
        """Call it when the training begins or continues: the events so far are from earlier attempts."""
        self._first = len(Curve.of(self._events).trained)

    def got_further(self, curve: Curve) -> bool:
        """Whether the training has made any step since `begin`."""
        return len(curve.trained) > self._first

    def _judge(self, curve: Curve) -> None:
        trial = self._task.trial
        if curve.step >= trial.steps:
            return  # it ends by itself
        if self._sweep.plan.sweep.stop_hopeless:
            others = [record.curve for number, record in self._sweep.records().items() if number != trial.number]
            self.why = judge.hopeless(curve, others, self.rule) or judge.overfitted(curve, self.rule)
        if self.why:
            self.state = State.STOPPED
        elif curve.step >= self._task.until:
            self.state = State.PAUSED

    def _note(self, run: Run) -> Curve:
        curve = Curve.of(self._events)
        seconds = self._before + time.monotonic() - self._began
        short = replace(curve, trained=())
        self._sweep.changed(self._task.trial, state=State.TRAINING, run=run.name, curve=short, seconds=seconds)
        return curve


def rule(trial: Trial) -> judge.Rule:
    """The rule by which a training is judged."""
    falls = trial.settings["schedule"] != "constant"
    return judge.Rule(trial.steps, trial.settings["warmup_steps"], annealing=0.5 if falls else 0.0)


def train(sweep: Sweep, task: Task, trainer: Trainer, runs: Path) -> Record:
    """Train one task that this process has claimed.

    Returns:
        Its record.

    Raises:
        TrainingError: if it fails before its first step and no other training has got further. The cause is then hardly
            one of the varied settings.
        BaseException: if something ends the whole sweep, for instance the user. The training can then be continued.
    """
    trial = task.trial
    before = sweep.record(trial)
    earlier = Run(runs / before.run) if before.run and (runs / before.run / "run.json").exists() else None
    watcher = Watcher(sweep, task)
    if earlier is not None:
        for event in earlier.events():
            watcher(earlier, event)
        # the process that trained it was killed after its end, before recording it
        if earlier.state == run_folder.FINISHED or (earlier.state in run_folder.ENDS and watcher.state in _DECIDED):
            return settled(sweep, trial, earlier, watcher)
    watcher.begin()
    try:
        run = trainer.train(trial, earlier, watcher)
    except TrainingError as error:
        if all(record.curve.step == 0 for record in sweep.records().values()):
            raise
        return sweep.changed(trial, state=State.FAILED, why=str(error))
    return settled(sweep, trial, run, watcher)


def settled(sweep: Sweep, trial: Trial, run: Run, watcher: Watcher) -> Record:
    """Record the outcome of a training whose run is over."""
    curve = Curve.of(run.events())
    end = next((event for event in reversed(run.last_events()) if event["event"] in run_folder.ENDS), {})
    state, why = watcher.state, watcher.why
    if end.get("event") == run_folder.FINISHED:
        state, why = State.FINISHED, ""
    elif end.get("event") == run_folder.FAILED:
        state, why = State.FAILED, end.get("error", "")
    elif end.get("event") == run_folder.INTERRUPTED and state is State.TRAINING:
        if not watcher.got_further(curve):  # else it continues from its saved state
            state, why = State.FAILED, end.get("error", "")
    elif state is State.TRAINING:  # the watcher did not ask for it
        state, why = State.STOPPED, f"You stopped it at step {len(curve.trained)}."
    prune(run, curve)
    return sweep.changed(
        trial,
        state=state,
        why=why,
        run=run.name,
        lora=end.get("lora", ""),
        curve=replace(curve, trained=()),
        saved=tuple(sorted(entry["step"] for entry in checkpoints(run))),
    )


def prune(run: Run, curve: Curve) -> None:
    """Remove a run's checkpoints except the best one and the last ones, since a sweep would fill the disk."""
    found = checkpoints(run)
    best, _ = curve.best(each["step"] for each in found)
    last = sorted(each["step"] for each in found)[-LAST:]
    for each in found:
        if each["step"] not in (best, *last):
            with suppress(OSError):  # a leftover only takes up space
                (run.folder / "checkpoints" / each["file"]).unlink()


# --- all of them ----------------------------------------------------------------------------------------------------


def work(
    sweep: Sweep,
    trainer: Trainer,
    runs: Path,
    say: Say = lambda line: None,
    go_on: Callable[[], None] = lambda: None,
    pause: float = 1.0,
) -> None:
    """Train until nothing is left.

    Args:
        runs: the folder of all runs.
        say: receives one line when a training begins or ends.
        go_on: called while other processes train the rest; raises to stop.
        pause: seconds between checks.

    Raises:
        TrainingError: if the sweep's folder cannot be written, or no training can begin.
    """
    while due := tasks(sweep.plan, eliminated(sweep)):
        if not any(_try(sweep, task, trainer, runs, say) for task in due):
            go_on()  # other processes have claimed all of them
            time.sleep(pause)
    table.write(sweep)


def _try(sweep: Sweep, task: Task, trainer: Trainer, runs: Path, say: Say) -> bool:
    """Train a task, unless another process is doing or has done so. Whether this process did."""
    with sweep.claimed(task.trial) as mine:
        if not mine or task not in tasks(sweep.plan, eliminated(sweep)):
            return False
        count = len(sweep.plan.trials)
        say(f"training {task.trial.number} of {count}: {task.trial.title}, to step {task.until} of {task.trial.steps}")
        record = train(sweep, task, trainer, runs)
        table.write(sweep)
        say(f"{record.state.value}: {record.why or table.best_of(record)}")
        return True
