"""Estimate the memory of a training step beside the model's weights, so that ComfyUI can make room beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from .adapters import linear_shape

BYTES_PER_TRAINED_VALUE = 16  # weight, gradient and AdamW's two moments, in float32
BYTES_PER_AVERAGED_VALUE = 8  # the average, and the raw values while the average replaces them
COPIES = 1.5  # of a block's features: outputs, what autograd keeps of them, and gradients


@dataclass(frozen=True)
class BlockSize:
    """The sizes of a transformer block that determine its memory.

    Attributes:
        width: features per token between blocks.
        features: inputs and outputs per token, summed over all linear layers.
        weights: number of weights of all linear layers.
    """

    width: int
    features: int
    weights: int

    @staticmethod
    def of(block: nn.Module) -> BlockSize | None:
        """The size of a block; None if it has no linear layers."""
        shapes = [shape for module in block.modules() if (shape := linear_shape(module))]
        if not shapes:
            return None
        (width, _), *_ = Counter(inputs for inputs, _ in shapes).most_common(1)
        return BlockSize(width, sum(map(sum, shapes)), sum(inputs * outputs for inputs, outputs in shapes))


def repeated_blocks(transformer: nn.Module) -> list[nn.Module]:
    """The transformer's blocks: the members of its own module lists."""
    lists = (child for child in transformer.children() if isinstance(child, nn.ModuleList))
    return [block for blocks in lists for block in blocks]


def block_sizes(transformer: nn.Module) -> list[BlockSize]:
    """Sizes of the transformer's blocks. Blocks without linear layers are left out."""
    return [size for block in repeated_blocks(transformer) if (size := BlockSize.of(block))]


def step_memory(
    blocks: Sequence[BlockSize],
    tokens: int,
    *,
    value_bytes: int,
    checkpointing: bool,
    trained: int,
    averaged: bool = False,
    recorded: int = 0,
) -> int:
    """Peak memory of a step in bytes, beside the model's own weights.

    With gradient checkpointing, this is the input of every block and everything inside the largest block; without it,
    everything inside all blocks. A block's weights count once more, since weights in main memory or in 8 bits are cast while
    the block is computed.

    Args:
        blocks: sizes of the transformer's blocks.
        tokens: of text and picture, over the whole batch.
        value_bytes: bytes per value in the precision that the model computes in.
        checkpointing: gradient checkpointing is on.
        trained: number of values in the LoRA.
        averaged: a moving average is kept.
        recorded: tokens of isolated references, whose keys and values are kept for all blocks, with their gradients.
    """
    inside = [int(COPIES * block.features * tokens * value_bytes) + block.weights * value_bytes for block in blocks]
    between = sum(block.width * tokens * value_bytes for block in blocks)
    kept = 2 * 2 * sum(block.width for block in blocks) * recorded * value_bytes
    activations = between + max(inside, default=0) if checkpointing else sum(inside)
    return activations + kept + trained * (BYTES_PER_TRAINED_VALUE + (BYTES_PER_AVERAGED_VALUE if averaged else 0))
