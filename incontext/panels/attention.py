"""How strongly painted panels attend to given ones, in a transformer that attends to text and picture together.

FLUX, Chroma and SD3 put the text tokens first, then the picture tokens row by row, then those of reference latents.

A constant is added to the logits of painted queries for given keys. Painted queries are computed separately, so the
constant depends on the key alone, and a row [tokens] replaces a [tokens, tokens] matrix. All other queries run through
any attention kernel unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..errors import PanelError
from .box import Box
from .edge import extend_mask_to

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, slots=True)
class Grid:
    """The picture tokens of one forward pass.

    Attributes:
        rows, columns: of picture tokens.
        references: number of reference latents' tokens, which follow the picture tokens.
    """

    rows: int
    columns: int
    references: int = 0

    @property
    def picture(self) -> int:
        return self.rows * self.columns

    def text_tokens(self, tokens: int) -> int | None:
        """Number of text tokens before the picture tokens of a sequence of ``tokens``; None if it does not contain the
        whole picture."""
        text = tokens - self.picture - self.references
        if text >= 0:
            return text
        return 0 if tokens == self.picture else None


@dataclass(frozen=True, slots=True, eq=False)
class TokenGroups:
    """The tokens of an attention in groups.

    Attributes:
        painted: int64 [p], indices of the painted queries.
        others: int64 [queries − p], indices of all other queries.
        key_bias: float32 [keys], added to the logits of painted queries; 0 except for given keys.
        visible: int64 [v], indices of the keys that painted queries attend to; None for all.
    """

    painted: Tensor
    others: Tensor
    key_bias: Tensor
    visible: Tensor | None

    def to(self, device: torch.device) -> TokenGroups:
        visible = None if self.visible is None else self.visible.to(device)
        return TokenGroups(self.painted.to(device), self.others.to(device), self.key_bias.to(device), visible)


def check_same_masks(mask: Tensor) -> None:
    """
    Raises:
        PanelError: if the masks [batch, H, W] of a batch differ.
    """
    if len(mask) > 1 and not bool((mask == mask[:1]).all()):
        raise PanelError(
            f"The batch has {len(mask)} different masks, but the strength of attention needs the same one for all. Connect one "
            "mask, or sample each canvas by itself."
        )


def painted_tokens(mask: Tensor, rows: int, columns: int, *, patch: int = 1, area: Box | None = None) -> Tensor:
    """Which tokens are painted; the others show what was given.

    Args:
        mask: [batch, H, W], 1 where the picture is painted. Only the first is read; see `check_same_masks`.
        rows, columns: size of the whole latent, in latent pixels.
        patch: latent pixels per side of a token.
        area: the part of the latent to return, in latent pixels; None for all of it.

    Returns:
        bool [rows of tokens · columns of tokens].
    """
    shares = interpolate(extend_mask_to(mask[:1].float(), rows, columns)[:, None], (rows, columns), mode="area")
    if area is not None:
        shares = shares[..., area.rows, area.columns]
    shares = pad(shares, (0, -shares.shape[-1] % patch, 0, -shares.shape[-2] % patch), mode="replicate")
    tokens = (shares.shape[-2] // patch, shares.shape[-1] // patch)
    return (interpolate(shares, tokens, mode="area") >= 0.5).flatten()


def token_groups(painted: Tensor, grid: Grid, tokens: int, strength: float) -> TokenGroups | None:
    """The groups with which painted tokens attend to given ones ``strength`` times as strongly.

    Args:
        painted: bool [grid.picture].
        tokens: length of the sequence that attends to itself.
        strength: 1 changes nothing, 0 hides the given panels.

    Returns:
        None if there is nothing to change.
    """
    text = grid.text_tokens(tokens)
    if text is None or strength == 1 or not bool(painted.any()):
        return None
    is_painted = torch.zeros(tokens, dtype=torch.bool)
    is_given = torch.zeros(tokens, dtype=torch.bool)
    is_painted[text : text + grid.picture] = painted
    is_given[text : text + grid.picture] = ~painted
    is_given[text + grid.picture :] = True
    if not bool(is_given.any()):
        return None
    hidden = strength == 0
    return TokenGroups(
        painted=is_painted.nonzero()[:, 0],
        others=(~is_painted).nonzero()[:, 0],
        key_bias=torch.where(is_given, 0.0 if hidden else math.log(strength), 0.0),
        # painted tokens always attend to themselves
        visible=(~is_given).nonzero()[:, 0] if hidden else None,
    )


def grouped_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    groups: TokenGroups,
    *,
    plain: Attention,
    biased: Attention,
    tokens_in: int,
    tokens_out: int,
) -> Tensor:
    """Attention in which painted queries attend more or less to given keys.

    Args:
        q, k, v: of any shape, with tokens in the dimension ``tokens_in``.
        mask: [..., tokens or 1, tokens], bool or added to the logits; None for none.
        groups: of this sequence, on its device.
        plain, biased: attention kernels (q, k, v, mask). ``plain`` gets only rows of ``mask``; ``biased`` also gets the bias.
        tokens_in, tokens_out: dimension of the tokens in the kernels' inputs and in their results.

    Returns:
        Of the shape of ``plain(q, k, v, mask)``.
    """
    rest = plain(q.index_select(tokens_in, groups.others), k, v, _rows(mask, groups.others))
    queries, rows = q.index_select(tokens_in, groups.painted), _rows(mask, groups.painted)
    if groups.visible is None:
        painted = biased(queries, k, v, with_key_bias(rows, groups.key_bias.to(q.dtype)))
    else:
        visible_k, visible_v = (each.index_select(tokens_in, groups.visible) for each in (k, v))
        columns = None if rows is None else rows.index_select(-1, groups.visible)
        painted = biased(queries, visible_k, visible_v, columns)
    shape = list(painted.shape)
    shape[tokens_out] = q.shape[tokens_in]
    result = painted.new_empty(shape)
    result.index_copy_(tokens_out, groups.others, rest)
    return result.index_copy_(tokens_out, groups.painted, painted)


def with_key_bias(mask: Tensor | None, bias: Tensor) -> Tensor:
    """Combine an attention mask [..., queries, keys] (bool, or added to the logits) with a bias [keys] for all queries."""
    if mask is None:
        return bias[None, None, None]  # attention kernels broadcast it without a copy
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, -math.inf)
    return mask + bias.to(mask)


def _rows(mask: Tensor | None, queries: Tensor) -> Tensor | None:
    return mask if mask is None or mask.shape[-2] == 1 else mask.index_select(-2, queries)
