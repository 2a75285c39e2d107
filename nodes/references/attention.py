"""The attention of a MODEL: painted panels attend more or less to given ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import comfy.model_base
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ...incontext.errors import PanelError
from ...incontext.panels.attention import (
    Grid,
    TokenGroups,
    check_same_masks,
    grouped_attention,
    painted_tokens,
    token_groups,
)
from ...incontext.panels.box import Box
from .patches import patch_side

_PICTURE = "incontext_picture"  # in transformer_options, for one evaluation of all conditions: where each looks
_NAME = "incontext_reference_attention"


@dataclass(frozen=True, slots=True)
class _Picture:
    """Size of the whole latent, and, by its uuid, the part that each condition sees; conditions not listed see all of it."""

    rows: int
    columns: int
    areas: dict[Any, Box]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one part of a batch shows.

    Attributes:
        rows, columns: latent pixels of the whole picture.
        area: the part of them that is seen; None for all.
        grid: the tokens.
    """

    rows: int
    columns: int
    area: Box | None
    grid: Grid


def attend_to_references(
    model: Any, mask: Tensor, strength: float, start_percent: float = 0.0, end_percent: float = 1.0
) -> Any:
    """A MODEL whose painted panels attend ``strength`` times as much to the given ones.

    Args:
        model: of the FLUX, Chroma or SD3 class.
        mask: [batch, H, W] with 1 where panels are painted.
        strength: 1 returns the model unchanged.
        start_percent, end_percent: the part of sampling in which this applies.

    Raises:
        PanelError: if the model has another class, or masks differ within the batch.
    """
    base = model.model
    if not isinstance(base, comfy.model_base.Flux | comfy.model_base.SD3) or isinstance(
        base, comfy.model_base.ChromaRadiance
    ):
        raise PanelError(
            f"{type(base).__name__} is not supported; the strength of attention can be set for FLUX, Chroma and SD3 models."
        )
    mask = mask.reshape(-1, *mask.shape[-2:])
    check_same_masks(mask)
    if strength == 1 or start_percent >= end_percent:
        return model
    sampling = model.get_model_object("model_sampling")
    first = math.inf if start_percent <= 0 else float(sampling.percent_to_sigma(start_percent))
    last = 0.0 if end_percent >= 1 else float(sampling.percent_to_sigma(end_percent))
    patched = model.clone()
    wrappers = comfy.patcher_extension.WrappersMP
    key = f"{_NAME}_{uuid4().hex}"
    patched.add_wrapper_with_key(wrappers.CALC_COND_BATCH, _NAME, _remember_picture)
    patched.add_wrapper_with_key(wrappers.APPLY_MODEL, _NAME, _Remember(key, first, last))
    options = patched.model_options["transformer_options"]
    options["optimized_attention_override"] = ReferenceAttention(
        mask[:1].cpu(), patch_side(base.diffusion_model), strength, options.get("optimized_attention_override"), key
    )
    return patched


