"""How strongly painted panels look at given ones, in the attention of a transformer that sees text and picture.

FLUX, Chroma and SD3 put the text tokens first, then the picture tokens in rows, then those of reference latents.

Painted tokens get a constant on their logits for given keys. It depends on the key alone once the painted queries are
taken apart, so no [tokens, tokens] matrix is needed: all other queries run through any attention kernel unchanged, and
the painted ones through one that adds a row [tokens] to its logits.
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
from .edge import extended_to

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, slots=True)
class Grid:
    """The picture's tokens of one call.

    Attributes:
        rows, columns: of the picture's tokens.
        references: tokens of reference latents, after the picture's.
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
    """Queries and keys of an attention, told apart.

    Attributes:
        painted: int64 [p], queries of painted tokens.
        others: int64 [queries − p].
        key_bias: float32 [keys], what painted queries add to their logits; 0 except for given keys.
        visible: int64 [v], the keys that painted queries see; None if they see all.
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
    """Which tokens are painted; the others show something given.

    Args:
        mask: [batch, H, W] with 1 where something is painted; the first one counts, see `check_same_masks`.
        rows, columns: latent pixels of the whole picture.
        patch: latent pixels per token, on each side.
        area: the part of the latent that is looked at, in latent pixels; None for the whole.

    Returns:
        bool [rows of tokens · columns of tokens].
    """
    shares = interpolate(extended_to(mask[:1].float(), rows, columns)[:, None], (rows, columns), mode="area")
    if area is not None:
        shares = shares[..., area.rows, area.columns]
    shares = pad(shares, (0, -shares.shape[-1] % patch, 0, -shares.shape[-2] % patch), mode="replicate")
    tokens = (shares.shape[-2] // patch, shares.shape[-1] // patch)
    return (interpolate(shares, tokens, mode="area") >= 0.5).flatten()


def token_groups(painted: Tensor, grid: Grid, tokens: int, strength: float) -> TokenGroups | None:
    """How painted tokens look at given ones ``strength`` times as much.

    Args:
        painted: bool [grid.picture].
        tokens: length of the sequence that attends to itself.
        strength: 1 changes nothing, 0 hides the given panels.

    Returns:
        None where there is nothing to change.
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
        # painted tokens always see themselves
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
    """Attention in which painted queries look more or less at given keys.

    Args:
        q, k, v: of any shape with tokens in the dimension ``tokens_in``.
        mask: [..., tokens or 1, tokens], bool or added to the logits; None for none.
        groups: of this sequence, on its device.
        plain, biased: attention as (q, k, v, mask); only the second one gets a mask that ``mask`` does not hold.
        tokens_in, tokens_out: the tokens' dimension, in the inputs and in the results of ``plain`` and ``biased``.

    Returns:
        Of the shape that ``plain(q, k, v, mask)`` has.
    """
    rest = plain(q.index_select(tokens_in, groups.others), k, v, _rows(mask, groups.others))
    queries, rows = q.index_select(tokens_in, groups.painted), _rows(mask, groups.painted)
    if groups.visible is None:
        looking = biased(queries, k, v, with_key_bias(rows, groups.key_bias.to(q.dtype)))
    else:
        seen = [each.index_select(tokens_in, groups.visible) for each in (k, v)]
        columns = None if rows is None else rows.index_select(-1, groups.visible)
        looking = biased(queries, seen[0], seen[1], columns)
    shape = list(looking.shape)
    shape[tokens_out] = q.shape[tokens_in]
    result = looking.new_empty(shape)
    result.index_copy_(tokens_out, groups.others, rest)
    return result.index_copy_(tokens_out, groups.painted, looking)


def with_key_bias(mask: Tensor | None, bias: Tensor) -> Tensor:
    """An attention mask [..., queries, keys] (bool, or added to the logits) together with a bias [keys] for all queries."""
    if mask is None:
        return bias[None, None, None]  # attention kernels repeat it without a copy
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, -math.inf)
    return mask + bias.to(mask)


def _rows(mask: Tensor | None, queries: Tensor) -> Tensor | None:
    return mask if mask is None or mask.shape[-2] == 1 else mask.index_select(-2, queries)
