"""References in training: which panels they are in each sample, without noise and without loss."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import torch

from ...references import draw_references, panel_masks
from .plan import Plan


def make_generator(*key: object) -> torch.Generator:
    """Make a generator whose numbers depend only on the key."""
    digest = hashlib.sha256("-".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def remove_loss(result: tuple[Any, ...], given: torch.Tensor, masked: bool) -> tuple[Any, ...]:
    """Remove the loss on the references.

    Args:
        result: prediction, target, timesteps and weighting.
        given: bool [batch, 1, (1,) height, width], True in references.
        masked: whether the batch has loss masks.
    """
    prediction, target, timesteps, weighting = result
    target = torch.where(given, prediction.detach().to(target.dtype), target)
    if not masked:  # the mean covers only the painted part of the batch; loss masks are scaled separately
        weighting = (1.0 if weighting is None else weighting) / (1 - given.float().mean())
    return prediction, target, timesteps, weighting


class References:
    """The references of the current batch."""

    def __init__(self, plan: Plan, generator: torch.Generator) -> None:
        self._plan = plan
        self._generator = generator
        self._latents: Any = None
        self.given: torch.Tensor | None = None  # bool [batch, 1, (1,) height, width]; None if there are none

    def draw(self, latents: torch.Tensor, training: bool) -> None:
        """Draw the references of a batch; validation has none."""
        self._latents = latents
        self.given = self._draw(latents) if training else None

    def _draw(self, latents: torch.Tensor) -> torch.Tensor | None:
        plan = self._plan
        drawn = [
            draw_references(len(plan.panels), plan.references, plan.reference_share, self._generator) for _ in latents
        ]
        if not any(drawn):
            return None
        size = latents.shape[-2:]
        panels = panel_masks(plan.panels, plan.canvas, size)
        masks = torch.stack([panels[list(chosen)].any(0) for chosen in drawn])
        return masks.reshape(len(latents), *[1] * (latents.ndim - 3), *size).to(latents.device)

    def isolated(self, model: Any) -> contextlib.AbstractContextManager[None]:
        """Within the context, the model computes isolated references separately."""
        if self.given is None or not self._plan.isolated:
            return contextlib.nullcontext()
        from .isolation import isolating  # only some models support it

        return isolating(model, self.given)

    def keep_clean(self, noisy: torch.Tensor) -> torch.Tensor:
        """Put the references' clean latents into noisy ones."""
        if self.given is None:
            return noisy
        given, latents = self.given, self._latents.to(noisy.dtype)
        while given.ndim < noisy.ndim:
            given, latents = given.unsqueeze(2), latents.unsqueeze(2)
        return torch.where(given, latents, noisy)

    def finish(self, result: tuple[Any, ...], masked: bool) -> tuple[Any, ...]:
        """Remove the loss on the batch's references and forget them.

        Args:
            result: as for `remove_loss`.
            masked: whether the batch has loss masks.
        """
        given, self.given = self.given, None
        return result if given is None else remove_loss(result, given, masked)
