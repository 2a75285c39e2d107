"""Isolated references: given panels that attend to given panels only and are modulated as at the end of sampling.

A model runs twice over one canvas. The first pass has the references' tokens alone, at noise level 0, and records the keys and
values of every attention. The second has text and painted tokens alone; its attentions also see what was recorded. So nothing
about a reference depends on the step, the noise, the text or the painted panels, and one computation serves the whole sampling.

Both passes are the model's own forward over its own modules. Hooks choose the tokens where they enter, and put them back in
their places where they leave; ``optimized_attention_override``, ComfyUI's own way in, does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import comfy.model_base
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from ...incontext.errors import PanelError
from ...incontext.panels.attention import TokenGroups, grouped_attention
from .attention import ReferenceAttention
from .patches import patch_side

OVERRIDE = "optimized_attention_override"

Attention = Callable[..., Tensor]
Pair = tuple[Tensor, Tensor]


# --- which tokens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """Which of a picture's tokens take part in a pass.

    Attributes:
        places: int64 [batch, chosen], sorted, the same number for each picture; one row if they are the same for all.
        tokens: of the whole picture.
    """

    places: Tensor
    tokens: int

    @staticmethod
    def of(chosen: Tensor, device: torch.device) -> Selection:
        """From bool [batch, tokens], on the processor.

        Raises:
            PanelError: if the pictures of the batch have different numbers of chosen tokens.
        """
        counts = chosen.sum(1)
        if bool((counts != counts[0]).any()):
            raise PanelError(
                f"The pictures of the batch have different numbers of given tokens: {counts.tolist()}. Give the same panels "
                "in each picture, or sample them one by one."
            )
        places = chosen.nonzero()[:, 1].reshape(len(chosen), -1)
        shared = bool((places == places[:1]).all())
        return Selection((places[:1] if shared else places).to(device), chosen.shape[1])

    @property
    def count(self) -> int:
        return self.places.shape[1]

    def repeated(self, batch: int) -> Selection:
        """For a batch that repeats these pictures, as when it holds both captions of guidance."""
        rows = len(self.places)
        return self if rows in (1, batch) else Selection(self.places.repeat(batch // rows, 1), self.tokens)

    def pick(self, values: Tensor, dim: int) -> Tensor:
        """The chosen tokens along ``dim``; what comes before the picture's tokens (those of text) stays."""
        before = torch.arange(values.shape[dim] - self.tokens, device=values.device)
        rows = [torch.cat([before, row + len(before)]) for row in self.places]
        if len(rows) == 1:
            return values.index_select(dim, rows[0])
        values = values.expand(len(rows), *values.shape[1:])
        return torch.stack([one.index_select(dim - 1, row) for one, row in zip(values, rows, strict=True)])

    def put_back(self, values: Tensor) -> Tensor:
        """[batch, before + chosen, width] → [batch, before + tokens, width]; zero where a token took no part."""
        before = values.shape[1] - self.count
        whole = values.new_zeros(len(values), before + self.tokens, values.shape[2])
        text = torch.arange(before, device=values.device).expand(len(values), -1)
        places = torch.cat([text, self.places.expand(len(values), -1) + before], 1)
        return whole.scatter(1, places[..., None].expand_as(values), values)


def given_tokens(given: Tensor, patch: int) -> Tensor:
    """Which tokens are given as a whole, bool [batch, tokens].

    Args:
        given: bool [batch, …, height, width]: latent pixels that are given.
        patch: latent pixels per token along a side.
    """
    given = given.reshape(len(given), 1, *given.shape[-2:]).float()
    height, width = given.shape[-2:]
    # padding of the last patch is neither given nor painted
    filled = pad(given, (0, -width % patch, 0, -height % patch), value=1.0)
    return (max_pool2d(1 - filled, patch) == 0).flatten(1)


# --- what attends to what -------------------------------------------------------------------------------------------


@dataclass
class KeyValues:
    """Keys and values of the references.

    Attributes:
        pairs: one per attention, by its number in the order in which the model computes them.
        counts: attentions in a block, by the number of its first.
    """

    pairs: dict[int, Pair] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)


