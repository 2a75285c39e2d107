"""Read a dataset's files for the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...incontext.files.images import open_image
from ...incontext.panels.layout import PanelLayout
from ..references import panel_masks


@dataclass(frozen=True)
class TrainItem:
    """One set, ready to train on.

    Attributes:
        name: for messages.
        latent: [channels, (frames,) height, width], scaled as the model expects it.
        condition: the encoded caption, as `Predict` takes it.
        panels: bool [panels, height, width], the latent positions of each panel.
        weight: [height, width], weight of the loss at each position, 0…1; 0 where a panel is always given.
    """

    name: str
    latent: Tensor
    condition: Any
    panels: Tensor
    weight: Tensor


def read_picture(path: Path) -> Tensor:
    """A composite as float32 [H, W, 3] in 0…1."""
    with open_image(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)


def read_mask(path: Path | None) -> Tensor | None:
    """A loss mask as float32 [H, W], 1 where the loss counts; None without a path."""
    if path is None:
        return None
    with open_image(path) as image:
        return torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32) / 255)


def latent_masks(layout: PanelLayout, size: Sequence[int], mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The latent positions of each panel, and the weight of each position in the loss.

    Args:
        layout: where the panels are on the canvas.
        size: height and width of the latent.
        mask: the dataset's loss mask [H, W], in pixels; None if everything counts.

    Returns:
        bool [panels, height, width] and float32 [height, width].
    """
    height, width = size
    boxes = [(box.left, box.top, box.width, box.height) for box in layout.boxes]
    panels = panel_masks(boxes, (layout.width, layout.height), size)
    if mask is None:
        return panels, torch.ones(height, width)
    return panels, interpolate(mask[None, None], (height, width), mode="area")[0, 0]
