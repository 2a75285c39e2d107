"""Train a sweep with sd-scripts. Each training is a run in a process of its own; it can be stopped and resumed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..runs import cards, claims, run_folder, supervise
from ..runs.choices import WhenBusy
from ..runs.event_tail import EventTail
from ..runs.run_folder import Run
from ..sd_scripts import begin, follow, settle, states
from ..sd_scripts.machine import Machine
from ..sd_scripts.order import TRAINER, Order
from ..sd_scripts.settings import SdSettings
from .plan import Plan, SweepSettings, Trial
from .work import Watch

Process = subprocess.Popen[bytes]
KEEP = 6  # checkpoints per training, enough to have the best one when `judge.overfitted` ends it


class _Enough(Exception):
    """The sweep has seen enough of a training."""


@dataclass(frozen=True)
class SdScriptsTrainer:
    """Trains the trials of one sweep.

    Attributes:
        order: what is trained; each trial replaces its settings.
        machine: paths and devices of this machine.
        name: of the sweep; its runs are named ``<name>-t01`` and so on.
        go_on: called several times a second; raises to stop the sweep, and the current training then saves its state.
        say: receives a line about what is being waited for.
        show: receives every event of a training.
        when_busy: what a training does if another one is using its graphics card.
    """

    order: Order
    machine: Machine
    name: str
    go_on: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: None
    show: Callable[[Mapping[str, Any]], None] = lambda event: None
    when_busy: WhenBusy = WhenBusy.WAIT

    def train(self, trial: Trial, earlier: Run | None, watch: Watch) -> Run:
        """See `work.Trainer`.

        Raises:
            TrainingError: if the training cannot begin.
        """
        found = self._settled(earlier)
        if found is not None and found.state == run_folder.FINISHED:
            return found
        if found is not None and supervise.find(found.folder) is not None:  # it outlived the process that began it
            return self._follow(found, None, EventTail(found, from_start=False), watch)
        with cards.claim(self.machine.runs, self.machine.cards, self.when_busy, self.go_on, self.say):
            if found is not None and states.find_last(found) is not None:
                tail = EventTail(found, from_start=False)
                return self._follow(found, begin.resume(found, self.machine, self.go_on), tail, watch)
            run, process = begin.start(self._order(trial), self.machine, self.go_on)
        return self._follow(run, process, EventTail(run), watch)

    def _order(self, trial: Trial) -> Order:
        settings = SdSettings.from_json(trial.settings)
        return replace(self.order, settings=settings, name=f"{self.name}-{trial.key}")

    def _settled(self, run: Run | None) -> Run | None:
        """The same run. If its process is gone, its end is recorded first."""
        if run is not None and run.state == run_folder.STARTED and supervise.find(run.folder) is None:
            settle.settle(run, self.machine.loras)
        return run

    def _follow(self, run: Run, process: Process | None, tail: EventTail, watch: Watch) -> Run:
        def on_event(event: Mapping[str, Any]) -> None:
            self.go_on()
            self.show(event)
            if watch(run, event):
                raise _Enough

        with claims.attending(run.folder):
            stopped = False
            try:
                code = follow.watch(run, process, tail, on_event)
            except BaseException as reason:
                follow.stop(run, process)
                code, stopped = process.returncode if process else None, True
                if not isinstance(reason, _Enough):
                    settle.settle(run, self.machine.loras, code, stopped=True)
                    raise
            settle.settle(run, self.machine.loras, code, stopped=stopped)
        return run


def plan_of(order: Order, sweep: SweepSettings) -> Plan:
    """The plan of a sweep over an order's settings.

    Raises:
        TrainingError: as `Plan.of`.
    """
    ordered = order.to_json()
    about = {name: ordered[name] for name in ("dataset", "architecture", "files", "continue_from", "digests")}
    settings = order.settings.to_json()
    settings["keep"] = settings["keep"] and max(settings["keep"], KEEP)
    return Plan.of(TRAINER, sweep, settings, about, len(order.dataset))
