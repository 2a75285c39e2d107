"""Caption dropout with cached captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def drop_captions(outputs: list[Any], empty: Sequence[Any], share: float, generator: torch.Generator) -> list[Any]:
    """Replace some of a batch's cached captions with the empty caption.

    Args:
        outputs: one entry per text encoder, [batch, …] or None.
        empty: the same entries for the empty caption, [1, …] or None.
        share: probability that a caption is replaced.
    """
    batch = len(next(output for output in outputs if output is not None))
    dropped = (torch.rand(batch, generator=generator) < share).nonzero().flatten().tolist()
    if not dropped:
        return outputs
    replaced = []
    for value, other in zip(outputs, empty, strict=False):
        if value is not None and other is not None and value.shape[2:] == other.shape[2:]:
            value = value.clone()
            value[dropped] = pad_tokens(other, value).to(device=value.device, dtype=value.dtype)
        replaced.append(value)
    return [*replaced, *outputs[len(replaced) :]]


def pad_tokens(value: Any, like: Any) -> Any:
    """Pad [batch, tokens, …] with zeros to the token count of ``like``: some encoders return only the text's own tokens."""
    if value.shape[1:] == like.shape[1:]:
        return value
    return torch.nn.functional.pad(value, (*[0] * 2 * (value.ndim - 2), 0, like.shape[1] - value.shape[1]))
