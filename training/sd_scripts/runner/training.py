"""What the parts of the extended trainer share: the current step, the average, and requests from the user."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ...average import MovingAverage
from .errors import TrainingStop
from .events import Events
from .plan import Plan

REQUESTS = ("stop", "save", "sample")


class Training:
    """The current state of one segment of a run.

    Attributes:
        plan: the job.
        run: the run's folder.
        events: the run's events.
        step: optimiser steps done in all segments together.
        accelerator: Accelerate's object; None until the models load.
        average: moving average of the weights; None before the first step, or if there is none.
        is_stopping: whether the user wants the training to end, which it does once its state is saved.
    """

    def __init__(self, plan: Plan, run: Path, events: Events) -> None:
        self.plan = plan
        self.run = run
        self.events = events
        self.step = plan.first_step
        self.accelerator: Any = None
        self.average: MovingAverage | None = None
        self.is_stopping = False

    @property
    def is_over(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.plan.steps

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the context, the network has the averaged weights, if there are any."""
        return self.average.applied() if self.average is not None else contextlib.nullcontext()

    def enter(self, phase: str) -> None:
        """Begin a phase before the first step. On a request to stop, end at once: there is nothing to save yet.

        Raises:
            TrainingStop: if a stop was requested.
        """
        self.events.enter(phase)
        if self.stop_is_requested():
            raise TrainingStop

    def stop_is_requested(self) -> bool:
        return (self.run / "requests" / "stop").exists()

    def take_requests(self, own: str | None = None) -> set[str]:
        """The requests since the last call. All processes get the same answer.

        Args:
            own: a request that the first process adds itself.
        """
        found: list[str] = []
        if self.events.active:
            found = [name for name in REQUESTS if (self.run / "requests" / name).exists()]
            found += [own] if own else []
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            found = broadcast_object_list([found])[0]
        if self.events.active:
            for name in found:
                (self.run / "requests" / name).unlink(missing_ok=True)
        return set(found)
