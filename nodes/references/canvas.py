"""A canvas with some panels given, on the grid of the model that paints the others."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...incontext.errors import PanelError
from ...incontext.panels.edge import pixels_missing
from ...incontext.panels.layout import PanelLayout
from .patches import patch_side


def check_canvas(canvas: Tensor, mask: Tensor, layout: PanelLayout | None) -> None:
    if tuple(mask.shape[-2:]) != tuple(canvas.shape[1:3]):
        raise PanelError(
            f"The mask is {mask.shape[-1]}×{mask.shape[-2]}, the canvas {canvas.shape[2]}×{canvas.shape[1]}. "
            "Connect both from the same Stitch Panels."
        )
    if layout is not None and (layout.width, layout.height) != (canvas.shape[2], canvas.shape[1]):
        raise PanelError(
            f"The canvas is {canvas.shape[2]}×{canvas.shape[1]}, the layout {layout.width}×{layout.height}. "
            "Connect both from the same Stitch Panels."
        )


def given_parts(canvas: Tensor, mask: Tensor, layout: PanelLayout | None) -> list[Tensor]:
    """What an edit model is shown: every panel that is given at least in part, in order; without a layout, the whole canvas."""
    if layout is None:
        return [canvas]
    return [
        canvas[:, box.rows, box.columns] for box in layout.boxes if bool((mask[:, box.rows, box.columns] < 0.5).any())
    ]


def grid_step(model: Any, vae: Any) -> int:
    """Pixels per token of a model: those of a latent pixel, times the latent pixels of a patch."""
    return int(vae.spacial_compression_encode()) * patch_side(model.model.diffusion_model)


def extension(canvas: Tensor, step: int) -> list[str]:
    """A line that says what is added to a canvas which does not fill the model's grid."""
    width, height = canvas.shape[2], canvas.shape[1]
    right, bottom = pixels_missing(width, step), pixels_missing(height, step)
    if not right and not bottom:
        return []
    return [
        f"The canvas is {width}×{height}; this model paints multiples of {step} px. {right} px at the right and {bottom} px at "
        "the bottom are added by repeating its edge. Keep Given Panels, Split Panels and Paste Panels cut them off again."
    ]


def off_grid(layout: PanelLayout | None, step: int) -> list[str]:
    """A line for each panel whose edges fall between the model's tokens, where neighbours would be mixed."""
    if layout is None:
        return []
    # nothing lies beyond the canvas's own right and bottom edge
    return [
        f"Panel {name} ({box}) does not begin and end on multiples of {step} px; its edge is painted together with its "
        f"neighbour's. Choose a panel step of {step}."
        for name, box in zip(layout.names, layout.boxes, strict=True)
        if any(edge % step for edge in (box.left, box.top))
        or (box.right % step and box.right != layout.width)
        or (box.bottom % step and box.bottom != layout.height)
    ]
