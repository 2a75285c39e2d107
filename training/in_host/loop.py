"""The training loop of the in-host trainer: plain torch, told by functions what it cannot know.

What it is given: encoded sets (`TrainItem`), a `predict` function that runs the model, the model's noise shift, and
hooks for progress and samples. What it guarantees: the same settings and items give the same LoRA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...incontext.errors import TrainingError
from .. import flow
from ..average import MovingAverage
from .adapters import Adapters
from .optimisers import make_optimiser
from .settings import ReferenceKind, Schedule, TrainSettings

VALIDATION_SIGMAS = (0.2, 0.4, 0.6, 0.8)
# torch's own start of 65,536 overflows at first and loses a step for each halving; from here it grows if it can
LOSS_SCALE = 4096.0


@dataclass(frozen=True)
class TrainItem:
    """One set, ready to train on.

    Attributes:
        name: for messages.
        latent: [channels, (frames,) height, width], scaled as the model wants it.
        condition: whatever `Predict` takes for this set's caption.
        panels: bool [panels, height, width], which latent positions belong to which panel.
        weight: [height, width], share of the loss at each position; 0 where a panel is always given.
    """

    name: str
    latent: Tensor
    condition: Any
    panels: Tensor
    weight: Tensor


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

    ``asked`` is called after every step; a checkpoint follows where it says ``save``, and a sample where it says ``sample``.
    """

    step: Callable[[Progress], None]
    validation: Callable[[int, float], None]
    checkpoint: Callable[[int], None]
    sample: Callable[[int], None]
    asked: Callable[[], Collection[str]] = tuple


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
) -> list[float]:
    """Train the adapters in place.

    Args:
        items, validation: sets to learn from, and sets to measure on.
        empty_condition: of the empty caption, for caption dropout.
        references: panels that the dataset always gives; empty lets them be drawn at random.
        shift: the model's map from an even position in its schedule to a noise level.
        loss_scaling: the model computes in fp16, whose small gradients would vanish without it.

    Returns:
        The loss of every step.

    Raises:
        TrainingError: where there is nothing to train on, a layer gets no gradient, or the loss is not a finite number.
    """
    if not items:
        raise TrainingError("There is no set left to train on. Use more sets, or hold fewer out for validation.")
    generator = torch.Generator().manual_seed(settings.seed)
    parameters = adapters.parameters()
    optimiser = make_optimiser(settings, parameters)
    scaler = torch.amp.GradScaler(device.type, init_scale=LOSS_SCALE, enabled=loss_scaling)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, settings))
    average = MovingAverage(adapters.named_parameters(), settings.ema) if settings.ema else None
    batches = draw_batches(items, settings.batch_size, generator)
    losses: list[float] = []
    smoothed: float | None = None
    started = time.monotonic()
    paused = 0.0

    def saved_weights():
        return average.applied() if average else nullcontext()

    def validate(step: int) -> None:
        with saved_weights(), torch.no_grad():
            hooks.validation(step, validation_loss(validation, predict, device, settings.seed))

    if validation and settings.validate_every:
        validate(0)
    learned = saved = 0
    try:
        for step in range(1, settings.steps + 1):
            total = 0.0
            for _ in range(settings.gradient_accumulation):
                batch = next(batches)
                sigmas = flow.draw_sigmas(len(batch), settings.timesteps, shift, generator)
                chosen = [
                    flow.draw_references(len(item.panels), references, settings.drawn_share, generator)
                    for item in batch
                ]
                dropped = torch.rand(len(batch), generator=generator) < settings.caption_dropout
                conditions = [
                    empty_condition if drop else item.condition
                    for item, drop in zip(batch, dropped.tolist(), strict=True)
                ]
                clean = torch.stack([item.latent for item in batch]).to(device, torch.float32)
                noise = torch.randn(clean.shape, generator=generator).to(device)
                given, weight = (mask.to(device) for mask in masks(batch, chosen, clean.ndim))
                noisy = flow.mix(clean, noise, sigmas.to(device), given)
                isolated = given if settings.references is ReferenceKind.ISOLATED and any(chosen) else None
                predicted = predict(noisy, sigmas.to(device), conditions, isolated)
                loss = flow.velocity_loss(predicted, clean, noise, weight) / settings.gradient_accumulation
                scaler.scale(loss).backward()
                total += loss.item()
            if not math.isfinite(total):
                raise TrainingError(
                    f"The loss is {total} at step {step}. Lower the learning rate ({settings.learning_rate:g}), or compute "
                    "in bf16 or fp32; the last checkpoint is kept."
                )
            if step == 1:
                adapters.check_gradients()
            scaler.unscale_(optimiser)
            if settings.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            rate = float(schedule.get_last_lr()[0])
            scale = scaler.get_scale()
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            if scaler.get_scale() >= scale:  # else the scale was too large, and the step was skipped
                schedule.step()
                if average:
                    average.update()
            learned = step
            losses.append(total)
            smoothed = total if smoothed is None else 0.95 * smoothed + 0.05 * total
            seconds = (time.monotonic() - started - paused) / step
            last = step == settings.steps
            pause = time.monotonic()
            hooks.step(Progress(step, settings.steps, total, smoothed, rate, seconds))
            asked = hooks.asked()
            if validation and settings.validate_every and (last or step % settings.validate_every == 0):
                validate(step)
            if "sample" in asked or (settings.sample_every and (last or step % settings.sample_every == 0)):
                with saved_weights():
                    hooks.sample(step)
            if last or "save" in asked or (settings.save_every and step % settings.save_every == 0):
                saved = step
                with saved_weights():
                    hooks.checkpoint(step)
            paused += time.monotonic() - pause
    except TrainingError:
        raise
    except BaseException:  # cancelled, wherever in a step that was: what was learned so far is kept
        if learned > saved:
            with saved_weights():
                hooks.checkpoint(learned)
        raise
    return losses


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """Share of the learning rate at a step (from 0): linear warm-up, then constant or a cosine down to a hundredth."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule is Schedule.CONSTANT:
        return 1.0
    length = max(1, settings.steps - settings.warmup_steps)
    progress = min(1.0, (step - settings.warmup_steps) / length)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def draw_batches(items: Sequence[TrainItem], batch_size: int, generator: torch.Generator) -> Iterator[list[TrainItem]]:
    """Endless batches of sets of one size. Within a size every set is seen once before any is seen again."""
    groups: dict[tuple[int, ...], list[TrainItem]] = {}
    for item in items:
        groups.setdefault(tuple(item.latent.shape), []).append(item)
    sizes = list(groups.values())
    shares = torch.tensor([float(len(group)) for group in sizes])
    queues: list[list[TrainItem]] = [[] for _ in sizes]
    while True:
        which = int(torch.multinomial(shares, 1, generator=generator)) if len(sizes) > 1 else 0
        batch: list[TrainItem] = []
        while len(batch) < batch_size:
            if not queues[which]:
                order = torch.randperm(len(sizes[which]), generator=generator).tolist()
                queues[which] = [sizes[which][i] for i in order]
            batch.append(queues[which].pop())
        yield batch


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
    generator = torch.Generator().manual_seed(seed + 1)
    losses: list[float] = []
    for item in items:
        clean = item.latent[None].to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        _, weight = masks([item], [()], clean.ndim)
        for level in VALIDATION_SIGMAS:
            sigmas = torch.tensor([level], device=device)
            predicted = predict(flow.mix(clean, noise, sigmas), sigmas, [item.condition])
            losses.append(flow.velocity_loss(predicted, clean, noise, weight.to(device)).item())
    return sum(losses) / len(losses)
