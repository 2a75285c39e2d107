"""The arithmetic of flow-matching training: noise levels, mixing, the loss. Pure functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .choices import Timesteps


def draw_sigmas(count: int, kind: Timesteps, shift: Callable[[float], float], generator: torch.Generator) -> Tensor:
    """Noise levels float32 [count] in (0, 1): 0 is clean, 1 is noise.

    Args:
        count: number of samples.
        kind: the distribution to draw from.
        shift: the model's own map from a position in its schedule, 0…1, to a noise level, e.g. ``3u / (1 + 2u)`` for SD3;
            not used for `Timesteps.SIGMOID`.
        generator: source of the random numbers.
    """
    if kind is Timesteps.UNIFORM:
        positions = torch.rand(count, generator=generator).clamp(min=1e-4)  # a velocity at 0 would divide by it
    else:
        positions = torch.sigmoid(torch.randn(count, generator=generator))
    if kind is Timesteps.SIGMOID:
        return positions
    return torch.tensor([shift(position) for position in positions.tolist()])


def mix(clean: Tensor, noise: Tensor, sigmas: Tensor, reference: Tensor | None = None) -> Tensor:
    """Noisy latents ``(1 - sigma) clean + sigma noise``, clean where ``reference`` is True.

    Args:
        clean, noise: [batch, channels, (frames,) height, width].
        sigmas: [batch].
        reference: bool, broadcastable to the latents.
    """
    noisy = torch.lerp(clean, noise, per_sample(sigmas, clean))
    return noisy if reference is None else torch.where(reference, clean, noisy)


def velocity(noisy: Tensor, denoised: Tensor, sigmas: Tensor) -> Tensor:
    """The velocity ``noise - clean`` that follows from a denoised prediction.

    Args:
        noisy, denoised: latents [batch, …].
        sigmas: [batch], more than 0.
    """
    return (noisy - denoised) / per_sample(sigmas, noisy)


def velocity_loss(predicted: Tensor, clean: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean square of ``predicted - (noise - clean)``. Positions with a weight of 0 do not count.

    Args:
        predicted, clean, noise: [batch, channels, (frames,) height, width].
        weight: [batch, 1, (1,) height, width], 0…1.
    """
    error = (predicted.float() - (noise - clean)).square()
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[batch] → [batch, 1, …] with as many dimensions as ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like)
