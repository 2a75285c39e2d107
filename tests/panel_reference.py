"""Stitching and splitting as the library did it first: slow, each step on its own. Whatever is faster must give the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from incontext_lora.incontext.panels.box import Box, Placement
from incontext_lora.incontext.panels.choices import Alpha, Fit
from incontext_lora.incontext.panels.colours import Colour
from incontext_lora.incontext.panels.fit import PanelSettings, place
from incontext_lora.incontext.panels.layout import PanelLayout
from torch import Tensor
from torch.nn.functional import interpolate, pad


def stitch(
    layout: PanelLayout,
    images: Sequence[Tensor | None],
    masks: Sequence[Tensor | None],
    settings: Sequence[PanelSettings],
    fill: Colour,
    gutter: Colour,
) -> tuple[Tensor, Tensor]:
    """Canvas and mask of valid images [batch, h, w, channels] and masks [batch, h, w], one or None per panel."""
    batch = max((len(image) for image in images if image is not None), default=1)
    is_any_given = any(image is not None for image in images)
    canvas = torch.empty(batch, layout.height, layout.width, 3)
    canvas[:] = torch.tensor(gutter)
    canvas_mask = torch.full((batch, layout.height, layout.width), 0.0 if is_any_given else 1.0)
    for box, image, mask, setting in zip(layout.boxes, images, masks, settings, strict=True):
        if image is None:
            canvas[:, box.rows, box.columns] = torch.tensor(fill)
            canvas_mask[:, box.rows, box.columns] = 1.0
            continue
        image = image.float()
        if mask is None or not mask.any():
            mask = torch.zeros(1, *image.shape[1:3])
        colours, mask = _flatten(image, mask.float(), setting)
        placement = place(colours.shape[2], colours.shape[1], box, setting)
        panel, panel_mask = _fit(colours, mask, placement, box, setting)
        filled = (panel_mask > 1 - 0.5 / 255)[..., None]
        canvas[:, box.rows, box.columns] = torch.where(filled, torch.tensor(fill), panel)
        canvas_mask[:, box.rows, box.columns] = panel_mask
    return canvas, canvas_mask


def split(canvas: Tensor, boxes: Sequence[Box]) -> list[Tensor]:
    return [canvas[:, box.rows, box.columns].contiguous() for box in boxes]


def as_batch(panels: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(panels), 1).flatten(0, 1)


def resize(image: Tensor, width: int, height: int) -> Tensor:
    if (image.shape[2], image.shape[1]) == (width, height):
        return image.contiguous()
    channels_first = image.movedim(-1, 1)
    resized = interpolate(channels_first, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1).movedim(1, -1).contiguous()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    if (mask.shape[2], mask.shape[1]) == (width, height):
        return mask
    resized = interpolate(mask[:, None], (height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized[:, 0].clamp(0, 1)


def _flatten(image: Tensor, mask: Tensor, settings: PanelSettings) -> tuple[Tensor, Tensor]:
    if image.shape[-1] == 1:
        return image.expand(*image.shape[:3], 3), mask
    if image.shape[-1] == 3:
        return image, mask
    colours, alpha = image[..., :3], image[..., 3:]
    flat = torch.lerp(torch.tensor(settings.padding).expand_as(colours), colours, alpha)
    if settings.alpha is Alpha.REPAINT:
        return flat, torch.maximum(mask, 1 - alpha[..., 0])
    return flat, mask


def _fit(image: Tensor, mask: Tensor, placement: Placement, box: Box, settings: PanelSettings) -> tuple[Tensor, Tensor]:
    crop, content = placement.crop, placement.content
    visible = resize(image[:, crop.rows, crop.columns], content.width, content.height)
    visible_mask = resize_mask(mask[:, crop.rows, crop.columns], content.width, content.height)
    if (content.width, content.height) == (box.width, box.height):
        return visible, visible_mask
    margins = (content.left, box.width - content.right, content.top, box.height - content.bottom)
    if settings.fit is Fit.CONTAIN_EDGE:
        panel = pad(visible.movedim(-1, 1), margins, mode="replicate").movedim(1, -1)
    else:
        panel = torch.empty(len(visible), box.height, box.width, 3)
        panel[:] = torch.tensor(settings.padding)
        panel[:, content.rows, content.columns] = visible
    return panel, pad(visible_mask, margins)
