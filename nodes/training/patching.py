"""A clone of a MODEL whose weights stay in place, and gradient checkpointing of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...incontext.errors import TrainingError
from ..references.isolation import (
    OVERRIDE,
    Pass,
)


def lasting(patcher: Any) -> Any:
    """A clone of the model whose weights stay in place: ComfyUI may load one for an operation only, and the gradient needs it.

    Raises:
        TrainingError: if the model would have to be loaded again, and the node that loaded it does not let ComfyUI do so.
    """
    if not getattr(patcher, "is_dynamic", bool)():  # unknown to ComfyUI 0.3
        return patcher.clone()
    if patcher.cached_patcher_init is None:
        raise TrainingError(
            f"{type(patcher.model).__name__} was loaded by a node that does not let ComfyUI load it again, which training "
            "needs. Load it with Load Diffusion Model or Load Checkpoint, or start ComfyUI with --disable-dynamic-vram."
        )
    return patcher.clone(disable_dynamic=True)


def recomputed(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Gradient checkpointing of a block, which keeps its inputs only and computes again for the gradient.

    The reentrant kind: the other one does not notice when a block overwrites tensors that the gradient needs. Keys
    and values of isolated references go in and out beside the block's own tensors, since gradients flow through them, too.
    """
    count, names = len(inputs), list(named)
    one = (named.get("transformer_options") or {}).get(OVERRIDE)
    one = one if isinstance(one, Pass) else None
    pairs = one.upcoming() if one else []
    position, in_text = (one.position, one.in_text) if one else (0, False)
    own_results = 0
    is_tensor = True

    def run(wanted: Tensor, *values: Any) -> tuple:
        nonlocal own_results, is_tensor
        copies = [value.clone() if isinstance(value, Tensor) else value for value in values]
        own, extra = copies[: count + len(names)], copies[count + len(names) :]

        def block() -> Any:
            return forward(*own[:count], **dict(zip(names, own[count:], strict=True)))

        result, recorded = one.again(position, in_text, extra, block) if one else (block(), [])
        is_tensor = isinstance(result, Tensor)
        results = (result,) if is_tensor else tuple(result)
        own_results = len(results)
        results = (*results, *recorded)
        if torch.is_grad_enabled() and not any(isinstance(each, Tensor) and each.requires_grad for each in results):
            # nothing in this block or before it is trained, but its gradient is asked for, and torch refuses one without a graph
            return tuple(each + 0 * wanted if _is_float(each) else each for each in results)
        return results

    wanted = torch.ones((), requires_grad=True)  # the first block's inputs do not require gradients themselves
    results = checkpoint(run, wanted, *inputs, *named.values(), *pairs, use_reentrant=True)
    if one:
        one.keep(position, results[own_results:])
    return results[0] if is_tensor else tuple(results[:own_results])


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def copied(_module: nn.Module, inputs: tuple) -> tuple | None:
    """Before a norm: FLUX's blocks later add in place to the tensor that the norm's gradient needs."""
    return (inputs[0].clone(), *inputs[1:]) if torch.is_grad_enabled() else None
