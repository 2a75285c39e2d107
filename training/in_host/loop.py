"""The training loop of the in-host trainer, in plain torch without ComfyUI.

It gets encoded sets (`TrainItem`), a `predict` function that runs the model, the model's noise shift, and hooks for
progress and samples. The same settings and items give the same LoRA, even if the training is stopped and resumed.
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
from ..choices import ReferenceKind
from ..references import draw_references
from . import flow
from .adapters import Adapters
from .items import TrainItem
from .learner import Learner
from .settings import TrainSettings

VALIDATION_SIGMAS = (0.2, 0.4, 0.6, 0.8)


class Predict(Protocol):
    """Noisy latents [batch, …], noise levels [batch] and one condition per sample → velocity [batch, …].

    ``isolated`` is bool [batch, 1, (1,) height, width], True where isolated references are; None without them.
    """

    def __call__(
        self, noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Progress:
    """Progress after an optimiser step. Times are in seconds."""

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
    """Functions that the loop calls. Any of them, or the model, may raise to cancel the training.

    Attributes:
        step: called after every step.
        validation: gets the step and the loss of each held-out set. The adapters hold the weights to save.
        checkpoint, sample: get the step. The adapters hold the weights to save.
        asked: called after every step; returns ``save`` for a checkpoint and ``sample`` for a sample.
        state: called after every checkpoint but the last, with the step and the state that `train` takes as ``resumed``.
            The adapters hold the raw weights.
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
    noise_scale: float = 1.0,
    resumed: Mapping[str, Any] | None = None,
) -> list[float]:
    """Train the adapters in place.

    Args:
        items: sets to train on.
        validation: held-out sets to measure the loss on.
        adapters: LoRA layers, attached to the model.
        predict: runs the model.
        empty_condition: of the empty caption, for caption dropout.
        references: indices of panels that the dataset always gives; empty to draw them at random.
        shift: the model's map from a position in its schedule, 0…1, to a noise level.
        device: the model's.
        loss_scaling: for models that compute in fp16, whose small gradients would otherwise vanish.
        noise_scale: standard deviation of the noise that the model starts from.
        resumed: a state that ``hooks.state`` received from a training with the same settings and items. The adapters
            already hold its layers.

    Returns:
        The loss of every step.

    Raises:
        TrainingError: if there is nothing to train on, a layer gets no gradient, the loss is not finite, or the resumed
            state belongs to another training.
    """
    if not items:
        raise TrainingError("No set is left to train on. Hold out fewer for validation, or build a larger dataset.")
    learner = Learner(settings, items, adapters, device, loss_scaling)
    if resumed is not None:
        learner.restore(resumed)
    first = saved = learner.step
    started = time.monotonic()
    paused = 0.0

    def validate() -> None:
        with learner.saved_weights(), torch.no_grad():
            losses = held_out_losses(validation, predict, device, settings.seed, noise_scale)
            hooks.validation(learner.step, losses)

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
                loss = _batch_loss(settings, learner, predict, empty_condition, references, shift, device, noise_scale)
                learner.backward(loss)
                total += loss.item()
            if not math.isfinite(total):
                raise TrainingError(
                    f"The loss is {total} at step {learner.step + 1}. Lower the learning rate ({settings.learning_rate:g}), or "
                    "compute in bf16 or fp32. The last checkpoint is kept."
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
    except BaseException:  # cancelled anywhere in a step: keep what was learned so far
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
    noise_scale: float,
) -> Tensor:
    """Loss of the next batch, divided by the number of batches per step."""
    generator = learner.generator
    batch = next(learner.batches)
    sigmas = flow.draw_sigmas(len(batch), settings.timesteps, shift, generator)
    chosen = [draw_references(len(item.panels), references, settings.drawn_share, generator) for item in batch]
    dropped = torch.rand(len(batch), generator=generator) < settings.caption_dropout
    conditions = [
        empty_condition if drop else item.condition for item, drop in zip(batch, dropped.tolist(), strict=True)
    ]
    clean = torch.stack([item.latent for item in batch]).to(device, torch.float32)
    noise = torch.randn(clean.shape, generator=generator).to(device) * noise_scale
    given, weight = (mask.to(device) for mask in masks(batch, chosen, clean.ndim))
    noisy = flow.mix(clean, noise, sigmas.to(device), given)
    isolated = given if settings.references is ReferenceKind.ISOLATED and any(chosen) else None
    predicted = predict(noisy, sigmas.to(device), conditions, isolated)
    return flow.velocity_loss(predicted, clean, noise, weight) / settings.gradient_accumulation


def masks(batch: Sequence[TrainItem], chosen: Sequence[Sequence[int]], ndim: int) -> tuple[Tensor, Tensor]:
    """Masks of the reference panels (bool) and weights of the loss (float), both [batch, 1, (1,) height, width].

    Args:
        batch: sets of one size.
        chosen: indices of each sample's reference panels.
        ndim: number of dimensions of a batch of latents.
    """
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
    """Mean of `held_out_losses`."""
    losses = held_out_losses(items, predict, device, seed)
    return sum(losses) / len(losses)


def held_out_losses(
    items: Sequence[TrainItem], predict: Predict, device: torch.device, seed: int, noise_scale: float = 1.0
) -> list[float]:
    """Loss of each set, a mean over fixed noise levels with fixed noise, so that steps and trainings can be compared.

    Args:
        seed: of the noise.
        noise_scale: standard deviation of the noise.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    losses: list[float] = []
    for item in items:
        clean = item.latent[None].to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=generator).to(device) * noise_scale
        _, weight = masks([item], [()], clean.ndim)
        total = 0.0
        for level in VALIDATION_SIGMAS:
            sigmas = torch.tensor([level], device=device)
            predicted = predict(flow.mix(clean, noise, sigmas), sigmas, [item.condition])
            total += flow.velocity_loss(predicted, clean, noise, weight.to(device)).item()
        losses.append(total / len(VALIDATION_SIGMAS))
    return losses
