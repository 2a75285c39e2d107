"""How strongly painted panels look at given ones: a bias on the attention of a transformer that sees text and picture.

FLUX, Chroma and SD3 put the text's tokens first, then the picture's in rows, then those of reference latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .errors import PanelError


@dataclass(frozen=True, slots=True)
class Grid:
    """The picture's tokens of one call.

    Attributes:
        rows, columns: of the picture's tokens.
        references: tokens of reference latents, behind the picture's.
    """

    rows: int
    columns: int
    references: int = 0

    @property
    def picture(self) -> int:
        return self.rows * self.columns

    def text_tokens(self, tokens: int) -> int | None:
        """Tokens in front of the picture's, where attention is over ``tokens``; None where it holds no whole picture."""
        text = tokens - self.picture - self.references
        if text >= 0:
            return text
        return 0 if tokens == self.picture else None


def painted_tokens(mask: Tensor, rows: int, columns: int) -> Tensor:
    """bool [rows · columns]: which tokens are painted; the others show something given.

    Args:
        mask: [batch, H, W] with 1 where something is painted; the same for the whole batch.

    Raises:
        PanelError: where masks differ within the batch.
    """
    if len(mask) > 1 and not bool((mask == mask[:1]).all()):
        raise PanelError(
            f"{len(mask)} different masks were given; the strength of attention needs one for the whole batch."
        )
    return (interpolate(mask[None, :1].float(), (rows, columns), mode="area") >= 0.5).flatten()


def reference_bias(painted: Tensor, grid: Grid, tokens: int, strength: float) -> Tensor | None:
    """What is added to the logits of attention so that painted tokens look at given ones ``strength`` times as much.

    Args:
        painted: bool [grid.picture].
        tokens: length of the sequence that attends to itself.
        strength: 1 changes nothing, 0 hides the given panels.

    Returns:
        float32 [tokens, tokens]; None where there is nothing to change.
    """
    text = grid.text_tokens(tokens)
    if text is None or strength == 1 or not bool(painted.any()):
        return None
    kind = torch.zeros(tokens, dtype=torch.int8, device=painted.device)  # 0 text, 1 painted, 2 given
    kind[text : text + grid.picture] = torch.where(painted, 1, 2).to(kind)
    kind[text + grid.picture :] = 2
    if not bool((kind == 2).any()):
        return None
    # a sequence that hides everything from a token would have no answer: painted tokens still see themselves
    value = math.log(strength) if strength > 0 else -math.inf
    bias = torch.zeros(tokens, tokens, device=painted.device)
    return bias.masked_fill_((kind == 1)[:, None] & (kind == 2)[None, :], value)


def with_bias(mask: Tensor | None, bias: Tensor) -> Tensor:
    """An attention mask (bool, or added to the logits) together with a bias [tokens, tokens]."""
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, -math.inf)
    return mask + bias.to(mask)
