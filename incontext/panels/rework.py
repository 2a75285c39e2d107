"""Work on a finished set: repaint some of its panels, or enlarge each of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from .box import Box, Placement
from .colours import Colour
from .edge import without_extension
from .fit import resize
from .layout import PanelLayout
from .stitch import NEUTRAL, StitchedCanvas, split


def repaint(canvas: Tensor, layout: PanelLayout, panels: Sequence[int], *, fill: Colour = NEUTRAL) -> StitchedCanvas:
    """Open some panels of a finished set for repainting; the others become references.

    Args:
        canvas: [batch, H, W, 3 or more], the layout's canvas, which may be enlarged or reduced.
        layout: where the panels are.
        panels: indices of those to repaint.
        fill: colour that they hold until then.

    Returns:
        As from `stitch`, on a layout of the canvas's size; the other panels and the gutters are kept.

    Raises:
        LayoutError: if the canvas does not have the layout's proportions.
    """
    canvas = without_extension(canvas, layout.width, layout.height)
    boxes = layout.on_canvas(canvas.shape[2], canvas.shape[1])
    result = canvas[..., :3].clone()
    mask = result.new_zeros(result.shape[:3])
    placements: list[Placement | None] = []
    for index, box in enumerate(boxes):
        if index in panels:
            result[:, box.rows, box.columns] = result.new_tensor(fill)
            mask[:, box.rows, box.columns] = 1.0
            placements.append(None)
        else:
            whole = Box(0, 0, box.width, box.height)
            placements.append(Placement(box.width, box.height, whole, whole))
    own = PanelLayout(canvas.shape[2], canvas.shape[1], boxes, layout.names, tuple(placements))
    return StitchedCanvas(result, mask, own)


def enlarge_panels(canvas: Tensor, layout: PanelLayout, factor: Fraction) -> tuple[list[Tensor], PanelLayout]:
    """Enlarge each panel separately, so that colours do not bleed across seams.

    Args:
        canvas: [batch, H, W, channels].
        layout: where the panels are.
        factor: of both sides; every edge must fall on a whole pixel.

    Returns:
        The panels, [batch, h, w, channels] each, and the layout of the enlarged canvas.

    Raises:
        LayoutError: if an edge does not fall on a whole pixel, or the canvas does not have the layout's proportions.
    """
    canvas = without_extension(canvas, layout.width, layout.height)
    boxes = layout.on_canvas(canvas.shape[2], canvas.shape[1])
    whole = Box(0, 0, canvas.shape[2], canvas.shape[1])
    n, d = factor.numerator, factor.denominator
    scaled = tuple(box.scaled(n, d) for box in boxes)
    large = whole.scaled(n, d)
    panels = [resize(panel, box.width, box.height) for panel, box in zip(split(canvas, layout), scaled, strict=True)]
    return panels, PanelLayout(large.width, large.height, scaled, layout.names)
