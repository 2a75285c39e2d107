"""The state of a training: batches, optimiser, learning rate and moving average, saved and restored exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...incontext.errors import TrainingError
from ..average import MovingAverage
from .adapters import Adapters
from .choices import Schedule
from .items import TrainItem
from .optimisers import make_optimiser
from .settings import TrainSettings

# torch starts at 65,536, which overflows at first and loses a step for each halving; from here it only grows if it can
LOSS_SCALE = 4096.0


class Batches:
    """Endless batches of sets of one size. Within a size every set is seen once before any is seen again."""

    def __init__(self, items: Sequence[TrainItem], batch_size: int, generator: torch.Generator) -> None:
        sizes: dict[tuple[int, ...], list[int]] = {}
        for number, item in enumerate(items):
            sizes.setdefault(tuple(item.latent.shape), []).append(number)
        self._items, self._batch_size, self._generator = items, batch_size, generator
        self._sizes = list(sizes.values())
        self._shares = torch.tensor([float(len(size)) for size in self._sizes])
        self._queues: list[list[int]] = [[] for _ in self._sizes]

    def __iter__(self) -> Iterator[list[TrainItem]]:
        return self

    def __next__(self) -> list[TrainItem]:
        which = 0
        if len(self._sizes) > 1:
            which = int(torch.multinomial(self._shares, 1, generator=self._generator))
        batch: list[TrainItem] = []
        while len(batch) < self._batch_size:
            if not self._queues[which]:
                order = torch.randperm(len(self._sizes[which]), generator=self._generator).tolist()
                self._queues[which] = [self._sizes[which][i] for i in order]
            batch.append(self._items[self._queues[which].pop()])
        return batch

    def state(self) -> list[list[int]]:
        """Indices of the items that are left in the current round, by size."""
        return [list(queue) for queue in self._queues]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Continue from a `state`.

        Raises:
            ValueError: if it belongs to other items.
        """
        known = [set(size) for size in self._sizes]
        if len(state) != len(known) or not all(set(left) <= size for left, size in zip(state, known, strict=True)):
            raise ValueError("it belongs to other sets")
        self._queues = [list(queue) for queue in state]


class Learner:
    """Everything that a step changes.

    Attributes:
        step: number of finished optimiser steps.
        losses: one per step.
        smoothed: their exponential mean; None before the first step.
        generator: source of everything random.
        batches: endless batches of the sets.
    """

    def __init__(
        self,
        settings: TrainSettings,
        items: Sequence[TrainItem],
        adapters: Adapters,
        device: torch.device,
        loss_scaling: bool,
    ) -> None:
        self.step = 0
        self.losses: list[float] = []
        self.smoothed: float | None = None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.batches = Batches(items, settings.batch_size, self.generator)
        self._adapters = adapters
        self._parameters = adapters.parameters()
        self._max_grad_norm = settings.max_grad_norm
        self._optimiser = make_optimiser(settings, self._parameters)
        self._scaler = torch.amp.GradScaler(device.type, init_scale=LOSS_SCALE, enabled=loss_scaling)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: learning_rate_factor(step, settings)
        )
        self._average = MovingAverage(adapters.named_parameters(), settings.ema) if settings.ema else None
        self._drawn: tuple[Tensor, list[list[int]]] | None = None
        self._mark()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._scaler.scale(loss).backward()

    def update(self, loss: float) -> float:
        """Take an optimiser step with the accumulated gradients.

        Args:
            loss: of the step, for the record.

        Returns:
            The learning rate of the step.
        """
        self._drawn = None
        self._scaler.unscale_(self._optimiser)
        if self._max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        rate = float(self._schedule.get_last_lr()[0])
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        if self._scaler.get_scale() >= scale:  # else the scale was too large, and the step was skipped
            self._schedule.step()
            if self._average:
                self._average.update()
        self.step += 1
        self.losses.append(loss)
        self.smoothed = loss if self.smoothed is None else 0.95 * self.smoothed + 0.05 * loss
        self._mark()
        return rate

    def saved_weights(self) -> AbstractContextManager[None]:
        """Within the context, the adapters hold the weights to save: the moving average if there is one."""
        return self._average.applied() if self._average else nullcontext()

    def state(self) -> dict[str, Any] | None:
        """The state after the last complete step, as dicts, lists, numbers and tensors. The next step changes some of them.

        None if an update was interrupted, since it could not be resumed exactly.
        """
        if self._drawn is None:
            return None
        generator, batches = self._drawn
        return {
            "step": self.step,
            "smoothed": self.smoothed,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "layers": self._adapters.layers_state(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state() if self._average else None,
            "generator": generator,
            "batches": batches,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` whose layers the adapters already hold.

        Raises:
            TrainingError: if it belongs to other sets or settings.
        """
        try:
            self.step = int(state["step"])
            self.smoothed = state["smoothed"]
            self.losses = state["losses"].tolist()
            self._optimiser.load_state_dict(state["optimiser"])
            self._schedule.load_state_dict(state["schedule"])
            self._scaler.load_state_dict(state["scaler"])
            if self._average:
                self._average.restore(state["average"])
            self.generator.set_state(state["generator"])
            self.batches.restore(state["batches"])
        except (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                f"The saved state does not match this training ({error}). Continue the last checkpoint in a new training instead."
            ) from error
        self._mark()

    def _mark(self) -> None:
        """Remember the random state, so that resuming an interrupted step draws the same numbers again."""
        self._drawn = self.generator.get_state(), self.batches.state()


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """Factor on the learning rate at a step (from 0): linear warm-up, then constant, or a cosine down to 1 %."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule is Schedule.CONSTANT:
        return 1.0
    length = max(1, settings.steps - settings.warmup_steps)
    progress = min(1.0, (step - settings.warmup_steps) / length)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
