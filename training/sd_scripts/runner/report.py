"""Reports the loss, speed, memory and validation of a training as events."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from ...peak_memory import peak_memory, reset_peak_memory
from .errors import JobError
from .training import Training

SMOOTHING = 0.95  # decay of the smoothed loss
VALIDATION_LEVELS = 4  # the checkout validates each batch at this many noise levels, one after the other


class Report:
    """Collects the losses and times of the batches and writes one event per optimiser step."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._losses: list[Any] = []
        self._validation: list[float] = []
        self._smoothed: float | None = None
        self._began = time.monotonic()
        self._paused = 0.0
        self.scheduler: Any = None  # learning rate scheduler

    def begin(self) -> None:
        """Start the clock, before the first step."""
        reset_peak_memory()
        self._training.events.enter("training")
        self._began = time.monotonic()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Within the context, time does not count as training."""
        began = time.monotonic()
        yield
        self._paused += time.monotonic() - began

    def add_loss(self, loss: Any) -> None:
        """Add the loss of one batch; an optimiser step may have several."""
        self._losses.append(loss.detach())

    def write_step(self) -> None:
        """Write the event of an optimiser step.

        Raises:
            JobError: if the loss is not finite.
        """
        training, steps = self._training, self._training.plan.steps
        loss = float(sum(self._losses) / max(1, len(self._losses)))
        self._losses.clear()
        if not math.isfinite(loss):
            raise JobError(
                f"The loss is {loss} at step {training.step}. Lower the learning rate, or choose another precision or model "
                "file. The last checkpoint is kept."
            )
        self._smoothed = loss if self._smoothed is None else SMOOTHING * self._smoothed + (1 - SMOOTHING) * loss
        seconds = (time.monotonic() - self._began - self._paused) / (training.step - training.plan.first_step)
        training.events(
            "step",
            step=training.step,
            steps=steps,
            loss=round(loss, 6),
            smoothed=round(self._smoothed, 6),
            learning_rate=self.scheduler.get_last_lr()[0] if self.scheduler is not None else 0.0,
            seconds_per_step=round(seconds, 4),
            seconds_left=round((steps - training.step) * seconds, 1),
            memory=peak_memory(),
        )

    @property
    def is_validating(self) -> bool:
        return bool(self._validation)

    def add_validation(self, loss: float) -> None:
        self._validation.append(loss)

    def write_validation(self) -> None:
        """Write the losses of a finished validation, if there was one: the mean, and one loss per held-out batch."""
        if self._validation:
            mean = sum(self._validation) / len(self._validation)
            batches = zip(*[iter(self._validation)] * VALIDATION_LEVELS, strict=False)
            each = [round(sum(batch) / VALIDATION_LEVELS, 6) for batch in batches]
            self._training.events("validation", step=self._training.step, loss=round(mean, 6), each=each)
            self._validation.clear()
            self._training.events.enter("saving" if self._training.is_over else "training")
