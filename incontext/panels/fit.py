"""Fit an image of any size into its panel, and take it out again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import PanelError
from ..files.strict_json import shown
from .box import Box, Placement
from .choices import Align, Alpha, Fit
from .colours import WHITE, Colour
from .layout import PanelLayout, check_length


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """How one panel's image is fitted."""

    fit: Fit = Fit.COVER
    align: Align = Align.CENTER
    padding: Colour = WHITE
    alpha: Alpha = Alpha.FLATTEN


DEFAULT_SETTINGS = PanelSettings()


def settings_per_panel(layout: PanelLayout, common: PanelSettings, text: str) -> list[PanelSettings]:
    """One setting per panel: the common one, changed by lines such as ``2: contain, top`` or ``LEFT: stretch``.

    Raises:
        LayoutError: if the layout has no such panel.
        PanelError: if a line cannot be read.
    """
    check_length(text, "The exceptions")
    settings = [common] * len(layout)
    for line in text.splitlines():
        if not line.strip():
            continue
        panel, _, words = line.partition(":")
        index = layout.index(panel)
        # "contain, extend edges" is the only fit with a comma in its name
        joined = re.sub(r"contain\s*,\s*extend", "contain; extend", words.lower())
        for word in (part.strip().replace(";", ",") for part in joined.split(",")):
            if word in {fit.value for fit in Fit}:
                settings[index] = replace(settings[index], fit=Fit(word))
            elif word in {align.value for align in Align}:
                settings[index] = replace(settings[index], align=Align(word))
            else:
                choices = ", ".join(repr(choice.value) for choice in (*Fit, *Align))
                raise PanelError(
                    f"{shown(line.strip(), 80)}: {shown(word)} is neither a fit nor an alignment. Choose from {choices}."
                )
    return settings


def place(width: int, height: int, box: Box, settings: PanelSettings, name: str = "") -> Placement:
    """Where an image of ``width`` × ``height`` px goes in a panel.

    Raises:
        PanelError: if the sizes differ and the fit is `Fit.EXACT`.
    """
    whole, panel = Box(0, 0, width, height), Box(0, 0, box.width, box.height)
    if (width, height) == (box.width, box.height) or settings.fit is Fit.STRETCH:
        return Placement(width, height, whole, panel)
    if settings.fit is Fit.EXACT:
        raise PanelError(
            f"The image for panel {name} is {width}×{height}, but the panel is {box.width}×{box.height}. "
            "Resize the image, or choose another fit than 'exact'."
        )
    if settings.fit is Fit.COVER:
        return Placement(width, height, _inscribed(whole, box.width, box.height, settings.align), panel)
    return Placement(width, height, whole, _inscribed(panel, width, height, settings.align))


def take_out(panel: Tensor, placement: Placement, box: Box) -> Tensor:
    """Undo a placement: the visible part of the source, at its size in the source.

    Args:
        panel: [batch, h, w, channels], the panel at the box's size or scaled from it.
        placement: how the source was fitted.
        box: the panel's box in the layout.

    Raises:
        LayoutError: if the panel's scale moves an edge off the whole pixels.
    """
    scale = panel.shape[2] / box.width
    content = placement.content if scale == 1 else placement.content.scaled(panel.shape[2], box.width)
    visible = panel[:, content.rows, content.columns]
    width, height = (round(side * scale) for side in (placement.crop.width, placement.crop.height))
    return resize(visible, width, height)


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Bicubic with antialiasing, [batch, h, w, c] → [batch, height, width, c]. At the same size it returns ``image`` itself."""
    if (image.shape[2], image.shape[1]) == (width, height):
        return image
    channels_first = image.movedim(-1, 1)
    resized = interpolate(channels_first, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp_(0, 1).movedim(1, -1).contiguous()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """[batch, h, w] → [batch, height, width]. A masked pixel leaves a trace even in a mask that shrinks."""
    if (mask.shape[2], mask.shape[1]) == (width, height):
        return mask
    return interpolate(mask[:, None], (height, width), mode="bilinear", antialias=True, align_corners=False)[
        :, 0
    ].clamp_(0, 1)


def _inscribed(outer: Box, width: int, height: int, align: Align) -> Box:
    """The largest box in ``outer`` with the proportions ``width:height``, in whole pixels."""
    if outer.width * height >= outer.height * width:
        size = (max(1, round(outer.height * width / height)), outer.height)
    else:
        size = (outer.width, max(1, round(outer.width * height / width)))
    return Box(
        round((outer.width - size[0]) * align.horizontal), round((outer.height - size[1]) * align.vertical), *size
    )
