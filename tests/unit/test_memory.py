from __future__ import annotations

import pytest
from incontext_lora.training.in_host.memory import BlockSize, step_memory
from torch import nn

FLUX_SINGLE = BlockSize(width=3072, features=3072 + 21504 + 15360 + 3072, weights=3072 * 21504 + 15360 * 3072)


def memory(tokens: int = 6656, blocks: int = 57, **values: int | bool) -> int:
    named = {"value_bytes": 2, "checkpointing": True, "trained": 0, **values}
    return step_memory([FLUX_SINGLE] * blocks, tokens, **named)


def test_the_size_of_a_block_is_read_from_its_linear_layers() -> None:
    block = nn.ModuleDict(
        {"norm": nn.LayerNorm(8), "qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8), "up": nn.Linear(8, 32)}
    )
    assert BlockSize.of(block) == BlockSize(8, 8 + 24 + 8 + 8 + 8 + 32, 8 * (24 + 8 + 32))
    assert BlockSize.of(nn.LayerNorm(8)) is None


def test_checkpointing_keeps_the_input_of_each_block_and_one_block_whole() -> None:
    with_it, without = memory(), memory(checkpointing=False)
    assert with_it < 4e9 < 30e9 < without  # FLUX at 1.57 megapixels
    assert memory(blocks=58) - with_it == 3072 * 6656 * 2


@pytest.mark.parametrize(("values", "times"), [({"tokens": 2 * 6656}, 2), ({"value_bytes": 4}, 2)])
def test_it_grows_with_tokens_and_with_precision(values: dict[str, int], times: int) -> None:
    assert memory(**values) == pytest.approx(times * memory(), rel=0.1)


def test_the_lora_brings_its_gradients_moments_and_average() -> None:
    assert memory(trained=1000) - memory() == 16_000
    assert memory(trained=1000, averaged=True) - memory() == 24_000


def test_isolated_references_keep_keys_and_values_of_every_block_with_their_gradients() -> None:
    assert memory(recorded=4096) - memory() == 4096 * 57 * 3072 * 2 * 4