class ReferenceAttention:
    """Takes the place of ComfyUI's attention while the model runs.

    Groups of tokens are kept for the sequences seen last, since every block and step needs the same ones; they are a
    few numbers per token.

    Args:
        inner: the attention to use for everything else, such as that of a node for another part of sampling.
        key: in transformer_options, where `_Remember` puts the parts of a call.
    """

    _KEPT = 8

    def __init__(
        self, mask: Tensor, patch: int, strength: float, inner: Callable[..., Tensor] | None, key: str
    ) -> None:
        self._key = key
        self._mask = mask
        self._patch = patch
        self._strength = strength
        self._inner = inner
        self._kept: dict[Any, TokenGroups | None] = {}

    def __call__(
        self,
        attention: Callable[..., Tensor],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        attn_precision: torch.dtype | None = None,
        skip_reshape: bool = False,
        skip_output_reshape: bool = False,
        **options: Any,
    ) -> Tensor:
        options.update(
            attn_precision=attn_precision, skip_reshape=skip_reshape, skip_output_reshape=skip_output_reshape
        )
        run = attention if self._inner is None else partial(self._inner, attention)

        def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            return run(q, k, v, heads, mask=mask, **options)

        def biased(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            # the one kernel of ComfyUI that always adds a bias: sage and flash attention ignore or refuse it
            return attention_pytorch(q, k, v, heads, mask=mask, **{**options, "_inside_attn_wrapper": True})

        tokens_in = 2 if skip_reshape else 1  # [batch, heads, tokens, width] or [batch, tokens, width]
        tokens_out = 2 if skip_output_reshape else 1
        tokens = q.shape[tokens_in]
        parts: tuple[_Part, ...] = (options.get("transformer_options") or {}).get(self._key, ())
        if not parts or k.shape[tokens_in] != tokens:
            return plain(q, k, v, mask)
        if all(part == parts[0] for part in parts):
            parts = parts[:1]  # one call for the whole batch
        groups = [self._groups(part, tokens, q.device) for part in parts]
        if not any(groups):
            return plain(q, k, v, mask)
        results = []
        size = q.shape[0] // len(parts)
        for number, group in enumerate(groups):
            rows = slice(number * size, (number + 1) * size)
            own = mask[rows] if mask is not None and mask.ndim > 2 and mask.shape[0] == q.shape[0] else mask
            if group is None:
                results.append(plain(q[rows], k[rows], v[rows], own))
            else:
                results.append(
                    grouped_attention(
                        q[rows], k[rows], v[rows], own, group,
                        plain=plain, biased=biased, tokens_in=tokens_in, tokens_out=tokens_out,
                    )
                )  # fmt: skip
        return results[0] if len(results) == 1 else torch.cat(results)

    def strength(self, options: Mapping[str, Any]) -> float:
        """How strongly painted panels attend to given ones in this call; 1 outside the chosen part of sampling."""
        if options.get(self._key):
            return self._strength
        return self._inner.strength(options) if isinstance(self._inner, ReferenceAttention) else 1.0

    def _groups(self, part: _Part, tokens: int, device: torch.device) -> TokenGroups | None:
        key = (part, tokens, device)
        if key not in self._kept:
            painted = painted_tokens(self._mask, part.rows, part.columns, patch=self._patch, area=part.area)
            groups = token_groups(painted, part.grid, tokens, self._strength)
            while len(self._kept) >= self._KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = None if groups is None else groups.to(device)
        return self._kept[key]


def _remember_picture(
    executor: Any, model: Any, conds: list[list[dict[str, Any]] | None], x: Tensor, timestep: Tensor, options: dict
) -> Any:
    """Say which part of the picture each condition sees: ComfyUI cuts out the area of a condition that has one."""
    height, width = x.shape[-2:]
    areas = {}
    for each in (cond for group in conds for cond in group or ()):
        if len(each.get("area", ())) == 4:
            rows, columns, top, left = each["area"]
            areas[each.get("uuid")] = Box(left, top, min(width - left, columns), min(height - top, rows))
    own = {**options.get("transformer_options", {}), _PICTURE: _Picture(height, width, areas)}
    return executor(model, conds, x, timestep, {**options, "transformer_options": own})


class _Remember:
    """Tell the attention with this key which tokens the picture has, if it applies at this step.

    Called with what ``BaseModel.apply_model`` is called with.
    """

    def __init__(self, key: str, first: float, last: float) -> None:
        self._key, self._first, self._last = key, first, last

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base = executor.class_obj
        options = kwargs.get("transformer_options")
        if options is None:
            options = args[4]  # after t, c_concat, c_crossattn and control
        options[self._key] = self._parts(base, x, options, kwargs) if self._is_on(options.get("sigmas")) else ()
        return executor(x, *args, **kwargs)

    def _is_on(self, sigmas: Tensor | None) -> bool:
        if sigmas is None or (self._first == math.inf and self._last <= 0):
            return True  # without waiting for the graphics card to say a number
        sigma = float(sigmas.max())
        # the schedule's ends belong to it: percent 0 and 1 may lie just inside the first and last sigma
        return self._last <= sigma <= self._first or math.isclose(sigma, self._first, rel_tol=1e-4)

    @staticmethod
    def _parts(base: Any, x: Tensor, options: dict[str, Any], kwargs: dict[str, Any]) -> tuple[_Part, ...]:
        patch = patch_side(base.diffusion_model)
        references = sum(
            math.ceil(latent.shape[-2] / patch) * math.ceil(latent.shape[-1] / patch)
            for latent in kwargs.get("ref_latents") or []
        )
        height, width = x.shape[-2:]
        grid = Grid(math.ceil(height / patch), math.ceil(width / patch), references)
        picture = options.get(_PICTURE)
        if picture is None:  # called by something other than ComfyUI's samplers
            return (_Part(height, width, None, grid),)
        return tuple(
            _Part(picture.rows, picture.columns, picture.areas.get(uuid), grid)
            for uuid in options.get("uuids", (None,))
        )
