"""Paste painted panels and windows back into the picture that they came from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ..errors import PanelError
from .box import Box, Placement
from .choices import ColourMatch
from .colour_match import match_colours
from .edge import without_extension
from .fit import resize, resize_mask
from .stitch import is_filled
from .windows import Windows, checked_inputs, masked_box, size_of


def paste_windows(
    pictures: Tensor,
    painted: Tensor,
    windows: Windows,
    *,
    feather: int = 0,
    colours: ColourMatch = ColourMatch.OFF,
) -> Tensor:
    """Put painted crops back into the pictures they were cut from.

    Args:
        pictures: the ones that `context_crop` was given.
        painted: [n, h, w, 3 or more], one per region, in order; a multiple of that for several versions. The crops may be
            enlarged.
        windows: as `context_crop` returned them.
        feather: pixels inwards from the mask's edge over which the painted part fades in.
        colours: how colours are matched to the part of the crop around the mask.

    Returns:
        [versions × pictures, H, W, channels]; outside the mask exactly the pictures' own pixels.

    Raises:
        PanelError: if the pictures or crops do not match the windows.
        LayoutError: if the crops were enlarged by a factor that moves an edge off the whole pixels.
    """
    if tuple(pictures.shape[:3]) != (windows.pictures, windows.height, windows.width):
        raise PanelError(
            f"The picture is {size_of(pictures)}, but the window was cut from {windows.pictures} of "
            f"{windows.width}×{windows.height}. Connect the picture that Context Crop was given."
        )
    versions, rest = divmod(painted.shape[0], len(windows))
    if rest or not versions:
        raise PanelError(
            f"There are {painted.shape[0]} painted panels for {len(windows)} windows. Connect one per window, in order."
        )
    result = pictures.repeat(versions, 1, 1, 1)
    panel = Box(0, 0, windows.panel_width, windows.panel_height)
    for number in range(len(painted)):
        version, index = divmod(number, len(windows))
        region = windows.regions[index]
        target = version * windows.pictures + region.picture
        mask = pictures.new_zeros((windows.height, windows.width))
        mask[region.touched.rows, region.touched.columns] = region.mask.to(mask)
        result[target] = paste(
            result[target][None],
            painted[number][None],
            windows.placement(region),
            panel,
            mask[None],
            feather=feather,
            colours=colours,
            around=pictures[region.picture][None],
        )[0]
    return result


def paste(
    pictures: Tensor,
    painted: Tensor,
    placement: Placement,
    panel: Box,
    masks: Tensor,
    *,
    feather: int = 0,
    colours: ColourMatch = ColourMatch.OFF,
    around: Tensor | None = None,
) -> Tensor:
    """Put one painted panel back into the picture that was fitted into it.

    Args:
        pictures: [batch, H, W, channels], of the placement's source size.
        painted: [batch, h, w, 3 or more], in the panel's proportions.
        placement: how the picture was fitted into the panel.
        panel: the panel's box; only its size is used.
        masks: [1 or batch, H, W], 1 where the painted panel replaces the picture.
        feather, colours: see `paste_windows`.
        around: the picture as it was fitted, if other panels have been pasted into it since; else None.

    Returns:
        [batch, H, W, channels]. Where the panel still shows what it was given, the picture's own pixels stay, even if
        the panel showed them in another size.

    Raises:
        PanelError: if the sizes or batches do not match.
        LayoutError: if the panel was enlarged by a factor that moves an edge off the whole pixels.
    """
    pictures, masks = checked_inputs(pictures, masks)
    if tuple(pictures.shape[1:3]) != (placement.source_height, placement.source_width):
        raise PanelError(
            f"The picture is {size_of(pictures)}, but the one given for this panel was "
            f"{placement.source_width}×{placement.source_height}. Connect the picture that was stitched."
        )
    batch = max(len(pictures), len(painted))
    if len(pictures) not in (1, batch) or len(painted) not in (1, batch) or len(masks) not in (1, batch):
        raise PanelError(
            f"There are {len(painted)} painted panels, {len(pictures)} pictures and {len(masks)} masks. Use one picture and "
            "mask for all, or one per panel."
        )
    before = pictures if around is None else around
    crop = placement.crop
    content = _content(placement, panel, painted)
    given = resize(before[:, crop.rows, crop.columns, :3], content.width, content.height)
    visible = painted[:, content.rows, content.columns, :3].to(pictures)
    changed = (visible != given).any(-1)
    if colours is not ColourMatch.OFF:
        masked = resize_mask(masks[:, crop.rows, crop.columns], content.width, content.height)
        visible = match_colours(visible, given, colours, where=masked == 0)
    result = pictures.expand(batch, *pictures.shape[1:]).clone()
    weight = _weights(masks, feather)[:, crop.rows, crop.columns]
    weight = weight * _spread(changed, crop.width, crop.height).to(weight)
    back = resize(visible, crop.width, crop.height)
    result[:, crop.rows, crop.columns, :3] = _blend(result[:, crop.rows, crop.columns, :3], back, weight)
    return result


def fade_inward(masks: Tensor, feather: int) -> Tensor:
    """Make masks [batch, H, W] rise over ``feather`` pixels from their edge inwards.

    The picture's border does not count as an edge. Parts thinner than twice the feather still reach their full value
    along their middle.
    """
    if feather <= 0:
        return masks
    shape = (masks > 0).float()[:, None]
    depth, left = shape.clone(), shape
    for _ in range(feather - 1):
        left = 1 - max_pool2d(1 - left, 3, stride=1, padding=1)
        depth = depth + left
    summit = depth
    for _ in range(feather):
        summit = max_pool2d(summit, 3, stride=1, padding=1)
    return masks * (depth / summit.clamp(min=1))[:, 0]


def keep_given(
    canvas: Tensor,
    painted: Tensor,
    masks: Tensor,
    *,
    pictures: Tensor | None = None,
    feather: int = 0,
    colours: ColourMatch = ColourMatch.OFF,
) -> Tensor:
    """The painted canvas with all given pixels restored exactly.

    Where the mask is 1, the canvas holds the fill colour, which must not shine through. Painted parts fade in there only
    if ``pictures`` shows what was there before; otherwise they replace the fill at full strength.

    Args:
        canvas: [batch, H, W, 3], as stitched.
        painted: [batch, H, W, 3], of the same size, or of the size that Condition Panels extended it to.
        masks: [1 or batch, H, W], as stitched.
        pictures: [1 or batch, H, W, 3 or more], the canvas before any part was opened for painting. Where it equals the
            canvas there was no picture, so a panel that was empty from the start does not fade in.
        feather, colours: see `paste_windows`.

    Returns:
        [batch, H, W, channels] in the canvas's size.

    Raises:
        PanelError: if the sizes or batches do not match.
    """
    canvas, masks = checked_inputs(canvas, masks)
    painted = without_extension(painted, canvas.shape[2], canvas.shape[1])
    if painted.shape[1:3] != canvas.shape[1:3]:
        raise PanelError(_unlike_canvas(canvas, painted))
    if pictures is not None and pictures.shape[1:3] != canvas.shape[1:3]:
        raise PanelError(
            f"'pictures' is {size_of(pictures)}, but the canvas is {size_of(canvas)}. Connect the same canvas from before panels "
            "were opened."
        )
    batch = max(len(canvas), len(painted))
    if len(canvas) not in (1, batch) or len(painted) not in (1, batch):
        raise PanelError(
            f"There are {len(painted)} painted canvases and {len(canvas)} stitched ones. Use one canvas for all, or one "
            "for each."
        )
    if pictures is not None and len(pictures) not in (1, batch):
        raise PanelError(
            f"'pictures' has {len(pictures)} pictures for {batch} canvases. Use one picture for all, or one for each."
        )
    given = canvas[..., :3]
    visible = painted[..., :3].to(given)
    changed = (visible != given).any(-1)
    if colours is not ColourMatch.OFF:
        visible = match_colours(visible, given, colours, where=masks == 0)
    filled = is_filled(masks)
    before = given if pictures is None else torch.where(filled[..., None], pictures[..., :3].to(given), given)
    is_known = ~filled | (before != given).any(-1)
    weight = torch.where(is_known, _weights(masks, feather), 1.0) * changed.to(given)
    kept = torch.where(weight[..., None] > 0, _blend(before, visible, weight), given)
    return torch.cat([kept, canvas[..., 3:].expand(batch, -1, -1, -1)], -1)


def _blend(target: Tensor, painted: Tensor, weight: Tensor) -> Tensor:
    """Exactly ``target`` where the weight [batch, H, W] is 0, exactly ``painted`` where it is 1, a mix in between."""
    weight = weight[..., None]
    blended = torch.where(weight >= 1, painted, torch.lerp(target, painted, weight))
    return torch.where(weight > 0, blended, target)


def _unlike_canvas(canvas: Tensor, painted: Tensor) -> str:
    found = f"The painted canvas is {size_of(painted)}, but the stitched one is {size_of(canvas)}."
    if all(0 <= side - other < 64 for side, other in zip(canvas.shape[1:3], painted.shape[1:3], strict=True)):
        return (
            f"{found} The autoencoder cut off what did not fill its grid. Take the latent from Condition Panels, which extends "
            "the canvas instead, or crop the picture to multiples of 16 px first."
        )
    return f"{found} Paste before enlarging, or stitch on a canvas of the larger size."


def _content(placement: Placement, panel: Box, painted: Tensor) -> Box:
    height, width = painted.shape[1:3]
    if (width, height) == (panel.width, panel.height):
        return placement.content
    if width * panel.height != height * panel.width:
        raise PanelError(
            f"The painted panel is {width}×{height}, but the panel is {panel.width}×{panel.height}, which has different "
            "proportions. Connect the panel as it was split off."
        )
    return placement.content.scaled(width, panel.width)


def _weights(masks: Tensor, feather: int) -> Tensor:
    """`fade_inward`, computed only around the masked part, which is often much smaller than the picture."""
    box = masked_box(masks.amax(0))
    if box is None or feather <= 0:
        return masks
    # one more pixel on every side, unless the picture ends there, so that the mask's edge is visible
    left, top = max(box.left - 1, 0), max(box.top - 1, 0)
    right, bottom = min(box.right + 1, masks.shape[2]), min(box.bottom + 1, masks.shape[1])
    weights = torch.zeros_like(masks)
    weights[:, top:bottom, left:right] = fade_inward(masks[:, top:bottom, left:right], feather)
    return weights


def _spread(changed: Tensor, width: int, height: int) -> Tensor:
    """[batch, h, w] → bool [batch, height, width]: the pixels that a changed pixel influences after resizing."""
    if (changed.shape[2], changed.shape[1]) == (width, height):
        return changed
    near = max_pool2d(changed.float()[:, None], 5, stride=1, padding=2)[:, 0]  # the reach of bicubic interpolation
    return resize_mask(near, width, height) > 0
