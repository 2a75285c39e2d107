"""A transformer's patch: the square of latent pixels that makes one token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def patch_side(transformer: nn.Module) -> int:
    """Latent pixels per token along a side; 1 if the model does not say."""
    size = getattr(transformer, "patch_size", None) or getattr(transformer, "patch_spatial", 1)
    return int(size[-1] if isinstance(size, Sequence) else size)
