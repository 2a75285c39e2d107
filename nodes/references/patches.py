"""A transformer's patch: the square of latent pixels that makes one token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

_NAMES = ("patch_size", "patch_spatial", "patch")  # of most models, of Cosmos and Anima, and of Krea 2


def patch_side(transformer: nn.Module) -> int:
    """Latent pixels per token along a side; 1 if the model does not say."""
    size = next((found for name in _NAMES if (found := getattr(transformer, name, None))), 1)
    return int(size[-1] if isinstance(size, Sequence) else size)
