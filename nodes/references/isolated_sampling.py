"""Sampling with isolated references: their keys and values are computed at the first step and kept until the sampling ends.

What is kept belongs to one call of a sampler: it is made there from the given latents, and dropped when the call ends,
in whatever way. Another picture, layout, model or LoRA is another call, so nothing can leak from one into the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import torch
from torch import Tensor

from ...incontext.errors import PanelError
from ...training.in_host.memory import block_sizes
from ..training.gradients import assign
from .clean import prepared_mask
from .isolation import OVERRIDE, KeyValues, Pair, Pass, Selection, choosing, picture_tokens, reference_conditions

_SESSION = "incontext_isolation"  # in transformer_options, while a sampler runs
_NAME = "incontext_isolated_references"
# patches of other nodes that are called with the picture's tokens, and expect all of them
_WHOLE_PICTURE_PATCHES = ("post_input", "double_block", "single_block", "noise_refiner")


def isolate_references(model: Any) -> Any:
    """A MODEL that computes given panels once. It must also keep them clean at every step (`keep_references_clean`)."""
    patched = model.clone()
    wrappers = comfy.patcher_extension.WrappersMP
    for kind, wrapper in (
        (wrappers.OUTER_SAMPLE, _sample),
        (wrappers.PREPARE_SAMPLING, _prepare),
        (wrappers.APPLY_MODEL, _apply),
    ):
        patched.remove_wrappers_with_key(kind, _NAME)
        patched.add_wrapper_with_key(kind, _NAME, wrapper)
    return patched


def _sample(executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **named: Any):
    """Called with what ``CFGGuider.outer_sample`` is called with."""
    guider = executor.class_obj
    mask = args[0] if args else named.get("denoise_mask")
    if mask is None:
        return executor(noise, latent_image, sampler, sigmas, *args, **named)
    _refuse_hooks(guider.conds)
    patcher = guider.model_patcher
    given = prepared_mask(mask, noise.shape) == 0
    tokens = picture_tokens(patcher.model, given.flatten(1, -3).all(1, keepdim=True))
    session = Session(tokens, noise.shape)
    with ExitStack() as undo:
        undo.callback(session.close)
        if session.has_references:
            options = guider.model_options.setdefault("transformer_options", {})
            options[_SESSION] = session
            undo.callback(options.pop, _SESSION, None)
        return executor(noise, latent_image, sampler, sigmas, *args, **named)


def _prepare(
    executor: Any, patcher: Any, shape: Sequence[int], conds: Mapping[str, Any], model_options: Any = None, **more: Any
) -> Any:
    """Called with what ``prepare_sampling`` is called with: ComfyUI also makes room for what will be kept."""
    session: Session | None = ((model_options or {}).get("transformer_options") or {}).get(_SESSION)
    with ExitStack() as undo:
        if session is not None:
            needed = kept_bytes(patcher.model, session.references, len(conds))
            estimate = patcher.model.memory_required
            assign(undo, patcher.model, "memory_required", lambda *sizes, **named: estimate(*sizes, **named) + needed)
        return executor(patcher, shape, conds, model_options, **more)


def _apply(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: Mapping[str, Any] | None = None,
    **conds: Any,
) -> Tensor:
    """Called with what ``BaseModel.apply_model`` is called with."""
    options = dict(transformer_options or {})
    session: Session | None = options.pop(_SESSION, None)
    if session is None:
        return executor(x, t, c_concat, c_crossattn, control, options, **conds)
    _refuse_what_does_not_fit(session, x, options, conds)
    inner = options.get(OVERRIDE)
    model = executor.class_obj

    def run(one: Pass, t: Tensor, control: Any, conds: dict[str, Any], **changed: Any) -> Tensor:
        text = conds.pop("c_crossattn")
        with choosing(model, one):
            return executor(x, t, c_concat, text, control, {**options, **changed, OVERRIDE: one}, **conds)

    conditions = {"c_crossattn": c_crossattn, **conds}

    def record(recorded: KeyValues) -> None:
        one = Pass(session.selection(len(x), x.device, painted=False), inner=inner)
        one.recorded = recorded
        # wrappers of other nodes, such as caches that skip steps, expect the painted picture
        wrappers = {kind: each for kind, each in options.get("wrappers", {}).items() if kind != _DIFFUSION_MODEL}
        run(one, torch.zeros_like(t), None, reference_conditions(model, conditions), wrappers=wrappers)

    recorded = session.recorded(_key(options), record, x.device)
    selection = session.selection(len(x), x.device, painted=True)
    one = Pass(selection, recorded, inner)
    result = run(one, t, _chosen_control(control, selection), conditions)
    if one.position not in (0, len(recorded)):  # 0: a cache answered without computing
        raise PanelError(
            f"The model computed {one.position} of {len(recorded)} attentions: another node skips blocks of it, in a way that "
            "isolated references cannot follow. Take that node out, or choose 'keep clean' in Condition Panels."
        )
    return result


_DIFFUSION_MODEL = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL


class Session:
    """The references of one call of a sampler.

    Args:
        tokens: bool [batch, tokens], which are given; on the processor.
        shape: of the latents.
    """

    def __init__(self, tokens: Tensor, shape: Sequence[int]) -> None:
        self._tokens = tokens
        self.shape = tuple(shape)
        self.references = int(tokens.sum())
        self.has_references = 0 < self.references < tokens.numel()
        self._selections: dict[Any, Selection] = {}
        self._kept: dict[Any, KeyValueCache] = {}

    def selection(self, batch: int, device: torch.device, *, painted: bool) -> Selection:
        """The given or the painted tokens of a batch that holds the pictures once per caption."""
        key = (device, painted)
        if key not in self._selections:
            self._selections[key] = Selection.of(~self._tokens if painted else self._tokens, device)
        return self._selections[key].repeated(batch)

    def recorded(self, key: Any, record: Callable[[KeyValues], None], device: torch.device) -> KeyValues:
        """What was recorded for these conditions; records it first if necessary."""
        if key not in self._kept:
            conditions = set(key[0])
            for other in [other for other in self._kept if conditions & set(other[0])]:
                del self._kept[other]  # the same captions in batches of another size
            kept = KeyValueCache(device)
            record(kept)
            if not kept.pairs:
                raise PanelError(
                    "The model computed nothing for the given panels: another node answered in its place. Take out nodes that "
                    "cache or skip steps, or choose 'keep clean' in Condition Panels."
                )
            self._kept[key] = kept
        return self._kept[key]

    def close(self) -> None:
        self._kept.clear()


class KeyValueCache(KeyValues):
    """Keys and values, on the graphics card as far as they fit; the others wait in main memory and are copied one block ahead.

    Args:
        device: that computes.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.pairs = _Pairs(device)


