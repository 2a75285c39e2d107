"""Pictures and masks as other nodes hand them over → what the library works with, or an error that says what is odd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import PanelError


def checked_pictures(pictures: Any, what: str, *, coloured: bool = True, finite: bool = True) -> Tensor:
    """A batch of pictures as float32 [batch, height, width, channels].

    Args:
        pictures: a tensor of any floating type; a single picture may lack the batch.
        what: what the message calls it, such as ``the image``.
        coloured: make three channels of one (grey).
        finite: refuse values that are not numbers; otherwise they are passed on as they are, which costs nothing.

    Raises:
        PanelError: if the shape or type is another, the batch is empty, or values are not numbers.
    """
    values = _floats(pictures, what)
    if values.ndim == 3:
        values = values[None]
    if values.ndim != 4 or values.shape[-1] not in (1, 3, 4) or 0 in values.shape:
        raise PanelError(
            f"{_begin(what)} has the shape {list(pictures.shape)}; expected [batch, height, width, channels] with 1 "
            "(grey), 3 (RGB) or 4 (RGBA) channels, and at least one picture. Connect an IMAGE."
        )
    if coloured and values.shape[-1] == 1:
        values = values.expand(-1, -1, -1, 3)
    return _finite(values, what) if finite else values


def checked_masks(masks: Any, what: str) -> Tensor:
    """A batch of masks as float32 [batch, height, width]; a single one may lack the batch.

    Raises:
        PanelError: as `checked_pictures`.
    """
    values = masks.float() if isinstance(masks, Tensor) and masks.dtype is torch.bool else _floats(masks, what)
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values[:, 0] if values.shape[1] == 1 else values[..., 0]
    if values.ndim != 3 or 0 in values.shape:
        raise PanelError(
            f"{_begin(what)} has the shape {list(masks.shape)}; expected [batch, height, width], and at least one mask. "
            "Connect a MASK."
        )
    return _finite(values, what)


def _begin(what: str) -> str:
    return what[:1].upper() + what[1:]


def _floats(values: Any, what: str) -> Tensor:
    if not isinstance(values, Tensor):
        raise PanelError(f"{_begin(what)} is a {type(values).__name__}, not a tensor. Connect an IMAGE or a MASK.")
    if not values.is_floating_point():
        kind = str(values.dtype).removeprefix("torch.")
        raise PanelError(
            f"{_begin(what)} holds values of type {kind}; expected floating-point numbers from 0 to 1. The node that made "
            "it does not follow ComfyUI's form; use another one, or convert the values."
        )
    return values.float()


def _finite(values: Tensor, what: str) -> Tensor:
    # a value that is not a number makes the sum none; the sum is found many times as fast as each value is looked at
    if not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
        raise PanelError(
            f"{_begin(what)} holds values that are not numbers (NaN or infinity), as a model gives them that overflows in "
            "half precision. Run the model or the VAE in float32 or bfloat16."
        )
    return values


def as_uint8(picture: Tensor) -> np.ndarray:
    """Values in 0…1 of any shape → the nearest of 256 levels; values beyond become the outermost level."""
    return (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
