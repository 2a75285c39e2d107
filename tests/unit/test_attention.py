"""The bias by which painted panels look more or less at given ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.attention import Grid, painted_tokens, reference_bias, with_bias
from incontext_lora.incontext.errors import PanelError
from torch.nn.functional import scaled_dot_product_attention


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 9),
    st.integers(0, 7),
    st.sampled_from([0.0, 0.5, 1.3, 4.0]),
    st.integers(0, 999),
)
def test_painted_tokens_look_that_many_times_as_much_at_given_ones(
    rows: int, columns: int, text: int, references: int, strength: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    painted = torch.rand(rows * columns, generator=generator) < 0.5
    grid = Grid(rows, columns, references)
    tokens = text + grid.picture + references
    bias = reference_bias(painted, grid, tokens, strength)
    is_painted = torch.cat([torch.zeros(text), painted, torch.zeros(references)]).bool()
    is_given = torch.cat([torch.zeros(text), ~painted, torch.ones(references)]).bool()
    if not is_painted.any() or not is_given.any():
        assert bias is None
        return
    assert bias is not None
    q, k = torch.randn(2, tokens, 4, generator=generator)
    logits = q @ k.T / 2
    before, after = logits.exp(), (logits + bias).exp()
    ratio = torch.ones(tokens, tokens)
    ratio[is_painted[:, None] & is_given[None]] = strength
    assert torch.allclose(after, before * ratio, rtol=1e-4)
    result = scaled_dot_product_attention(q[None], k[None], torch.eye(tokens)[None], attn_mask=with_bias(None, bias))
    assert torch.isfinite(result).all()


def test_strength_one_changes_nothing() -> None:
    assert reference_bias(torch.tensor([True, False]), Grid(1, 2), 5, 1.0) is None


@pytest.mark.parametrize(("tokens", "text"), [(10, 4), (6, 0), (5, None)])
def test_text_comes_first_and_a_sequence_may_be_the_picture_alone(tokens: int, text: int | None) -> None:
    assert Grid(2, 3).text_tokens(tokens) == text


def test_a_sequence_of_the_picture_alone_next_to_reference_latents() -> None:
    grid = Grid(1, 2, references=3)
    bias = reference_bias(torch.tensor([True, False]), grid, 2, 2.0)
    assert bias is not None
    assert bias.tolist() == [[0.0, pytest.approx(math.log(2))], [0.0, 0.0]]


def test_tokens_are_painted_where_most_of_them_is() -> None:
    mask = torch.zeros(1, 32, 64)
    mask[:, :, 16:37] = 1
    assert painted_tokens(mask, 2, 4).tolist() == [False, True, False, False] * 2
    with pytest.raises(PanelError, match="2 different masks"):
        painted_tokens(torch.stack([mask[0], 1 - mask[0]]), 2, 4)
    assert painted_tokens(mask.expand(3, -1, -1), 2, 4).shape == (8,)


def test_a_mask_that_is_there_is_kept() -> None:
    bias = torch.tensor([[0.0, 0.7], [0.0, 0.0]])
    allowed = torch.tensor([[True, False], [True, True]])
    assert with_bias(allowed, bias).tolist() == [[0.0, -math.inf], [0.0, 0.0]]
    added = torch.full((1, 2, 2), 0.5)
    assert torch.allclose(with_bias(added, bias), added + bias)
