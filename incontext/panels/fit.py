"""How an image of any size comes into its panel, and out of it again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import PanelError
from ..files.strict_json import shown
from .box import Box, Placement
from .colours import Colour
from .layout import PanelLayout, check_length

WHITE = (1.0, 1.0, 1.0)


class Fit(Enum):
    """How an image of another size is fitted into its panel."""

    COVER = "cover"  # fill the panel, cut what hangs over
    CONTAIN = "contain"  # show all of the image, pad the rest with a colour
    CONTAIN_EDGE = "contain, extend edges"  # show all of the image, pad with its outermost pixels
    STRETCH = "stretch"  # change the proportions
    EXACT = "exact"  # refuse any other size


class Align(Enum):
    """Which part of the image stays when it is cut, or where it lies when it is padded."""

    CENTER = "center"
    TOP = "top"
    BOTTOM = "bottom"
    LEFT = "left"
    RIGHT = "right"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM_RIGHT = "bottom right"

    @property
    def horizontal(self) -> float:
        return 0.0 if "left" in self.value else 1.0 if "right" in self.value else 0.5

    @property
    def vertical(self) -> float:
        return 0.0 if "top" in self.value else 1.0 if "bottom" in self.value else 0.5


class Alpha(Enum):
    """What the transparent part of an image means."""

    FLATTEN = "flatten onto the padding colour"
    REPAINT = "repaint what is transparent"


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """How one panel's image is fitted."""

    fit: Fit = Fit.COVER
    align: Align = Align.CENTER
    padding: Colour = WHITE
    alpha: Alpha = Alpha.FLATTEN


DEFAULT_SETTINGS = PanelSettings()


def settings_per_panel(layout: PanelLayout, common: PanelSettings, text: str) -> list[PanelSettings]:
    """Settings for every panel, from common ones and lines such as ``2: contain, top`` or ``LEFT: stretch``.

    Raises:
        LayoutError: for a panel that the layout does not have.
        PanelError: for a line that cannot be read.
    """
    check_length(text, "The exceptions")
    settings = [common] * len(layout)
    for line in text.splitlines():
        if not line.strip():
            continue
        panel, _, words = line.partition(":")
        index = layout.index(panel)
        # the one fit with a comma in its name
        joined = re.sub(r"contain\s*,\s*extend", "contain; extend", words.lower())
        for word in (part.strip().replace(";", ",") for part in joined.split(",")):
            if word in {fit.value for fit in Fit}:
                settings[index] = replace(settings[index], fit=Fit(word))
            elif word in {align.value for align in Align}:
                settings[index] = replace(settings[index], align=Align(word))
            else:
                choices = ", ".join(repr(choice.value) for choice in (*Fit, *Align))
                raise PanelError(
                    f"{shown(line.strip(), 80)}: {shown(word)} is neither a fit nor an alignment; there are {choices}."
                )
    return settings


def place(width: int, height: int, box: Box, settings: PanelSettings, name: str = "") -> Placement:
    """How an image of ``width`` × ``height`` comes into a panel.

    Raises:
        PanelError: with `Fit.EXACT`, where the size differs.
    """
    whole, panel = Box(0, 0, width, height), Box(0, 0, box.width, box.height)
    if (width, height) == (box.width, box.height) or settings.fit is Fit.STRETCH:
        return Placement(width, height, whole, panel)
    if settings.fit is Fit.EXACT:
        raise PanelError(
            f"The image for panel {name} is {width}×{height}, the panel is {box.width}×{box.height}. "
            "Resize the image, or choose another fit than 'exact'."
        )
    if settings.fit is Fit.COVER:
        return Placement(width, height, _inscribed(whole, box.width, box.height, settings.align), panel)
    return Placement(width, height, whole, _inscribed(panel, width, height, settings.align))


def take_out(panel: Tensor, placement: Placement, box: Box) -> Tensor:
    """Undo a placement: the visible part of the source, in the size it had there."""
    scale = panel.shape[2] / box.width
    content = placement.content if scale == 1 else placement.content.scaled(panel.shape[2], box.width)
    visible = panel[:, content.rows, content.columns]
    width, height = (round(side * scale) for side in (placement.crop.width, placement.crop.height))
    return resize(visible, width, height)


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Bicubic with antialiasing, [batch, h, w, c] → [batch, height, width, c]; the same size is the image itself."""
    if (image.shape[2], image.shape[1]) == (width, height):
        return image
    channels_first = image.movedim(-1, 1)
    resized = interpolate(channels_first, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp_(0, 1).movedim(1, -1).contiguous()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """[batch, h, w] → [batch, height, width]; any pixel that is touched stays touched when the mask shrinks."""
    if (mask.shape[2], mask.shape[1]) == (width, height):
        return mask
    return interpolate(mask[:, None], (height, width), mode="bilinear", antialias=True, align_corners=False)[
        :, 0
    ].clamp_(0, 1)


def _inscribed(outer: Box, width: int, height: int, align: Align) -> Box:
    """The largest box of proportions ``width:height`` in ``outer``, in whole pixels."""
    if outer.width * height >= outer.height * width:
        size = (max(1, round(outer.height * width / height)), outer.height)
    else:
        size = (outer.width, max(1, round(outer.width * height / width)))
    return Box(
        round((outer.width - size[0]) * align.horizontal), round((outer.height - size[1]) * align.vertical), *size
    )
