"""One LoRA that is the average of several, as checkpoints of one training or trainings of one task.

A LoRA changes a weight by ``up @ down · alpha / rank``. The average of the changes is not the product of the averages: from
``up`` and ``down`` of two trainings, the mixed terms ``up₁ @ down₂`` would be computed as well, and two LoRAs that differ
only by a sign in both halves would cancel each other out. So the changes themselves are averaged. Side by side,

    Σ wᵢ upᵢ downᵢ = [w₁ up₁ … wₙ upₙ] @ [down₁ ; … ; downₙ],

the average is a LoRA of the summed rank, exactly. Its singular values then say which directions count most, and as many
are kept as the LoRA's rank allows: no LoRA of that rank is closer to the average (Eckart and Young).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LoraError
from .keys import PAIRS, module_of

_ALPHA = ".alpha"


@dataclass(frozen=True)
class Average:
    """An averaged LoRA.

    Attributes:
        lora: name → tensor, named as in the LoRAs it comes of.
        kept: share of the average's squared size that its rank could hold; 1 where nothing was lost.
    """

    lora: Mapping[str, Tensor]
    kept: float


@dataclass(frozen=True)
class _Pair:
    """A change of one weight: ``up`` [out, rank] times ``down`` [rank, in], the scale included in ``up``."""

    up: Tensor
    down: Tensor
    names: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: torch.dtype


def average(loras: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None, rank: int = 0) -> Average:
    """The weighted average of LoRAs of one model; what one of them does not change counts as no change in it.

    Args:
        loras: with the same names for the same layers.
        weights: of each, scaled to a sum of 1; equal by default.
        rank: of the result; by default, per layer, the largest of the LoRAs.

    Raises:
        LoraError: where there is none, they hold anything but low-rank pairs, or their layers differ in size.
    """
    if not loras:
        raise LoraError("There is no LoRA to average. Name at least one.")
    given = [1.0] * len(loras) if weights is None else list(weights)
    total = sum(given)
    if len(given) != len(loras) or min(given) < 0 or not 0 < total < math.inf:
        raise LoraError(
            f"The weights are {given} for {len(loras)} LoRAs. Give each a weight of 0 or more, not all of them 0."
        )
    parts: dict[str, list[tuple[float, _Pair]]] = {}
    for weight, lora in zip(given, loras, strict=True):
        for module, pair in _pairs(lora).items():
            parts.setdefault(module, []).append((weight / total, pair))
    if len(loras) > 1 and not any(len(weighted) == len(loras) for weighted in parts.values()):
        raise LoraError(
            "The LoRAs have no layer in common, or name their layers differently. Average LoRAs of one trainer and one model."
        )
    averaged: dict[str, Tensor] = {}
    size = lost = 0.0
    for module, weighted in parts.items():
        _check_sizes(module, [pair for _, pair in weighted])
        last = weighted[-1][1]
        most = rank or max(pair.down.shape[0] for _, pair in weighted)
        up, down, left = _shortened(
            torch.cat([weight * pair.up for weight, pair in weighted], 1),
            torch.cat([pair.down for _, pair in weighted]),
            most,
        )
        size, lost = size + left[0], lost + left[1]
        up_shape, down_shape = last.shapes
        kept = down.shape[0]
        averaged[last.names[0]] = up.reshape(up_shape[0], kept, *up_shape[2:]).to(last.dtype).contiguous()
        averaged[last.names[1]] = down.reshape(kept, *down_shape[1:]).to(last.dtype).contiguous()
        averaged[module + _ALPHA] = torch.tensor(float(kept))  # the scale is in the pair
    return Average(averaged, 1.0 - lost / size if size else 1.0)


def recent_weights(steps: Sequence[int], decay: float) -> list[float]:
    """Weights of checkpoints as an exponential moving average over the steps would give them, summing to 1.

    Each checkpoint stands for the steps since the one before it.

    Args:
        steps: of the checkpoints, rising.
        decay: per step, between 0 and 1; 0 takes the last checkpoint alone.
    """
    before = [2 * steps[0] - steps[1] if len(steps) > 1 else 0, *steps[:-1]]
    last = steps[-1]
    made = [decay ** (last - step) - decay ** (last - earlier) for step, earlier in zip(steps, before, strict=True)]
    return [weight / sum(made) for weight in made]


def _shortened(up: Tensor, down: Tensor, rank: int) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """The product's best approximation of a rank, with equal shares of each singular value in both halves.

    Returns:
        up, down; the squared size of the product, and of what is lost of it.
    """
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(r_up @ r_down.T)  # no larger than the summed rank
    kept = min(rank, len(values))
    root = values[:kept].sqrt()
    squared = values.square()
    sizes = float(squared.sum()), float(squared[kept:].sum())
    return q_up @ left[:, :kept] * root, (root[:, None] * right[:kept]) @ q_down.T, sizes


def _pairs(lora: Mapping[str, Tensor]) -> dict[str, _Pair]:
    """Module → its change, in float32 on the CPU.

    Raises:
        LoraError: where the LoRA holds something else than low-rank pairs and their alpha.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        module, role = module_of(key)
        modules.setdefault(module, {})[role] = value
    found = {}
    for module, roles in modules.items():
        halves = next(((up, down) for up, down in PAIRS if up in roles and down in roles), None)
        strange = set(roles) - {*(halves or ()), _ALPHA}
        if halves is None or strange:
            what = sorted(strange)[0] if any(strange) else "a tensor that belongs to no pair"
            raise LoraError(f"{module} holds {what}; only plain LoRA, with an up and a down half, can be averaged.")
        up, down = roles[halves[0]], roles[halves[1]]
        flat = _flat(module, up, down)
        scale = float(roles[_ALPHA]) / down.shape[0] if _ALPHA in roles else 1.0
        names = module + halves[0], module + halves[1]
        found[module] = _Pair(flat[0] * scale, flat[1], names, (tuple(up.shape), tuple(down.shape)), up.dtype)
    if not found:
        raise LoraError("A LoRA to average holds no tensors. Choose another file.")
    return found


def _flat(module: str, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    if up.ndim < 2 or down.ndim < 2 or up.shape[1] != down.shape[0] or up[0, 0].numel() != 1:
        raise LoraError(
            f"{module} has halves of {tuple(up.shape)} and {tuple(down.shape)}, which do not belong together. Get the file "
            "again, or leave it out."
        )
    return up.detach().cpu().float().flatten(1), down.detach().cpu().float().flatten(1)


def _check_sizes(module: str, pairs: Sequence[_Pair]) -> None:
    sizes = {(pair.up.shape[0], pair.down.shape[1]) for pair in pairs}
    if len(sizes) > 1:
        one, other = (f"{out}×{into}" for out, into in sorted(sizes)[:2])
        raise LoraError(
            f"{module} is {one} in one LoRA and {other} in another: they are for different models. Average LoRAs of one "
            "model."
        )
