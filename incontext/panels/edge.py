"""Extend a canvas to a model's grid by repeating its right and bottom edges, and cut the extension off again.

Autoencoders cut off what does not fill a whole latent pixel, and transformers pad what does not fill a whole patch.
Extending the canvas keeps the whole picture, and each panel stays where its layout says.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

_STEPS = (8, 16, 32, 64)  # px per token of existing models: the autoencoder's factor times the patch


def pixels_missing(length: int, step: int) -> int:
    """Pixels from ``length`` to the next multiple of ``step``."""
    return -length % step


def extend_edges(pictures: Tensor, step: int) -> Tensor:
    """Extend pictures [batch, H, W, channels] to multiples of ``step`` px by repeating their right and bottom edges."""
    right, bottom = pixels_missing(pictures.shape[2], step), pixels_missing(pictures.shape[1], step)
    if not right and not bottom:
        return pictures
    return pad(pictures.movedim(-1, 1), (0, right, 0, bottom), mode="replicate").movedim(1, -1).contiguous()


def extend_mask(masks: Tensor, step: int) -> Tensor:
    """`extend_edges` for masks [batch, H, W]."""
    return extend_edges(masks[..., None], step)[..., 0]


def without_extension(pictures: Tensor, width: int, height: int) -> Tensor:
    """Cut off what `extend_edges` added to a canvas of ``width`` × ``height``. Pictures of any other size are not changed.

    Args:
        pictures: [batch, H, W, channels].
    """
    size = (pictures.shape[2], pictures.shape[1])
    extensions = {(width + pixels_missing(width, step), height + pixels_missing(height, step)) for step in _STEPS}
    return pictures[:, :height, :width] if size in extensions else pictures


def extend_mask_to(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Extend masks [batch, H, W] as their canvas was, if it has ``rows`` × ``columns`` cells on one of the grids."""
    height, width = masks.shape[-2:]
    for step in _STEPS:
        if (-(-height // step), -(-width // step)) == (rows, columns):
            return extend_mask(masks, step)
    return masks
