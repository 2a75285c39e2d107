"""Stitch panels into one canvas, and split the canvas into panels again.

Images are float tensors [batch, height, width, channels] in 0…1, masks [batch, height, width] with 1 where the model
paints: ComfyUI's IMAGE and MASK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import PanelError
from ..tensors import checked_masks
from .box import Box, Placement
from .choices import Alpha, Fit
from .colours import WHITE, Colour
from .edge import without_extension
from .fit import DEFAULT_SETTINGS, PanelSettings, place, resize, resize_mask, take_out
from .gather import as_given
from .layout import PanelLayout

NEUTRAL = (0.5, 0.5, 0.5)  # colour of a panel to generate; partial denoising would keep white
_ONE = 1 - 0.5 / 255  # resizing may leave a mask of 1 slightly below 1


@dataclass(frozen=True, slots=True)
class StitchedCanvas:
    """A canvas, its mask, and its layout.

    Attributes:
        canvas: [batch, H, W, 3] in 0…1.
        mask: [batch, H, W], 1 where the model paints. It may be an expanded view, so clone it before changing it.
        layout: with placements.
    """

    canvas: Tensor
    mask: Tensor
    layout: PanelLayout


def stitch(
    layout: PanelLayout,
    images: Sequence[Tensor | None],
    *,
    masks: Sequence[Tensor | None] = (),
    settings: PanelSettings | Sequence[PanelSettings] = DEFAULT_SETTINGS,
    fill: Colour = NEUTRAL,
    gutter: Colour = WHITE,
) -> StitchedCanvas:
    """Put panels on the layout's canvas.

    Args:
        layout: where the panels are.
        images: up to one per panel, in the layout's order. Panels with None or without an entry are to be generated.
        masks: up to one per panel, 1 where a given panel is to be repainted.
        settings: one for all panels, or one per panel.
        fill: colour where the mask is 1. Where the mask is lower, the picture shows.
        gutter: colour between the panels. If any panel is given, gutters are kept; otherwise they are generated too.

    Raises:
        PanelError: if an image or mask does not fit; it says which one, why, and what to do.
    """
    count = len(layout)
    if len(images) > count:
        raise PanelError(
            f"{len(images)} images for a layout of {count} panels. Remove images or choose a larger layout."
        )
    if len(masks) > count:
        raise PanelError(f"{len(masks)} masks for a layout of {count} panels. Remove masks or choose a larger layout.")
    every = [settings] * count if isinstance(settings, PanelSettings) else list(settings)
    if len(every) != count:
        raise PanelError(f"{len(every)} panel settings for a layout of {count} panels; give one, or one per panel.")
    padded_images = [*images, *[None] * (count - len(images))]
    padded_masks = [*masks, *[None] * (count - len(masks))]
    checked = [_checked_image(name, image) for name, image in zip(layout.names, padded_images, strict=True)]
    batch = _common_batch({name: image for name, image in zip(layout.names, checked, strict=True) if image is not None})
    reference = next((image for image in checked if image is not None), torch.empty(0))
    canvas = reference.new_empty((batch, layout.height, layout.width, 3))
    for gap in layout.gaps:
        _paint(canvas[:, gap.rows, gap.columns], gutter)
    any_given = any(image is not None for image in checked)
    hidden: list[tuple[Box, Tensor]] = []
    placements: list[Placement | None] = []
    parts = zip(layout.names, layout.boxes, checked, padded_masks, every, strict=True)
    for name, box, image, image_mask, setting in parts:
        panel = canvas[:, box.rows, box.columns]
        if image is None:
            if image_mask is not None:
                raise PanelError(f"Panel {name} has a mask but no image. Connect its image, or remove the mask.")
            _paint(panel, fill)
            hidden.append((box, canvas.new_ones(1, 1, 1)))
            placements.append(None)
            continue
        repaint = _checked_mask(name, image_mask, image)
        colours, repaint = _flatten(image, repaint, setting)
        placement = place(colours.shape[2], colours.shape[1], box, setting, name)
        _put_image(panel, colours, placement, setting)
        if repaint is not None:
            crop, content = placement.crop, placement.content
            shown = resize_mask(repaint[:, crop.rows, crop.columns], content.width, content.height)
            _hide(panel[:, content.rows, content.columns], shown, fill)
            hidden.append((content.moved(box.left, box.top), shown))
        placements.append(placement)
    mask = _mask(canvas, hidden if any_given else [], 0.0 if any_given else 1.0)
    return StitchedCanvas(canvas, mask, layout.placed(placements))


def is_filled(mask: Tensor) -> Tensor:
    """Where a canvas with this mask shows the fill colour instead of a picture: bool, of the mask's shape."""
    return mask > _ONE


def split(image: Tensor, layout: PanelLayout, *, original_size: bool = False) -> list[Tensor]:
    """The panels of a canvas, in the layout's order: the exact inverse of `stitch` for panels that were not resized.

    The panels are views of the image, except those that ``original_size`` resizes. Clone them before changing them.

    Args:
        image: [batch, H, W, channels]: the layout's canvas, which may be enlarged or reduced by a factor that leaves all
            edges on whole pixels, or extended to the model's grid by Condition Panels.
        layout: as `stitch` returned it, or any layout of that canvas.
        original_size: undo the fit of given panels: cut off padding, and return the visible part at its original size.

    Returns:
        One [batch, h, w, channels] per panel.

    Raises:
        LayoutError: if the image does not have the layout's proportions.
    """
    image = without_extension(image, layout.width, layout.height)
    boxes = layout.on_canvas(image.shape[2], image.shape[1])
    panels = [image[:, box.rows, box.columns] for box in boxes]
    if original_size and layout.placements:
        panels = [
            panel if placement is None else take_out(panel, placement, box)
            for panel, placement, box in zip(panels, layout.placements, layout.boxes, strict=True)
        ]
    return panels