class _Pairs(dict[int, Pair]):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._ahead: dict[int, tuple[Pair, Any]] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __setitem__(self, number: int, pair: Pair) -> None:
        if self._stream is not None and _is_full(self._device, 2 * pair[0].nbytes):
            pair = (_pinned(pair[0]), _pinned(pair[1]))
        super().__setitem__(number, pair)

    def __getitem__(self, number: int) -> Pair:
        pair = super().__getitem__(number)
        if self._stream is None:
            return pair
        pair = self._fetched(number, pair)
        following = self.get(number + 1)
        if following is not None:
            self._fetch(number + 1, following)
        return pair

    def _fetch(self, number: int, pair: Pair) -> None:
        if pair[0].device == self._device or number in self._ahead:
            return
        assert self._stream is not None
        with torch.cuda.stream(self._stream):
            copies = (pair[0].to(self._device, non_blocking=True), pair[1].to(self._device, non_blocking=True))
            self._ahead[number] = (copies, self._stream.record_event())

    def _fetched(self, number: int, pair: Pair) -> Pair:
        if pair[0].device == self._device:
            return pair
        self._fetch(number, pair)
        copies, arrived = self._ahead.pop(number)
        current = torch.cuda.current_stream(self._device)
        current.wait_event(arrived)
        for copy in copies:
            copy.record_stream(current)
        return copies


def _is_full(device: torch.device, needed: int) -> bool:
    free = comfy.model_management.get_free_memory(device)
    return free < needed + comfy.model_management.minimum_inference_memory()


def _pinned(tensor: Tensor) -> Tensor:
    waiting = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return waiting.copy_(tensor)


def kept_bytes(model: Any, references: int, captions: int) -> int:
    """About how much the keys and values of so many tokens take, for so many captions."""
    value_bytes = (model.manual_cast_dtype or model.get_dtype()).itemsize
    return references * captions * sum(2 * size.width * value_bytes for size in block_sizes(model.diffusion_model))


# --- what else changes a model ----------------------------------------------------------------------------------------


def _key(options: Mapping[str, Any]) -> tuple[tuple, tuple]:
    """The conditions of a call, and the blocks that other nodes replace in it: some skip blocks for one of the captions."""
    replaced = options.get("patches_replace", {}).get("dit", {})
    return tuple(options.get("uuids", ())), tuple(sorted(map(str, replaced)))


def _refuse_hooks(conds: Mapping[str, list[dict[str, Any]]]) -> None:
    if any(cond.get("hooks") for group in conds.values() for cond in group):
        raise PanelError(
            "The caption comes with hooks (a LoRA of its own, or one that changes during sampling), but isolated references are "
            "computed once for all steps. Take the hooks out, or choose 'keep clean' in Condition Panels."
        )


def _refuse_what_does_not_fit(
    session: Session, x: Tensor, options: Mapping[str, Any], conds: Mapping[str, Any]
) -> None:
    remedy = "Take that out, or choose 'keep clean' in Condition Panels."
    if tuple(x.shape[-2:]) != tuple(session.shape[-2:]) or len(x) % session.shape[0]:
        raise PanelError(
            f"The caption is for an area of {x.shape[-1]}×{x.shape[-2]} latent pixels of a picture that has "
            f"{session.shape[-1]}×{session.shape[-2]}. Isolated references need the whole picture. {remedy}"
        )
    if conds.get("ref_latents"):
        raise PanelError(f"The caption comes with reference latents, as edit models take them. {remedy}")
    patches = [name for name in _WHOLE_PICTURE_PATCHES if options.get("patches", {}).get(name)]
    if patches:
        raise PanelError(
            f"Another node patches the model ({', '.join(patches)}) in a way that needs all of the picture's tokens, but given "
            f"panels are computed once and apart. {remedy}"
        )


def _chosen_control(control: Any, selection: Selection) -> Any:
    """A ControlNet's residuals for the painted tokens; given panels stay as they are.

    Raises:
        PanelError: if they are not about the picture's tokens.
    """
    if not control:
        return control

    def chosen(residual: Tensor | None) -> Tensor | None:
        if residual is None:
            return None
        if residual.ndim != 3 or residual.shape[1] != selection.tokens:
            raise PanelError(
                f"The ControlNet changes {tuple(residual.shape)} values, not the picture's {selection.tokens} tokens, so it "
                "cannot be combined with isolated references. Choose 'keep clean' in Condition Panels."
            )
        return selection.pick(residual, 1)

    return {
        place: [chosen(residual) for residual in residuals] if isinstance(residuals, list) else residuals
        for place, residuals in control.items()
    }