class Pass:
    """One pass of a model over a part of the picture's tokens, as an attention override.

    Args:
        selection: the picture's tokens of this pass. Models put those of text before them.
        recorded: of the references, for a pass that paints; None for the references' own pass, which records.
        inner: another attention override, which then computes what this one asks for.
    """

    def __init__(self, selection: Selection, recorded: KeyValues | None = None, inner: Attention | None = None) -> None:
        self.selection = selection
        self.records = recorded is None
        self.recorded = KeyValues() if recorded is None else recorded
        self.position = 0
        self.in_text = False
        self._inner = inner

    def __call__(
        self,
        attention: Attention,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        **named: Any,
    ) -> Tensor:
        compute = attention if self._inner is None else partial(self._inner, attention)
        dim = 2 if named.get("skip_reshape") else 1  # [batch, heads, tokens, width] or [batch, tokens, width]
        text = q.shape[dim] - self.selection.count
        if self.in_text or text < 0 or q.shape[dim] != k.shape[dim]:
            return compute(q, k, v, heads, mask=mask, **named)
        number, self.position = self.position, self.position + 1
        if self.records:
            q, k, v = (tensor.narrow(dim, text, self.selection.count) for tensor in (q, k, v))
            # copies, since views would keep everything that the layer before computed
            self.recorded.pairs[number] = (_copied(k), _copied(v))
            # a mask concerns the text, whose result in this pass is not used
            references = compute(q, k, v, heads, mask=None, **named)
            along = 2 if named.get("skip_output_reshape") else 1
            shape = list(references.shape)
            shape[along] = text
            return torch.cat([references.new_zeros(shape), references], along)
        keys, values = (_to_batch(tensor, k) for tensor in self.recorded.pairs[number])
        references = keys.shape[dim]
        if mask is not None:
            mask = pad(mask, (0, references), value=True if mask.dtype == torch.bool else 0.0)
        k, v = torch.cat([k, keys], dim), torch.cat([v, values], dim)
        strength = self._strength(named)
        if strength == 1:
            return compute(q, k, v, heads, mask=mask, **named)
        return grouped_attention(
            q, k, v, mask, _groups(q.shape[dim], text, references, strength, q.device),
            plain=lambda q, k, v, mask: compute(q, k, v, heads, mask=mask, **named),
            # the one kernel of ComfyUI that always adds a bias: sage and flash attention ignore or refuse it
            biased=lambda q, k, v, mask: attention_pytorch(
                q, k, v, heads, mask=mask, **{**named, "_inside_attn_wrapper": True}
            ),
            tokens_in=dim, tokens_out=2 if named.get("skip_output_reshape") else 1,
        )  # fmt: skip

    def _strength(self, named: Mapping[str, Any]) -> float:
        if isinstance(self._inner, ReferenceAttention):
            return self._inner.strength(named.get("transformer_options") or {})
        return 1.0

    # a block that is computed again for its gradient takes and returns the pairs, so that gradients reach them

    def upcoming(self) -> list[Tensor]:
        """The keys and values that the next block will see."""
        if self.records:
            return []
        numbers = range(self.position, self.position + self.recorded.counts.get(self.position, 0))
        return [tensor for number in numbers for tensor in self.recorded.pairs[number]]

    def again(
        self, position: int, in_text: bool, pairs: Sequence[Tensor], block: Callable[[], Any]
    ) -> tuple[Any, list[Tensor]]:
        """Compute a block whose first attention has this number; its result, and the pairs that it records."""
        outside, self.recorded = self.recorded, KeyValues()
        self.position, self.in_text = position, in_text
        for number, pair in enumerate(zip(pairs[::2], pairs[1::2], strict=True), position):
            self.recorded.pairs[number] = pair
        try:
            result = block()
            return result, [tensor for pair in self.recorded.pairs.values() for tensor in pair] if self.records else []
        finally:
            self.recorded = outside

    def keep(self, position: int, pairs: Sequence[Tensor]) -> None:
        """Keep what a block recorded that was computed by `again`."""
        if self.records:
            self.recorded.counts[position] = len(pairs) // 2
            self.recorded.pairs.update(enumerate(zip(pairs[::2], pairs[1::2], strict=True), position))


def _groups(tokens: int, text: int, references: int, strength: float, device: torch.device) -> TokenGroups:
    """Painted tokens, which come after the text's, attend ``strength`` times as much to the references, whose keys come last."""
    bias = torch.zeros(tokens + references, device=device)
    bias[tokens:] = math.log(strength) if strength else 0.0
    return TokenGroups(
        painted=torch.arange(text, tokens, device=device),
        others=torch.arange(text, device=device),
        key_bias=bias,
        visible=None if strength else torch.arange(tokens, device=device),
    )


