"""Average several LoRAs into one: checkpoints of one run, or several runs of one task.

A LoRA changes a weight by ``up @ down · alpha / rank``. Averaging ``up`` and ``down`` separately is wrong: the product then
contains mixed terms ``up₁ @ down₂``, and two LoRAs that differ only by a sign in both halves cancel out. So the changes
themselves are averaged. Stacked side by side,

    Σ wᵢ upᵢ downᵢ = [w₁ up₁ … wₙ upₙ] @ [down₁ ; … ; downₙ],

they are exactly a LoRA of the summed rank. A singular value decomposition then reduces it to the wanted rank; no LoRA of
that rank is closer to the average (Eckart and Young).
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
        lora: name → tensor, with the names of the LoRAs that were averaged.
        kept: share of the average's squared norm that fits into its rank; 1 if nothing was lost.
    """

    lora: Mapping[str, Tensor]
    kept: float


@dataclass(frozen=True)
class _Pair:
    """The change of one weight: ``up`` [out, rank] times ``down`` [rank, in]; ``up`` includes the scale."""

    up: Tensor
    down: Tensor
    names: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: torch.dtype


def average(loras: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None, rank: int = 0) -> Average:
    """The weighted average of LoRAs for one model. A layer that a LoRA lacks counts as unchanged by it.

    Args:
        loras: state dicts that name the same layers alike.
        weights: one per LoRA, 0 or more; scaled to a sum of 1. Equal by default.
        rank: of the result; by default, the largest rank that any of the LoRAs has in that layer.

    Raises:
        LoraError: if there are no LoRAs, if one holds anything but low-rank pairs of finite numbers, or if their layers
            differ in size.
    """
    if not loras:
        raise LoraError("There are no LoRAs to average. Name at least one.")
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
        largest = rank or max(pair.down.shape[0] for _, pair in weighted)
        up, down, (size_here, lost_here) = _reduce_rank(
            torch.cat([weight * pair.up for weight, pair in weighted], 1),
            torch.cat([pair.down for _, pair in weighted]),
            largest,
        )
        size, lost = size + size_here, lost + lost_here
        up_shape, down_shape = last.shapes
        new_rank = down.shape[0]
        averaged[last.names[0]] = up.reshape(up_shape[0], new_rank, *up_shape[2:]).to(last.dtype).contiguous()
        averaged[last.names[1]] = down.reshape(new_rank, *down_shape[1:]).to(last.dtype).contiguous()
        averaged[module + _ALPHA] = torch.tensor(float(new_rank))  # alpha / rank is 1: the pair includes the scale
    return Average(averaged, 1.0 - lost / size if size else 1.0)


def recent_weights(steps: Sequence[int], decay: float) -> list[float]:
    """The weights that an exponential moving average over the steps would give to checkpoints; they sum to 1.

    Each checkpoint stands for the steps since the one before it.

    Args:
        steps: of the checkpoints; at least one, rising.
        decay: per step, from 0 to below 1; 0 takes the last checkpoint alone.
    """
    before = [2 * steps[0] - steps[1] if len(steps) > 1 else 0, *steps[:-1]]
    last = steps[-1]
    weights = [decay ** (last - step) - decay ** (last - earlier) for step, earlier in zip(steps, before, strict=True)]
    return [weight / sum(weights) for weight in weights]


def _reduce_rank(up: Tensor, down: Tensor, rank: int) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """The best approximation of ``up @ down`` with at most this rank; each half gets the root of the singular values.

    Returns:
        up, down; the squared norm of the product, and of the part that is lost.
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
        LoraError: if the LoRA holds anything but low-rank pairs of finite numbers and their alpha.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        module, role = module_of(key)
        modules.setdefault(module, {})[role] = value
    found = {}
    for module, roles in modules.items():
        halves = next(((up, down) for up, down in PAIRS if up in roles and down in roles), None)
        others = set(roles) - {*(halves or ()), _ALPHA}
        if halves is None or others:
            what = sorted(others)[0] if any(others) else "a tensor that belongs to no pair"
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
    """Both halves as matrices, [out, rank] and [rank, in]."""
    is_pair = up.ndim > 1 and down.ndim > 1 and up.shape[1] == down.shape[0] and up.numel() and down.numel()
    if not is_pair or up[0, 0].numel() != 1:
        raise LoraError(
            f"The halves of {module} have the shapes {tuple(up.shape)} and {tuple(down.shape)}, which do not belong together. "
            "Get the file again, or leave it out."
        )
    halves = up.detach().cpu().float().flatten(1), down.detach().cpu().float().flatten(1)
    if not all(bool(half.isfinite().all()) for half in halves):
        raise LoraError(
            f"{module} holds numbers that are not finite, as after a training that diverged. Leave this LoRA out, or train "
            "again with a lower learning rate."
        )
    return halves


def _check_sizes(module: str, pairs: Sequence[_Pair]) -> None:
    sizes = {(pair.up.shape[0], pair.down.shape[1]) for pair in pairs}
    if len(sizes) > 1:
        one, other = (f"{out}×{into}" for out, into in sorted(sizes)[:2])
        raise LoraError(
            f"{module} is {one} in one LoRA and {other} in another: they are for different models. Average LoRAs of one "
            "model."
        )
