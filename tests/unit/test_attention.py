"""Painted panels look more or less at given ones, without a matrix over all pairs of tokens."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.attention import (
    Grid,
    check_same_masks,
    grouped_attention,
    painted_tokens,
    token_groups,
    with_key_bias,
)
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.edge import extend_mask
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def full_bias(is_painted: Tensor, is_given: Tensor, strength: float) -> Tensor:
    """The same as a matrix: log of the strength for painted queries and given keys."""
    bias = torch.zeros(len(is_painted), len(is_painted))
    bias[is_painted[:, None] & is_given[None]] = math.log(strength) if strength else -math.inf
    return bias


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 9),
    st.integers(0, 7),
    st.sampled_from([0.0, 0.5, 1.3, 4.0]),
    st.sampled_from(["none", "bool", "float", "row"]),
    st.integers(0, 999),
)
def test_painted_tokens_look_that_many_times_as_much_at_given_ones(
    rows: int, columns: int, text: int, references: int, strength: float, kind: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    painted = torch.rand(rows * columns, generator=generator) < 0.5
    grid = Grid(rows, columns, references)
    tokens = text + grid.picture + references
    groups = token_groups(painted, grid, tokens, strength)
    is_painted = torch.cat([torch.zeros(text), painted, torch.zeros(references)]).bool()
    is_given = torch.cat([torch.zeros(text), ~painted, torch.ones(references)]).bool()
    if not is_painted.any() or not is_given.any():
        assert groups is None
        return
    assert groups is not None
    q, k, v = torch.randn(3, 2, 3, tokens, 4, generator=generator)
    allowed = (torch.rand(1, 1, tokens, tokens, generator=generator) < 0.7) | torch.eye(tokens).bool()
    added = torch.randn(2, 1, tokens, tokens, generator=generator)
    masks: dict[str, Tensor | None] = {"none": None, "bool": allowed, "float": added, "row": added[:, :, :1]}
    mask = masks[kind]
    whole = full_bias(is_painted, is_given, strength)
    if mask is not None:
        whole = torch.where(mask, whole, -math.inf) if mask.dtype == torch.bool else mask + whole
    expected = scaled_dot_product_attention(q, k, v, attn_mask=whole)
    result = grouped_attention(q, k, v, mask, groups, plain=sdpa, biased=sdpa, tokens_in=2, tokens_out=2)
    assert torch.allclose(result, expected, atol=1e-5)


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)


def test_nothing_of_the_size_of_all_pairs_is_made() -> None:
    """At FLUX's 512 + 6,144 tokens a matrix of all pairs would be 85 MB in bf16, for each kept size."""
    painted = torch.arange(6144) % 96 >= 32
    groups = token_groups(painted, Grid(64, 96), 512 + 6144, 1.3)
    assert groups is not None
    assert groups.painted.numel() + groups.others.numel() + groups.key_bias.numel() == 2 * 6656
    seen: list[tuple[int, ...]] = []

    def look(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        seen.append((q.shape[2], k.shape[2], 0 if mask is None else mask.numel()))
        return q

    q = torch.zeros(1, 1, 6656, 1)
    grouped_attention(q, q, q, None, groups, plain=look, biased=look, tokens_in=2, tokens_out=2)
    assert seen == [(512 + 2048, 6656, 0), (4096, 6656, 6656)]
    hidden = token_groups(painted, Grid(64, 96), 512 + 6144, 0.0)
    assert hidden is not None
    seen.clear()
    grouped_attention(q, q, q, None, hidden, plain=look, biased=look, tokens_in=2, tokens_out=2)
    assert seen[1] == (4096, 6656 - 2048, 0)


def test_strength_one_changes_nothing() -> None:
    assert token_groups(torch.tensor([True, False]), Grid(1, 2), 5, 1.0) is None


@pytest.mark.parametrize(("tokens", "text"), [(10, 4), (6, 0), (5, None)])
def test_text_comes_first_and_a_sequence_may_be_the_picture_alone(tokens: int, text: int | None) -> None:
    assert Grid(2, 3).text_tokens(tokens) == text


def test_a_sequence_of_the_picture_alone_next_to_reference_latents() -> None:
    grid = Grid(1, 2, references=3)
    groups = token_groups(torch.tensor([True, False]), grid, 2, 2.0)
    assert groups is not None
    assert groups.painted.tolist() == [0]
    assert groups.key_bias.tolist() == [0.0, pytest.approx(math.log(2))]


def test_tokens_are_painted_where_most_of_them_is() -> None:
    mask = torch.zeros(1, 32, 64)
    mask[:, :, 16:37] = 1
    assert painted_tokens(mask, 4, 8, patch=2).tolist() == [False, True, False, False] * 2
    assert painted_tokens(mask, 2, 4).tolist() == [False, True, False, False] * 2


def test_masks_that_differ_within_a_batch_are_refused() -> None:
    mask = torch.zeros(1, 32, 64)
    check_same_masks(mask.expand(3, -1, -1))
    with pytest.raises(PanelError, match="2 different masks"):
        check_same_masks(torch.stack([mask[0], 1 - mask[0]]))


def test_an_area_sees_its_own_part_of_the_mask() -> None:
    mask = torch.rand(1, 64, 192, generator=torch.Generator().manual_seed(1)).round()
    whole = painted_tokens(mask, 8, 24, patch=2).reshape(4, 12)
    part = painted_tokens(mask, 8, 24, patch=2, area=Box(8, 2, 12, 6)).reshape(3, 6)
    assert torch.equal(part, whole[1:4, 4:10])
    assert painted_tokens(mask, 8, 24, patch=2, area=Box(3, 0, 5, 3)).shape == (2 * 3,)


def test_a_mask_of_an_extended_canvas_is_extended_too() -> None:
    mask = torch.zeros(1, 1004, 1510)
    mask[:, :, 752:] = 1  # 47 tokens of 16 px
    painted = painted_tokens(mask, 126, 190, patch=2).reshape(63, 95)
    assert torch.equal(painted, (torch.arange(95) >= 47).expand(63, 95))
    assert torch.equal(painted, painted_tokens(extend_mask(mask, 16), 126, 190, patch=2).reshape(63, 95))


def test_a_mask_that_is_there_is_kept() -> None:
    bias = torch.tensor([0.0, 0.7])
    allowed = torch.tensor([[True, False], [True, True]])
    assert with_key_bias(allowed, bias).tolist() == [[0.0, -math.inf], [0.0, pytest.approx(0.7)]]
    added = torch.full((1, 2, 2), 0.5)
    assert torch.allclose(with_key_bias(added, bias), added + bias)
