"""The training loop of the in-host trainer: plain torch, told by functions what it cannot know.

It gets encoded sets (`TrainItem`), a `predict` function that runs the model, the model's noise shift, and hooks for
progress and samples. The same settings and items give the same LoRA, whether the training runs in one go or is stopped and
resumed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...incontext.errors import TrainingError
from ..references import ReferenceKind, draw_references
from . import flow
from .adapters import Adapters
from .items import TrainItem
from .learner import Learner
from .settings import TrainSettings

VALIDATION_SIGMAS = (0.2, 0.4, 0.6, 0.8)


class Predict(Protocol):
    """Noisy latents [batch, …], noise levels [batch] and one condition per sample → velocity [batch, …].

    ``isolated`` is bool [batch, 1, (1,) height, width]: where isolated references are.
    """

    def __call__(
        self, noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Progress:
    """One optimiser step, for whoever watches."""

    step: int
    steps: int
    loss: float
    smoothed: float
    learning_rate: float
    seconds_per_step: float

    @property
    def seconds_left(self) -> float:
        return (self.steps - self.step) * self.seconds_per_step


@dataclass(frozen=True)
class Hooks:
    """What the loop calls, with the weights in place that would be saved. Any of them, or the model, may raise to cancel.

    ``validation`` gets the loss of each held-out set. ``asked`` is called after every step; a checkpoint follows where it
    says ``save``, and a sample where it says ``sample``. ``state`` is called after every checkpoint but the last, with what
    `train` takes as ``resumed``; the raw weights are in place then.
    """

    step: Callable[[Progress], None]
    validation: Callable[[int, Sequence[float]], None]
    checkpoint: Callable[[int], None]
    sample: Callable[[int], None]
    asked: Callable[[], Collection[str]] = tuple
    state: Callable[[int, Mapping[str, Any]], None] = lambda step, state: None


def train(
    settings: TrainSettings,
    items: Sequence[TrainItem],
    validation: Sequence[TrainItem],
    adapters: Adapters,
    predict: Predict,
    *,
    empty_condition: Any,
    references: Sequence[int],
    shift: Callable[[float], float],
    device: torch.device,
    hooks: Hooks,
    loss_scaling: bool = False,
    resumed: Mapping[str, Any] | None = None,
) -> list[float]:
    """Train the adapters in place.

    Args:
        items, validation: sets to learn from, and sets to measure on.
        empty_condition: of the empty caption, for caption dropout.
        references: panels that the dataset always gives; empty lets them be drawn at random.
        shift: the model's map from an even position in its schedule to a noise level.
        loss_scaling: the model computes in fp16, whose small gradients would vanish without it.
        resumed: a state that ``hooks.state`` was given by a training with the same settings and items; the adapters hold its
            layers already.

    Returns:
        The loss of every step.

    Raises:
        TrainingError: where there is nothing to train on, a layer gets no gradient, the loss is not a finite number, or the
            resumed state belongs to another training.
    """
    if not items:
        raise TrainingError("There is no set left to train on. Use more sets, or hold fewer out for validation.")
    learner = Learner(settings, items, adapters, device, loss_scaling)
    if resumed is not None:
        learner.restore(resumed)
    first = saved = learner.step
    started = time.monotonic()
    paused = 0.0

    def validate() -> None:
        with learner.saved_weights(), torch.no_grad():
            hooks.validation(learner.step, held_out_losses(validation, predict, device, settings.seed))

    def save(*, is_over: bool = False) -> None:
        nonlocal saved
        saved = learner.step
        with learner.saved_weights():
            hooks.checkpoint(learner.step)
        if not is_over and (state := learner.state()) is not None:
            hooks.state(learner.step, state)

    def is_due(every: int) -> bool:
        return bool(every) and (learner.step == settings.steps or learner.step % every == 0)

    if validation and settings.validate_every and not learner.step:
        validate()
    try:
        while learner.step < settings.steps:
            total = 0.0
            for _ in range(settings.gradient_accumulation):
                loss = _batch_loss(settings, learner, predict, empty_condition, references, shift, device)
                learner.backward(loss)
                total += loss.item()
            if not math.isfinite(total):
                raise TrainingError(
                    f"The loss is {total} at step {learner.step + 1}. Lower the learning rate ({settings.learning_rate:g}), or "
                    "compute in bf16 or fp32; the last checkpoint is kept."
                )
            if learner.step == first:
                adapters.check_gradients()
            rate = learner.update(total)
            step = learner.step
            pause = time.monotonic()
            seconds = (pause - started - paused) / (step - first)
            hooks.step(Progress(step, settings.steps, total, learner.smoothed or 0.0, rate, seconds))
            asked = hooks.asked()
            if validation and is_due(settings.validate_every):
                validate()
            if "sample" in asked or is_due(settings.sample_every):
                with learner.saved_weights():
                    hooks.sample(step)
            if step == settings.steps or "save" in asked or is_due(settings.save_every):
                save(is_over=step == settings.steps)
            paused += time.monotonic() - pause
    except TrainingError:
        raise
    except BaseException:  # cancelled, wherever in a step that was: what was learned so far is kept
        if learner.step > saved:
            save()
        raise
    return learner.losses


def _batch_loss(
    settings: TrainSettings,
    learner: Learner,
    predict: Predict,
    empty_condition: Any,
    references: Sequence[int],
    shift: Callable[[float], float],
    device: torch.device,
) -> Tensor:
    """Loss of the next batch, as its share of a step."""
    generator = learner.generator
    batch = next(learner.batches)
    sigmas = flow.draw_sigmas(len(batch), settings.timesteps, shift, generator)
    chosen = [draw_references(len(item.panels), references, settings.drawn_share, generator) for item in batch]
    dropped = torch.rand(len(batch), generator=generator) < settings.caption_dropout
    conditions = [
        empty_condition if drop else item.condition for item, drop in zip(batch, dropped.tolist(), strict=True)
    ]
    clean = torch.stack([item.latent for item in batch]).to(device, torch.float32)
    noise = torch.randn(clean.shape, generator=generator).to(device)
    given, weight = (mask.to(device) for mask in masks(batch, chosen, clean.ndim))
    noisy = flow.mix(clean, noise, sigmas.to(device), given)
    isolated = given if settings.references is ReferenceKind.ISOLATED and any(chosen) else None
    predicted = predict(noisy, sigmas.to(device), conditions, isolated)
    return flow.velocity_loss(predicted, clean, noise, weight) / settings.gradient_accumulation


def masks(batch: Sequence[TrainItem], chosen: Sequence[Sequence[int]], ndim: int) -> tuple[Tensor, Tensor]:
    """What enters without noise (bool) and what the loss counts, both [batch, 1, (1,) height, width]."""
    given = torch.stack(
        [
            item.panels[list(panels)].any(0) if panels else torch.zeros_like(item.panels[0])
            for item, panels in zip(batch, chosen, strict=True)
        ]
    )
    weight = torch.stack([item.weight for item in batch]) * (~given)
    shape = (len(batch), *[1] * (ndim - 3), *given.shape[-2:])
    return given.reshape(shape), weight.reshape(shape)


def validation_loss(items: Sequence[TrainItem], predict: Predict, device: torch.device, seed: int) -> float:
    """Mean loss over the sets at fixed noise and noise levels, so that two steps can be compared."""
    losses = held_out_losses(items, predict, device, seed)
    return sum(losses) / len(losses)


def held_out_losses(items: Sequence[TrainItem], predict: Predict, device: torch.device, seed: int) -> list[float]:
    """Loss of each set, the mean over fixed noise levels with fixed noise: equal for equal weights, whatever was trained."""
    generator = torch.Generator().manual_seed(seed + 1)
    losses: list[float] = []
    for item in items:
        clean = item.latent[None].to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        _, weight = masks([item], [()], clean.ndim)
        total = 0.0
        for level in VALIDATION_SIGMAS:
            sigmas = torch.tensor([level], device=device)
            predicted = predict(flow.mix(clean, noise, sigmas), sigmas, [item.condition])
            total += flow.velocity_loss(predicted, clean, noise, weight.to(device)).item()
        losses.append(total / len(VALIDATION_SIGMAS))
    return losses
