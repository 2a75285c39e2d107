"""Cut windows around the masked regions of a picture, with some context on each side."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, gcd

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ..errors import PanelError
from .arrange import PANEL_STEP
from .box import Box, Placement
from .colours import Colour
from .fit import resize, resize_mask
from .stitch import NEUTRAL

_CELLS = 128  # cells per side of the grid that separates regions; regions less than a cell apart count as one


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A masked region of a picture, and the window around it.

    Attributes:
        picture: index in the batch of pictures.
        window: in the picture's pixels; it may extend beyond the picture.
        touched: the smallest box around the masked pixels, in the picture's pixels.
        mask: [touched.height, touched.width] in 0…1.
    """

    picture: int
    window: Box
    touched: Box
    mask: Tensor = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Where crops came from: everything that is needed to paste them back.

    Attributes:
        pictures, width, height: number of pictures, and their size in pixels.
        panel_width, panel_height: size of every crop, in pixels.
        regions: one per crop, in the crops' order.
    """

    pictures: int
    width: int
    height: int
    panel_width: int
    panel_height: int
    regions: tuple[Region, ...]

    def __len__(self) -> int:
        return len(self.regions)

    def placement(self, region: Region) -> Placement:
        """Which part of the picture a crop shows, and where in the crop it lies.

        Raises:
            PanelError: if the window lies entirely outside the picture.
        """
        window, picture = region.window, Box(0, 0, self.width, self.height)
        shown = intersection(window, picture)
        left, right = (
            round((edge - window.left) * self.panel_width / window.width) for edge in (shown.left, shown.right)
        )
        top, bottom = (
            round((edge - window.top) * self.panel_height / window.height) for edge in (shown.top, shown.bottom)
        )
        left, top = min(left, self.panel_width - 1), min(top, self.panel_height - 1)
        content = Box(left, top, max(1, right - left), max(1, bottom - top))
        return Placement(self.width, self.height, shown, content)

    def describe(self) -> str:
        """One line per region, for users."""
        lines = []
        for number, region in enumerate(self.regions, 1):
            window = region.window
            scale = self.panel_width / window.width
            size = "not scaled" if scale == 1 else f"scaled by {scale:.2f}"
            lines.append(f"region {number}: {window} of {self.width}×{self.height}, {size}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class ContextCrop:
    """Crops and where they came from.

    Attributes:
        crops: [n, panel height, panel width, 3].
        masks: [n, panel height, panel width].
        windows: one region per crop.
    """

    crops: Tensor
    masks: Tensor
    windows: Windows


def context_crop(
    pictures: Tensor,
    masks: Tensor,
    *,
    panel: tuple[int, int] | None = None,
    context: float = 0.25,
    grow: int = 0,
    enlarge: bool = True,
    apart: bool = False,
    step: int = PANEL_STEP,
    outside: Colour = NEUTRAL,
) -> ContextCrop:
    """Cut a window with context around each masked region.

    Args:
        pictures: [batch, H, W, 3 or 4]; a fourth channel is treated as alpha and ignored.
        masks: [1 or batch, H, W], 1 where the model paints.
        panel: width and height of the crops, in pixels; None for the size of the largest window, rounded up to ``step``.
        context: margin on each side of the masked box, as a share of its longer side.
        grow: pixels by which the mask is enlarged first.
        enlarge: whether a window may be smaller than the panel, so that small things are painted in detail.
        apart: whether separate masked regions get a window each; otherwise one window covers all of a picture's.
        step: the crop's sides are multiples of it, in pixels, if ``panel`` is None.
        outside: colour of the parts of a window beyond the picture. The crop's mask is 1 there, so the model continues
            the picture instead of copying a mirrored or smeared border. Pasting drops these parts.

    Raises:
        PanelError: if the sizes do not match, or nothing is masked.
    """
    pictures, masks = checked_inputs(pictures, masks)
    batch, height, width = masks.shape
    if grow:
        masks = grow_masks(masks, grow)
    if panel is not None and min(panel) < 1:
        raise PanelError(f"The crop's size is {panel[0]}×{panel[1]}; both sides must be at least 1 px.")
    found: list[tuple[int, Box, Tensor]] = []
    for picture in range(batch):
        found += [(picture, box, mask) for box, mask in masked_regions(masks[picture], apart=apart)]
    if not found:
        raise PanelError(
            "The mask is empty, so there is nothing to cut out. Paint on the picture in the mask editor, or connect a mask."
        )
    if panel is None:
        needs = [_needed(box, context) for _, box, _ in found]
        panel = (max(_rounded_up(need[0], step) for need in needs), max(_rounded_up(need[1], step) for need in needs))
        enlarge = False
    regions = tuple(
        Region(picture, window_around(box, width, height, panel, context=context, enlarge=enlarge), box, mask)
        for picture, box, mask in found
    )
    windows = Windows(batch, width, height, *panel, regions)
    crops, crop_masks = zip(*(_cut(pictures, windows, region, outside) for region in regions), strict=True)
    return ContextCrop(torch.cat(crops), torch.cat(crop_masks), windows)


def window_around(
    touched: Box, width: int, height: int, panel: tuple[int, int], *, context: float, enlarge: bool
) -> Box:
    """The window with exactly the panel's proportions around a box, in a picture of ``width`` × ``height`` px.

    It has less context rather than leave the picture. It leaves the picture only if the masked box, extended to the
    panel's proportions, is larger than the picture.
    """
    divisor = gcd(*panel)
    unit = (panel[0] // divisor, panel[1] // divisor)

    def units(size: tuple[int, int]) -> int:
        return max(ceil(side / one) for side, one in zip(size, unit, strict=True))

    least = max(units((touched.width, touched.height)), 1 if enlarge else divisor)
    fitting = min(width // unit[0], height // unit[1])
    count = max(least, min(units(_needed(touched, context)), fitting))
    size = (count * unit[0], count * unit[1])
    return Box(
        _start(touched.left, touched.width, size[0], width), _start(touched.top, touched.height, size[1], height), *size
    )


def masked_regions(mask: Tensor, *, apart: bool = True) -> list[tuple[Box, Tensor]]:
    """The masked regions of one mask [H, W] in reading order: the smallest box around each, and the mask within it.

    Args:
        apart: whether separate regions are returned separately; otherwise they are one region.
    """
    whole = masked_box(mask)
    if whole is None:
        return []
    if not apart:
        return [(whole, mask[whole.rows, whole.columns].clone())]
    cell = max(1, -(-max(mask.shape) // _CELLS))
    touched = (mask > 0).float()[None, None]
    rows, columns = mask.shape
    cells = max_pool2d(pad(touched, (0, -columns % cell, 0, -rows % cell)), cell)[0, 0] > 0
    regions = []
    for group in _connected(cells):
        own = torch.zeros_like(cells)
        index = torch.tensor(group)
        own[index[:, 0], index[:, 1]] = True
        fine = own.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:rows, :columns]
        part = mask * fine
        box = masked_box(part)
        if box is not None:
            regions.append((box, part[box.rows, box.columns].clone()))
    return sorted(regions, key=lambda region: (region[0].top, region[0].left))


def masked_box(mask: Tensor) -> Box | None:
    """The smallest box around everything above 0 in a mask [H, W]; None if it is all 0."""
    rows = torch.nonzero((mask > 0).any(1))[:, 0]
    columns = torch.nonzero((mask > 0).any(0))[:, 0]
    if len(rows) == 0:
        return None
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def _cut(pictures: Tensor, windows: Windows, region: Region, outside: Colour) -> tuple[Tensor, Tensor]:
    placement = windows.placement(region)
    crop, content = placement.crop, placement.content
    shape = (1, windows.panel_height, windows.panel_width)
    panel = pictures.new_empty((*shape, 3))
    panel[:] = panel.new_tensor(outside)
    visible = pictures[region.picture, crop.rows, crop.columns, :3][None]
    panel[:, content.rows, content.columns] = resize(visible, content.width, content.height)
    mask = pictures.new_zeros((windows.height, windows.width))
    mask[region.touched.rows, region.touched.columns] = region.mask
    panel_mask = pictures.new_ones(shape)
    shown = resize_mask(mask[crop.rows, crop.columns][None], content.width, content.height)
    panel_mask[:, content.rows, content.columns] = shown
    return panel, panel_mask


def checked_inputs(pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [batch, H, W, 3 or 4] and their masks [batch, H, W], both float32.

    Raises:
        PanelError: if either has another shape, or they do not match.
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (3, 4) or 0 in pictures.shape:
        raise PanelError(
            f"The picture has the shape {list(pictures.shape)}; expected [batch, height, width, 3 or 4 channels]."
        )
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3 or masks.shape[1:] != pictures.shape[1:3] or masks.shape[0] not in (1, pictures.shape[0]):
        if masks.ndim == 3 and not bool(masks.any()):  # Load Image gives a small empty mask where nothing is painted
            return pictures.float(), pictures.new_zeros(pictures.shape[:3]).float()
        raise PanelError(
            f"The mask is {size_of(masks) if masks.ndim == 3 else list(masks.shape)}, but the picture is {size_of(pictures)}. "
            "Use the mask that was painted on this picture, or resize it."
        )
    return pictures.float(), masks.expand(pictures.shape[0], -1, -1).to(pictures).float()


def _connected(cells: Tensor) -> list[list[tuple[int, int]]]:
    """Groups of masked cells that touch, including at corners."""
    left = {(row, column) for row, column in torch.nonzero(cells).tolist()}
    groups = []
    while left:
        group = [left.pop()]
        for row, column in group:
            near = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            group += near
        groups.append(group)
    return groups


def _needed(touched: Box, context: float) -> tuple[int, int]:
    margin = round(context * max(touched.width, touched.height))
    return touched.width + 2 * margin, touched.height + 2 * margin


def _start(start: int, length: int, window: int, whole: int) -> int:
    """Where a window centred on ``start … start + length`` begins, moved to stay within ``whole`` if possible."""
    centred = start + (length - window) // 2
    if window <= whole:
        return min(max(centred, 0), whole - window)
    return min(max(centred, whole - window), 0)


def _rounded_up(length: int, step: int) -> int:
    return -(-length // step) * step


def size_of(pictures: Tensor) -> str:
    """Number and size of pictures [batch, H, W, …] for messages: "512×768", or "2 of 512×768"."""
    shape = pictures.shape
    return f"{shape[0]} of {shape[2]}×{shape[1]}" if shape[0] > 1 else f"{shape[2]}×{shape[1]}"


def grow_masks(masks: Tensor, pixels: int) -> Tensor:
    """Enlarge masks [batch, H, W] by so many pixels on all sides."""
    masks = masks[:, None]
    for _ in range(pixels):
        masks = max_pool2d(masks, 3, stride=1, padding=1)
    return masks[:, 0]


def intersection(one: Box, other: Box) -> Box:
    """The part that both boxes cover.

    Raises:
        PanelError: if they do not overlap.
    """
    left, top = max(one.left, other.left), max(one.top, other.top)
    right, bottom = min(one.right, other.right), min(one.bottom, other.bottom)
    if right <= left or bottom <= top:
        raise PanelError(
            f"The window {one} lies outside the picture {other}. Connect the window that was cut from this picture."
        )
    return Box(left, top, right - left, bottom - top)
