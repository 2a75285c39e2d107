"""How much memory a training step takes beside the model's weights. Pure arithmetic, so that ComfyUI can make room before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from .adapters import linear_shape

# weight, gradient and AdamW's two moments, in float32
BYTES_PER_TRAINED_VALUE = 16
BYTES_PER_AVERAGED_VALUE = 8  # the average, and the raw values while the average is in their place
# a block's outputs are there as such, as what autograd keeps of them, and as their gradients
COPIES = 1.5


@dataclass(frozen=True)
class BlockSize:
    """A transformer block as far as memory is concerned.

    Attributes:
        width: features of a token between blocks.
        features: inputs and outputs of all linear layers together, for one token.
        weights: values of all linear layers.
    """

    width: int
    features: int
    weights: int

    @staticmethod
    def of(block: nn.Module) -> BlockSize | None:
        """The size of a block; None where it has no linear layers."""
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
    """Sizes of the transformer's blocks, without those that have no linear layers."""
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
    """Bytes that a step needs at its peak, beside the model's own weights.

    With gradient checkpointing that is the input of every block, and everything inside the largest of them; without it,
    everything inside all of them. A block's weights count once more, since those that are kept in main memory or in 8 bits
    are cast for the block that is being computed.

    Args:
        tokens: of text and picture, over the whole batch.
        value_bytes: of one value in the precision that the model computes in.
        trained: number of values in the LoRA.
        averaged: a moving average is kept.
        recorded: tokens of isolated references, whose keys and values are kept for all blocks, with their gradients.
    """
    inside = [int(COPIES * block.features * tokens * value_bytes) + block.weights * value_bytes for block in blocks]
    between = sum(block.width * tokens * value_bytes for block in blocks)
    kept = 2 * 2 * sum(block.width for block in blocks) * recorded * value_bytes
    activations = between + max(inside, default=0) if checkpointing else sum(inside)
    return activations + kept + trained * (BYTES_PER_TRAINED_VALUE + (BYTES_PER_AVERAGED_VALUE if averaged else 0))