def _copied(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _to_batch(tensor: Tensor, like: Tensor) -> Tensor:
    """Recorded once per picture, used for each caption of it."""
    if len(tensor) == len(like):
        return tensor
    return tensor.repeat(len(like) // len(tensor), *[1] * (tensor.ndim - 1))


# --- where tokens enter and leave, by class of model ------------------------------------------------------------------


def supports_isolation(model: Any) -> bool:
    """Whether references can be isolated in this model (`comfy.model_base`)."""
    return _seams(model) is not None


def picture_tokens(model: Any, given: Tensor) -> Tensor:
    """`given_tokens` for this model, with what it pads the picture's tokens with; padding is never given."""
    transformer = model.diffusion_model
    tokens = given_tokens(given, patch_side(transformer))
    multiple = getattr(transformer, "pad_tokens_multiple", None) or 1
    return pad(tokens, (0, -tokens.shape[1] % multiple), value=False)


def reference_conditions(model: Any, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What ``apply_model`` is given in the references' own pass: one token of the text, since no token attends to it.

    In Lumina's models and LongCat-Image the text's length decides the positions of the picture's tokens, so it stays whole there.
    """
    own = dict(conditions)
    if not isinstance(model, (_named("Lumina2"), _named("LongCatImage"))):
        own.pop("attention_mask", None)
        if own.get("c_crossattn") is not None:
            own["c_crossattn"] = own["c_crossattn"][:, :1]
    return own


@contextmanager
def choosing(model: Any, one: Pass) -> Iterator[None]:
    """Within the context the model computes with the tokens of a pass."""
    seams = _seams(model)
    assert seams is not None
    with ExitStack() as undo:
        seams(model.diffusion_model, one, undo)
        yield


_Seams = Callable[[nn.Module, Pass, ExitStack], None]


def _seams(model: Any) -> _Seams | None:
    base = comfy.model_base
    if isinstance(model, base.Flux | base.Chroma) and not isinstance(model, _named("ChromaRadiance")):
        return partial(_rope_seams, tokens_in="img_in", tokens_out="final_layer")
    if isinstance(model, _named("QwenImage")):
        return partial(_rope_seams, tokens_in="img_in", tokens_out="proj_out")
    if isinstance(model, base.SD3):
        return _sd3_seams
    if isinstance(model, _named("Lumina2")) and not isinstance(model, _named("ZImagePixelSpace")):
        return _lumina_seams
    return None


def _named(name: str) -> type | tuple[()]:
    """A class that not every ComfyUI has."""
    return getattr(comfy.model_base, name, ())


def _rope_seams(transformer: nn.Module, one: Pass, undo: ExitStack, tokens_in: str, tokens_out: str) -> None:
    """FLUX, Chroma, Qwen-Image: positions are those of text and picture together, [batch, 1, tokens, …]."""
    _on_output(undo, transformer.get_submodule(tokens_in), partial(one.selection.pick, dim=1))
    _on_output(undo, transformer.get_submodule("pe_embedder"), partial(one.selection.pick, dim=2))
    _on_output(undo, transformer.get_submodule(tokens_out), one.selection.put_back)


def _sd3_seams(transformer: Any, one: Pass, undo: ExitStack) -> None:
    """Positions are added to the picture's tokens."""
    _on_output(undo, transformer.x_embedder, partial(one.selection.pick, dim=1))
    positions = transformer.cropped_pos_embed

    def chosen(*args: Any, **named: Any) -> Tensor:
        return one.selection.pick(positions(*args, **named), 1)

    transformer.cropped_pos_embed = chosen
    undo.callback(vars(transformer).pop, "cropped_pos_embed")
    _on_output(undo, transformer.final_layer, one.selection.put_back)


def _lumina_seams(transformer: Any, one: Pass, undo: ExitStack) -> None:
    """Layers that refine text, layers that refine the picture, and layers for both, each given (tokens, mask, positions, …)."""

    def text(value: bool, *_: Any) -> None:
        one.in_text = value

    for layer in transformer.context_refiner:
        undo.callback(layer.register_forward_pre_hook(partial(text, True)).remove)
        undo.callback(layer.register_forward_hook(partial(text, False)).remove)

    def picture(is_first: bool, _layer: nn.Module, inputs: tuple) -> tuple:
        x, mask, positions, *rest = inputs
        x = one.selection.pick(x, 1) if is_first else x
        return x, mask, one.selection.pick(positions, 1), *rest

    # between the two stacks the picture is whole: newer versions of ComfyUI derive from its length where the text ends
    for layers in (transformer.noise_refiner, transformer.layers):
        for number, layer in enumerate(layers):
            undo.callback(layer.register_forward_pre_hook(partial(picture, number == 0)).remove)
    for layer in transformer.noise_refiner[-1:]:
        _on_output(undo, layer, one.selection.put_back)
    _on_output(undo, transformer.final_layer, one.selection.put_back)


def _on_output(undo: ExitStack, module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return change(output)

    undo.callback(module.register_forward_hook(hook).remove)