def generated(panels: Sequence[Tensor], layout: PanelLayout) -> list[Tensor]:
    """The panels that were not given when the layout was stitched; all panels if it never was."""
    return [panel for panel, given in zip(panels, layout.given, strict=True) if not given]


def _checked_image(name: str, image: Tensor | None) -> Tensor | None:
    if image is None:
        return None
    return as_given(image, f"the image for panel {name}")


def _checked_mask(name: str, mask: Tensor | None, image: Tensor) -> Tensor | None:
    """The mask, [1 or batch, h, w] of the image's size; None if nothing is to be repainted."""
    batch, height, width, _ = image.shape
    if mask is None:
        return None
    mask = checked_masks(mask, f"the mask of panel {name}")
    if mask.shape[0] not in (1, batch):
        raise PanelError(
            f"The mask of panel {name} has a batch of {mask.shape[0]}, but its image has a batch of {batch}. Use one mask, or as "
            "many as there are images."
        )
    if mask.shape[1:] != (height, width):
        if not bool(mask.any()):  # Load Image gives a small empty mask for pictures without transparency
            return None
        raise PanelError(
            f"The mask of panel {name} is {mask.shape[2]}×{mask.shape[1]}, but its image is {width}×{height}. Use the mask "
            "that was drawn on this image, or resize it."
        )
    return mask.to(image)


def _flatten(image: Tensor, mask: Tensor | None, settings: PanelSettings) -> tuple[Tensor, Tensor | None]:
    """Grey, RGB or RGBA → RGB, and the mask, which includes transparency if the settings say so."""
    if image.shape[-1] == 1:
        return image.expand(*image.shape[:3], 3), mask
    if image.shape[-1] == 3:
        return image, mask
    colours, alpha = image[..., :3], image[..., 3:]
    flat = torch.lerp(colours.new_tensor(settings.padding).expand_as(colours), colours, alpha)
    if settings.alpha is Alpha.REPAINT:
        transparent = 1 - alpha[..., 0]
        return flat, torch.maximum(torch.zeros_like(transparent) if mask is None else mask, transparent)
    return flat, mask


def _put_image(panel: Tensor, image: Tensor, placement: Placement, settings: PanelSettings) -> None:
    """Fit an image into a panel, a view of the canvas, in place."""
    crop, content = placement.crop, placement.content
    panel[:, content.rows, content.columns] = resize(image[:, crop.rows, crop.columns], content.width, content.height)
    if (content.height, content.width) == tuple(panel.shape[1:3]):
        return
    left, right, above, below = (
        panel[:, content.rows, : content.left],
        panel[:, content.rows, content.right :],
        panel[:, : content.top],
        panel[:, content.bottom :],
    )
    if settings.fit is Fit.CONTAIN_EDGE:
        left[:] = panel[:, content.rows, content.left, None]
        right[:] = panel[:, content.rows, content.right - 1, None]
        above[:] = panel[:, content.top, None]
        below[:] = panel[:, content.bottom - 1, None]
    else:
        for margin in (left, right, above, below):
            _paint(margin, settings.padding)


def _hide(area: Tensor, mask: Tensor, fill: Colour) -> None:
    """Paint a part of the canvas, in place, where a mask of its size is 1."""
    # look closely only at the rows and columns with something to paint
    rows = _touched(mask.amax((0, 2)))
    columns = _touched(mask[:, rows].amax((0, 1))) if rows.stop else rows
    area, mask = area[:, rows, columns], mask[:, rows, columns]
    if not mask.numel():
        return
    if bool(is_filled(mask.amin())):
        _paint(area, fill)
        return
    filled = is_filled(mask)
    for channel, value in enumerate(fill):
        area[..., channel].masked_fill_(filled, value)


def _touched(largest: Tensor) -> slice:
    """From the first to the last row or column that may be filled, given the largest mask value of each."""
    found = torch.nonzero(is_filled(largest))[:, 0]
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def _mask(canvas: Tensor, hidden: Sequence[tuple[Box, Tensor]], elsewhere: float) -> Tensor:
    """The canvas's mask [batch, H, W] from the masks of its parts; an expanded view if all of the batch are the same."""
    batch, height, width, _ = canvas.shape
    if not hidden:
        return canvas.new_tensor(elsewhere).expand(batch, height, width)
    mask = canvas.new_empty((max(len(part) for _, part in hidden), height, width))
    if sum(box.width * box.height for box, _ in hidden) < width * height:
        mask.fill_(elsewhere)
    for box, part in hidden:
        mask[:, box.rows, box.columns] = part
    return mask.expand(batch, height, width)


def _paint(area: Tensor, colour: Colour) -> None:
    """Give a part of the canvas one colour. Writing whole rows is faster than broadcasting three channels per pixel."""
    if len(set(colour)) == 1:
        area.fill_(colour[0])
    elif area.numel():
        area.view(*area.shape[:2], -1)[:] = area.new_tensor(colour).repeat(area.shape[2])


def _common_batch(images: dict[str, Tensor]) -> int:
    sizes = {name: image.shape[0] for name, image in images.items()}
    larger = {size for size in sizes.values() if size > 1}
    if len(larger) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise PanelError(
            f"The panels have batches of different sizes ({listed}). Use the same number of images in each, or one."
        )
    return max(sizes.values(), default=1)
