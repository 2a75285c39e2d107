"""A canvas on a model's grid: repeat its right and bottom edge up to the next multiple, and cut that off again.

Autoencoders cut whatever does not fill a whole latent pixel, and transformers pad what does not fill a whole patch.
Adding pixels instead keeps all of the picture, and each panel stays where its layout says.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

_STEPS = (8, 16, 32, 64)  # px per token of the models there are: the autoencoder's factor times the patch


def missing(length: int, step: int) -> int:
    """Pixels up to the next multiple of ``step``."""
    return -length % step


def extended(pictures: Tensor, step: int) -> Tensor:
    """Pictures [batch, H, W, channels], their right and bottom edge repeated up to multiples of ``step`` px."""
    right, bottom = missing(pictures.shape[2], step), missing(pictures.shape[1], step)
    if not right and not bottom:
        return pictures
    return pad(pictures.movedim(-1, 1), (0, right, 0, bottom), mode="replicate").movedim(1, -1).contiguous()


def extended_mask(masks: Tensor, step: int) -> Tensor:
    """As `extended`, for masks [batch, H, W]."""
    return extended(masks[..., None], step)[..., 0]


def without_extension(pictures: Tensor, width: int, height: int) -> Tensor:
    """Cut off what `extended` added to a canvas of ``width`` × ``height``; pictures of any other size stay as they are."""
    size = (pictures.shape[2], pictures.shape[1])
    extensions = {(width + missing(width, step), height + missing(height, step)) for step in _STEPS}
    return pictures[:, :height, :width] if size in extensions else pictures


def extended_to(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Masks [batch, H, W] extended as their canvas was, where it has ``rows`` × ``columns`` cells of one of the grids."""
    height, width = masks.shape[-2:]
    for step in _STEPS:
        if (-(-height // step), -(-width // step)) == (rows, columns):
            return extended_mask(masks, step)
    return masks
