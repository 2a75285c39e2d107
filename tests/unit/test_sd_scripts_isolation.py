"""Isolated references in a trainer's model, here a small one of SD3's form; `tests/training` has the trainer's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.training.sd_scripts.runner import isolation
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

DIM, TEXT, HEIGHT, WIDTH = 8, 3, 4, 6


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=mask)[:, 0]


class Block(nn.Module):
    """Text and picture attend to each other; both are modulated by a vector per picture, or per token."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, *inputs: Any) -> Any:
        return checkpoint(self._forward, *inputs, use_reentrant=False)

    def _forward(self, context: Tensor, x: Tensor, vec: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([context, x], 1)
        scale = 1 + (vec[:, None] if vec.ndim == 2 else vec)
        q, k, v = self.qkv(tokens * scale).chunk(3, -1)
        tokens = tokens + self.out(attention(q, k, v, mask)) * scale
        return tokens[:, : context.shape[1]], tokens[:, context.shape[1] :]


class MMDiT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.joint_blocks = nn.ModuleList(Block() for _ in range(3))
        self.final_layer = Last()
        self.level = nn.Linear(1, DIM)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, context: Tensor) -> Tensor:
        vec = self.level(t[:, None]) + y
        for block in self.joint_blocks:
            context, x = block(context, x, vec)
        return self.final_layer(x, vec)


class Last(nn.Module):
    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        return x * (1 + vec[:, None])


@pytest.fixture
def model() -> MMDiT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MMDiT().double()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {"x": (3, HEIGHT * WIDTH // 4, DIM), "y": (3, DIM), "context": (3, TEXT, DIM)}
    inputs = {name: torch.randn(size, generator=generator, dtype=torch.float64) for name, size in sizes.items()}
    return {**inputs, "t": torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)}


def given() -> Tensor:
    """The first two columns of one picture's tokens, the last column of another's, none of the third's."""
    mask = torch.zeros(3, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, ..., :4] = True
    mask[2, ..., 4:] = True
    return mask


def predict(model: MMDiT, inputs: dict[str, Tensor]) -> Tensor:
    return model(inputs["x"], inputs["t"], context=inputs["context"], y=inputs["y"])


def masked(model: MMDiT, inputs: dict[str, Tensor], references: Tensor) -> Tensor:
    """The definition: one pass with a mask and a modulation per token."""
    levels = [model.level(t[:, None]) + inputs["y"] for t in (inputs["t"], torch.zeros_like(inputs["t"]))]
    is_reference = torch.cat([torch.zeros(3, TEXT, dtype=torch.bool), references], 1)
    vec = torch.where(is_reference[..., None], levels[1][:, None], levels[0][:, None])
    allowed = ~is_reference[:, :, None] | is_reference[:, None, :]
    context, x = inputs["context"], inputs["x"]
    for block in model.joint_blocks:
        context, x = block._forward(context, x, vec, allowed[:, None])
    return model.final_layer(x, levels[0])


def test_blocks_that_compute_twice_are_one_masked_pass(model: MMDiT) -> None:
    inputs = batch()
    with isolation.isolating(model, given()):
        ours = predict(model, inputs)
    references = isolation.given_tokens(given())
    expected = masked(model, inputs, references)
    torch.testing.assert_close(ours[~references], expected[~references])
    gradients = [
        torch.autograd.grad(found[~references].square().sum(), list(model.joint_blocks.parameters()))
        for found in (ours, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_is_left_of_it(model: MMDiT) -> None:
    inputs, before = batch(), attention
    plain = predict(model, inputs)
    with isolation.isolating(model, given()):
        assert not torch.equal(predict(model, inputs), plain)
    assert torch.equal(predict(model, inputs), plain)
    assert attention is before
    with pytest.raises(RuntimeError), isolation.isolating(model, given()):
        predict(model, {**inputs, "context": torch.zeros(3, TEXT, DIM + 1, dtype=torch.float64)})
    assert torch.equal(predict(model, inputs), plain)
    assert attention is before


def test_tokens_that_are_given_in_part_are_painted() -> None:
    mask = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    mask[..., :5] = True
    mask[..., 3, 0] = False
    assert isolation.given_tokens(mask).tolist() == [[True, True, False, False, False, True, False, False]]


def test_every_token_is_computed_once() -> None:
    references = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=torch.bool)
    split = isolation.Split.of(references)
    assert [group.painted.count for group in split.groups] == [4, 3, 2]
    assert split.groups[0].references is None
    numbered = torch.arange(16).reshape(4, 4, 1)
    parts = [part for group in split.groups for part in (group.references, group.painted) if part]
    found = torch.cat([part.picture(numbered).flatten() for part in parts])
    assert found[split.order].tolist() == list(range(16))
