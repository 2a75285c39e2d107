"""Isolated references in the trainer's own FLUX, Chroma and SD3. Torch and the standard library only.

References attend to references only and are modulated as at noise level 0; text and painted tokens attend to everything.
In sampling, ComfyUI computes this as two passes of the whole model (`nodes/references/isolation.py`). Here each block makes
both passes itself: first the references alone, then text and painted tokens, which also attend to the references' keys and
values. For the trainer this is still one forward and one backward pass, in the order that block swap expects. A block that
is recomputed for its gradient makes both passes again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

PATCH = 2  # latent pixels per token along a side, in all three

Pairs = list[tuple[Tensor, Tensor]]


# --- which tokens ---------------------------------------------------------------------------------------------------


def given_tokens(given: Tensor) -> Tensor:
    """Which tokens have only given latent pixels, bool [batch, tokens].

    Args:
        given: bool [batch, …, height, width], the given latent pixels; both sides are even.
    """
    height, width = given.shape[-2:]
    patches = given.reshape(len(given), height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.all(4).all(2).flatten(1)


@dataclass(frozen=True)
class Part:
    """Tokens that a block computes together: the same number from each of several pictures.

    Attributes:
        rows: int64 [pictures], indices of the pictures.
        places: int64 [pictures, chosen], indices of each picture's tokens, sorted.
        batch, tokens: number of pictures in the batch; number of tokens per picture.
        clean: whether the tokens are references, which have no text and are modulated as at noise level 0.
    """

    rows: Tensor
    places: Tensor
    batch: int
    tokens: int
    clean: bool

    @property
    def count(self) -> int:
        return self.places.shape[1]

    @property
    def flat(self) -> Tensor:
        """Indices among the tokens of the whole batch, int64 [pictures * chosen]."""
        return (self.rows[:, None] * self.tokens + self.places).flatten()

    def picture(self, values: Tensor) -> Tensor:
        """[batch, tokens, …] → [pictures, chosen, …]."""
        return values.flatten(0, 1).index_select(0, self.flat).unflatten(0, self.places.shape)

    def text(self, values: Tensor, length: int | None = None) -> Tensor:
        """[batch, text, …] → [pictures, length, …], all of the text by default. References get no text."""
        return values.index_select(0, self.rows)[:, : 0 if self.clean else length]

    def modulation(self, values: Tensor) -> Tensor:
        """[2 * batch, …] (at the batch's noise levels, then at 0) → [pictures, …]."""
        return values.index_select(0, self.rows + self.batch if self.clean else self.rows)


@dataclass(frozen=True)
class Group:
    """Pictures with the same number of reference tokens. The references are computed first, then the rest."""

    references: Part | None
    painted: Part


@dataclass(frozen=True)
class Split:
    """The tokens of a batch, grouped by how they are computed.

    Attributes:
        groups: together they contain every token once.
        order: int64 [batch * tokens], puts the groups' tokens back into the batch's order.
        rows: int64 [batch], puts the groups' pictures back into the batch's order.
    """

    groups: Sequence[Group]
    order: Tensor
    rows: Tensor

    @staticmethod
    def of(given: Tensor) -> Split:
        """Split a batch by its references, bool [batch, tokens]."""
        batch, tokens = given.shape
        counts = given.sum(1)

        def part(rows: Tensor, chosen: Tensor, count: int, clean: bool) -> Part:
            return Part(rows, chosen[rows].nonzero()[:, 1].reshape(len(rows), count), batch, tokens, clean)

        groups = []
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            references = part(rows, given, count, True) if count else None
            groups.append(Group(references, part(rows, ~given, tokens - count, False)))
        order = torch.cat([part.flat for group in groups for part in (group.references, group.painted) if part])
        return Split(groups, order.argsort(), torch.cat([group.painted.rows for group in groups]).argsort())


# --- what attends to what -------------------------------------------------------------------------------------------


def rope_attention(
    module: Any, part: Part, pairs: Pairs, q: Tensor, k: Tensor, v: Tensor, pe: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """The checkout's attention for FLUX and Chroma, with q, k, v [pictures, heads, tokens, width].

    Args:
        part: the tokens to compute.
        pairs: keys and values of the references, one pair per attention call. References append theirs; painted tokens
            remove and use them.
    """
    q, k = module.apply_rope(q, k, pe)
    if part.clean:
        pairs.append((k, v))
    elif pairs:
        keys, values = pairs.pop(0)
        k, v = torch.cat([k, keys], 2), torch.cat([v, values], 2)
        if attn_mask is not None:  # the checkout's masks hide keys, for all heads and queries alike
            attn_mask = pad(attn_mask[:, :1, :1], (0, keys.shape[2]), value=True).expand(*q.shape[:3], -1)
    return scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)


def flat_attention(
    inner: Callable[..., Tensor], part: Part, pairs: Pairs, q: Tensor, k: Tensor, v: Tensor, *rest: Any, **named: Any
) -> Tensor:
    """The checkout's attention for SD3, with q, k, v [pictures, tokens, heads * width]; otherwise like `rope_attention`."""
    if not part.clean:
        if pairs:
            keys, values = pairs.pop(0)
            k, v = torch.cat([k, keys], 1), torch.cat([v, values], 1)
        return inner(q, k, v, *rest, **named)
    text = q.shape[1] - part.count
    q, k, v = (tensor[:, text:] for tensor in (q, k, v))
    pairs.append((k, v))
    return pad(inner(q, k, v, *rest, **named), (0, 0, text, 0))


@contextmanager
def attending(module: Any, part: Part, pairs: Pairs) -> Iterator[None]:
    """Within the context, the blocks of this module record the references' keys and values, or attend to them.

    Args:
        module: of the checkout.
    """
    before = module.attention
    if hasattr(module, "apply_rope"):
        module.attention = partial(rope_attention, module, part, pairs)
    else:
        module.attention = partial(flat_attention, before, part, pairs)
    try:
        yield
    finally:
        module.attention = before


# --- the checkout's blocks ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockKind:
    """How a kind of block receives and returns its tokens.

    Attributes:
        select: a part, and the block's inputs for all tokens → the inputs for that part.
        separate: the block's output, and its number of picture tokens → picture tokens, text tokens.
        join: picture tokens, text tokens → the block's output.
    """

    select: Callable[..., tuple]
    separate: Callable[[Any, int], tuple[Tensor, Any]]
    join: Callable[[Tensor, Any], Any]


def _flux_double(part: Part, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor, mask: Tensor | None = None) -> tuple:
    return part.picture(img), part.text(txt), part.modulation(vec), _text_first(part, pe, 2), _key_mask(part, mask)


def _flux_single(part: Part, x: Tensor, vec: Tensor, pe: Tensor, mask: Tensor | None = None) -> tuple:
    return _text_first(part, x, 1), part.modulation(vec), _text_first(part, pe, 2), _key_mask(part, mask)


def _key_mask(part: Part, mask: Tensor | None) -> Tensor | None:
    """Select the mask of the text tokens to attend to; None for references, which have no text."""
    return None if mask is None or part.clean else part.text(mask)


def _text_first(part: Part, values: Tensor, dim: int) -> Tensor:
    """Select a part of the text and picture tokens, in that order. Dimensions between the batch and ``dim`` have size 1."""
    values = values.flatten(1, dim)
    text = values.shape[1] - part.tokens
    chosen = torch.cat([part.text(values[:, :text]), part.picture(values[:, text:])], 1)
    return chosen if dim == 1 else chosen.unsqueeze(1)


def _chroma_double(
    part: Part, img: Tensor, txt: Tensor, pe: Tensor, modulations: Sequence[Any], lengths: Tensor
) -> tuple:
    own = _text_lengths(part, lengths)
    chosen = [[_modulation(part, one) for one in each] for each in modulations]
    return part.picture(img), part.text(txt, int(own.max())), _picture_first(part, pe, 2, own), chosen, own


def _chroma_single(part: Part, x: Tensor, pe: Tensor, modulation: Any, lengths: Tensor) -> tuple:
    own = _text_lengths(part, lengths)
    return _picture_first(part, x, 1, own), _picture_first(part, pe, 2, own), _modulation(part, modulation), own


def _text_lengths(part: Part, lengths: Tensor) -> Tensor:
    """Number of text tokens to read per picture. A block's input is as long as its longest text."""
    own = lengths.index_select(0, part.rows)
    return torch.zeros_like(own) if part.clean else own


def _modulation(part: Part, modulation: Any) -> Any:
    return type(modulation)(**{name: part.modulation(value) for name, value in vars(modulation).items()})


def _picture_first(part: Part, values: Tensor, dim: int, lengths: Tensor) -> Tensor:
    """Select a part of the picture and text tokens, in that order. Dimensions between the batch and ``dim`` have size 1."""
    values = values.flatten(1, dim)
    picture, text = part.picture(values[:, : part.tokens]), part.text(values[:, part.tokens :], int(lengths.max()))
    chosen = torch.cat([picture, text], 1)
    return chosen if dim == 1 else chosen.unsqueeze(1)


def _sd3_joint(part: Part, context: Tensor, x: Tensor, vec: Tensor) -> tuple:
    text = part.text(context)
    if part.clean:  # these blocks cannot compute without text; their attention ignores this token
        text = context.index_select(0, part.rows)[:, :1]
    return text, part.picture(x), part.modulation(vec)


FLUX_DOUBLE = BlockKind(_flux_double, lambda output, _: output, lambda picture, text: (picture, text))
FLUX_SINGLE = BlockKind(
    _flux_single,
    lambda output, count: (output[:, output.shape[1] - count :], output[:, : output.shape[1] - count]),
    lambda picture, text: torch.cat([text, picture], 1),
)
CHROMA_DOUBLE = BlockKind(_chroma_double, FLUX_DOUBLE.separate, FLUX_DOUBLE.join)
CHROMA_SINGLE = BlockKind(
    _chroma_single,
    lambda output, count: (output[:, :count], output[:, count:]),
    lambda picture, text: torch.cat([picture, text], 1),
)
SD3_JOINT = BlockKind(_sd3_joint, lambda output, _: output[::-1], lambda picture, text: (text, picture))


def compute_block(kind: BlockKind, forward: Callable[..., Any], module: Any, split: Split, *inputs: Any) -> Any:
    """Compute a block's output, with the references computed separately.

    Args:
        forward: the block's own forward function.
        module: the checkout's module in which the block looks up its attention.
        inputs: the block's inputs for all tokens. Modulations are [2 * batch, …]: at the batch's noise levels, then at 0.
    """
    pictures, texts = [], []
    for group in split.groups:
        pairs: Pairs = []
        for part in (group.references, group.painted):
            if part is None:
                continue
            with attending(module, part, pairs):
                output = forward(*kind.select(part, *inputs))
            picture, text = kind.separate(output, part.count)
            pictures.append(picture.flatten(0, 1))
            if not part.clean:
                texts.append(text)
    painted = split.groups[0].painted
    picture = torch.cat(pictures).index_select(0, split.order).unflatten(0, (painted.batch, painted.tokens))
    return kind.join(picture, None if texts[0] is None else _pad_to_longest(texts).index_select(0, split.rows))


def _pad_to_longest(texts: Sequence[Tensor]) -> Tensor:
    """Pad the texts of all groups to one length, with zeros that nothing reads."""
    longest = max(text.shape[1] for text in texts)
    return torch.cat([pad(text, (0, 0, 0, longest - text.shape[1])) for text in texts])


# --- the checkout's models ------------------------------------------------------------------------------------------


@contextmanager
def isolating(model: Any, given: Tensor) -> Iterator[None]:
    """Within the context, a model computes the references of one batch separately. The backward pass may come later.

    A block that is recomputed for its gradient uses the function from its forward pass, and so this batch's references.

    Args:
        given: bool [batch, …, height, width], True in the references' latent pixels, which have no noise.
    """
    prepare, kinds = _MODELS[type(model).__name__]
    split = Split.of(given_tokens(given))
    with ExitStack() as undo:
        prepare(model, undo)
        for name, kind in kinds.items():
            for block in model.get_submodule(name).children():
                module = sys.modules[type(block).__module__]
                block._forward = partial(compute_block, kind, block._forward, module, split)
                undo.callback(vars(block).pop, "_forward")
        yield


def _prepare_flux(model: nn.Module, undo: ExitStack) -> None:
    def doubled(_model: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        own = {name: named[name] for name in ("timesteps", "guidance", "y")}
        return inputs, {**named, **{name: _double(value, name == "timesteps") for name, value in own.items()}}

    undo.callback(model.register_forward_pre_hook(doubled, with_kwargs=True).remove)
    _select_for_last_layer(model, undo, lambda vec: vec.chunk(2)[0])


def _prepare_chroma(model: Any, undo: ExitStack) -> None:
    vectors = model.get_mod_vectors

    def doubled(timesteps: Tensor, guidance: Tensor, batch_size: int) -> Tensor:
        return vectors(_double(timesteps, True), _double(guidance), 2 * batch_size)

    model.get_mod_vectors = doubled  # the trainer calls it before it calls the model
    undo.callback(vars(model).pop, "get_mod_vectors")
    _select_for_last_layer(model, undo, lambda modulations: [value.chunk(2)[0] for value in modulations])


def _prepare_sd3(model: nn.Module, undo: ExitStack) -> None:
    def doubled(_model: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        x, timesteps = inputs
        return (x, _double(timesteps, True)), {**named, "y": _double(named["y"])}

    undo.callback(model.register_forward_pre_hook(doubled, with_kwargs=True).remove)
    _select_for_last_layer(model, undo, lambda vec: vec.chunk(2)[0])


def _double(values: Tensor | None, is_level: bool = False) -> Any:
    """Repeat values: for the batch at its noise levels, then for its references at level 0."""
    if values is None:
        return None
    return torch.cat([values, torch.zeros_like(values) if is_level else values])


def _select_for_last_layer(model: nn.Module, undo: ExitStack, own: Callable[[Any], Any]) -> None:
    """Give the last layer only the modulations at the batch's noise levels. Its output for references is not used."""

    def chosen(_layer: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        tokens, *rest = inputs
        if rest:
            return (tokens, own(rest[0]), *rest[1:]), named
        return inputs, {name: own(value) for name, value in named.items()}

    undo.callback(model.get_submodule("final_layer").register_forward_pre_hook(chosen, with_kwargs=True).remove)


_MODELS: dict[str, tuple[Callable[[Any, ExitStack], None], dict[str, BlockKind]]] = {
    "Flux": (_prepare_flux, {"double_blocks": FLUX_DOUBLE, "single_blocks": FLUX_SINGLE}),
    "Chroma": (_prepare_chroma, {"double_blocks": CHROMA_DOUBLE, "single_blocks": CHROMA_SINGLE}),
    "MMDiT": (_prepare_sd3, {"joint_blocks": SD3_JOINT}),
}
