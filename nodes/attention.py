"""The attention of a MODEL, biased by which panels are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import comfy.model_base
import comfy.patcher_extension
import torch
from torch import Tensor

from ..incontext.attention import Grid, painted_tokens, reference_bias, with_bias
from ..incontext.errors import PanelError

_GRID = "incontext_grid"  # in transformer_options, for the length of one call
_NAME = "incontext_reference_attention"


def attend_to_references(
    model: Any, mask: Tensor, strength: float, start_percent: float = 0.0, end_percent: float = 1.0
) -> Any:
    """A MODEL whose painted panels look ``strength`` times as much at the given ones.

    Args:
        model: of the FLUX, Chroma or SD3 class.
        mask: [batch, H, W] with 1 where panels are painted.
        strength: with 1 the model comes back as it was.
        start_percent, end_percent: the part of sampling in which this is so.

    Raises:
        PanelError: for other classes of models.
    """
    base = model.model
    if not isinstance(base, comfy.model_base.Flux | comfy.model_base.SD3) or isinstance(
        base, comfy.model_base.ChromaRadiance
    ):
        raise PanelError(
            f"{type(base).__name__} is not supported; the strength of attention can be set for FLUX, Chroma and SD3 models."
        )
    if strength == 1 or start_percent >= end_percent:
        return model
    sampling = model.get_model_object("model_sampling")
    first, last = (float(sampling.percent_to_sigma(percent)) for percent in (start_percent, end_percent))
    patched = model.clone()
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, _NAME, _remember_grid)
    options = patched.model_options["transformer_options"]
    options["optimized_attention_override"] = _Biased(
        mask, strength, first, last, options.get("optimized_attention_override")
    )
    return patched


class _Biased:
    """Attention with a bias. Biases are kept for the shapes seen last, since every block and step needs the same."""

    _KEPT = 4

    def __init__(
        self, mask: Tensor, strength: float, first: float, last: float, inner: Callable[..., Tensor] | None
    ) -> None:
        self._mask = mask
        self._strength = strength
        self._first, self._last = first, last
        self._inner = inner
        self._biases: dict[Any, Tensor | None] = {}

    def __call__(self, attention: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        options = kwargs.get("transformer_options") or {}
        grid = options.get(_GRID)
        if grid is not None and self._is_on(options.get("sigmas")):
            q, k = args[0], args[1]
            length = 2 if kwargs.get("skip_reshape") else 1  # [batch, heads, tokens, width] or [batch, tokens, width]
            if q.shape[length] == k.shape[length]:
                bias = self._bias(grid, q.shape[length], q)
                if bias is not None:
                    kwargs["mask"] = with_bias(kwargs.get("mask"), bias)
        if self._inner is not None:
            return self._inner(attention, *args, **kwargs)
        return attention(*args, **kwargs)

    def _is_on(self, sigmas: Tensor | None) -> bool:
        if sigmas is None:
            return True
        sigma = float(sigmas.max())
        # the schedule's ends belong to it: percent 0 and 1 may lie just inside of the first and last sigma
        return self._last <= sigma <= self._first or math.isclose(sigma, self._first, rel_tol=1e-4)

    def _bias(self, grid: Grid, tokens: int, like: Tensor) -> Tensor | None:
        key = (grid, tokens, like.device, like.dtype)
        if key not in self._biases:
            painted = painted_tokens(self._mask.to(like.device), grid.rows, grid.columns)
            bias = reference_bias(painted, grid, tokens, self._strength)
            while len(self._biases) >= self._KEPT:
                self._biases.pop(next(iter(self._biases)))
            self._biases[key] = None if bias is None else bias.to(like.dtype)
        return self._biases[key]


def _remember_grid(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Tell the attention how many tokens the picture has; called with what ``BaseModel.apply_model`` is called with."""
    base = executor.class_obj
    options = kwargs.get("transformer_options")
    if options is None:
        options = args[4]  # after t, c_concat, c_crossattn and control
    patch = _patch_size(base.diffusion_model)
    references = sum(
        math.ceil(latent.shape[-2] / patch) * math.ceil(latent.shape[-1] / patch)
        for latent in kwargs.get("ref_latents") or []
    )
    options[_GRID] = Grid(math.ceil(x.shape[-2] / patch), math.ceil(x.shape[-1] / patch), references)
    return executor(x, *args, **kwargs)


def _patch_size(transformer: torch.nn.Module) -> int:
    return int(transformer.patch_size)  # pyright: ignore[reportArgumentType]
