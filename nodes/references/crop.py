"""Crop a part of a picture with its surroundings, and paste panels back."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.errors import PanelError
from ...incontext.panels.choices import ColourMatch
from ...incontext.tensors import checked_masks, checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by, shows_first
from .comparison import before_and_after
from .inputs import CATEGORY, colour_match_input, feather_input

if TYPE_CHECKING:
    from ...incontext.panels.box import Box
    from ...incontext.panels.layout import PanelLayout
    from ...incontext.panels.windows import Windows

Window = io.Custom("INCONTEXT_WINDOW")


class Regions(Enum):
    """How separate masked areas are cropped."""

    TOGETHER = "one window around all"
    APART = "one window each"


@found_by("inpaint crop", "crop and stitch", "mask crop")
@shows_first("panel", "width", "height", "context")
class InContextContextCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextContextCrop",
            display_name="Context Crop",
            category=CATEGORY,
            description=(
                "Cuts a window around the masked area of a large picture, in the shape of a panel and with context around "
                "it. Paste Panels puts the painted panel back, at the picture's own resolution."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The picture, of any size."),
                io.Mask.Input("mask", tooltip="White where to repaint; it may mark several areas."),
                io.String.Input(
                    "panel", default="2", tooltip="Which panel of the layout the crop is for, by number or name."
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    tooltip="Width of the crop without a layout; 0 takes the window's own size, a multiple of 16.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    tooltip="Height of the crop without a layout; 0 takes the window's own size, a multiple of 16.",
                ),
                io.Float.Input(
                    "context",
                    default=0.25,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="Context on each side of the masked area, as a share of its longer side.",
                ),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=0,
                    max=256,
                    tooltip="Pixels by which the mask grows on all sides before the window is cut.",
                ),
                io.Boolean.Input(
                    "enlarge",
                    default=True,
                    tooltip="Enlarge small areas for painting, for more detail. Off: never larger than the picture's own pixels.",
                ),
                io.Combo.Input(
                    "regions",
                    options=Regions,
                    default=Regions.TOGETHER.value,
                    tooltip="For separate masked areas: one window around all of them, or one crop each, as a batch.",
                ),
                types.Layout.Input(
                    "layout",
                    optional=True,
                    tooltip="From In-Context Task or Panel Layout: gives the crop its panel's size.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="crop", tooltip="For Stitch Panels, exactly the panel's size."),
                io.Mask.Output(
                    display_name="crop_mask",
                    tooltip="For the same panel of Stitch Panels. What lies beyond the picture's border is masked too.",
                ),
                Window.Output(display_name="window", tooltip="For Paste Panels: where the crop came from."),
                io.Int.Output(display_name="crop_width", tooltip="Width of the crop in pixels."),
                io.Int.Output(display_name="crop_height", tooltip="Height of the crop in pixels."),
                io.String.Output(display_name="report", tooltip="Where each window lies, and its scale."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        mask: Tensor,
        panel: str,
        width: int,
        height: int,
        context: float,
        grow: int,
        enlarge: bool,
        regions: str,
        layout: PanelLayout | None = None,
    ) -> io.NodeOutput:
        from ...incontext.panels.windows import context_crop

        cropped = context_crop(
            checked_pictures(image, "the image", coloured=False),
            checked_masks(mask, "the mask"),
            panel=crop_size(layout, panel, width, height),
            context=context,
            grow=grow,
            enlarge=enlarge,
            apart=Regions(regions) is Regions.APART,
        )
        windows = cropped.windows
        report = windows.describe()
        send_text(cls.hidden.unique_id, report)
        return io.NodeOutput(cropped.crops, cropped.masks, windows, windows.panel_width, windows.panel_height, report)


@found_by("inpaint stitch", "uncrop", "paste back")
class InContextPastePanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextPastePanels",
            display_name="Paste Panels",
            category=CATEGORY,
            description=(
                "Puts a painted panel back into the full picture it came from, at the picture's resolution. "
                "Outside the mask, every pixel stays as it was, bit for bit."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The full picture, as connected to Context Crop or Stitch Panels."),
                io.Image.Input("painted", tooltip="The painted canvas; or, without a layout, the painted panel."),
                io.String.Input(
                    "panel", default="2", tooltip="Which panel of the canvas goes back, by number or name."
                ),
                feather_input(),
                colour_match_input("Match the painted panel's colours to the picture around the mask."),
                types.Layout.Input(
                    "layout",
                    optional=True,
                    tooltip="From Stitch Panels: where the panel is on the canvas, and how it was fitted.",
                ),
                Window.Input("window", optional=True, tooltip="From Context Crop, which also knows the mask."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Without a window: what was repainted, on the full picture."
                ),
            ],
            outputs=[io.Image.Output(display_name="pasted", tooltip="The full picture with the painted part in it.")],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        painted: Tensor,
        panel: str,
        feather: int,
        colour_match: str,
        layout: PanelLayout | None = None,
        window: Windows | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ...incontext.panels.paste import paste, paste_windows
        from ...incontext.panels.stitch import split

        colours = ColourMatch(colour_match)
        image = checked_pictures(image, "the image")
        painted = checked_pictures(painted, "the painted image")
        mask = None if mask is None else checked_masks(mask, "the mask")
        if layout is not None:
            painted = split(painted, layout)[layout.index(panel)]
        if window is not None:
            pasted = paste_windows(image, painted, window, feather=feather, colours=colours)
            return io.NodeOutput(pasted, ui=before_and_after(image, pasted))
        placement, box = placed(layout, panel)
        if mask is None:
            raise PanelError(
                "Neither a window nor a mask is connected, so the repainted area is unknown. Connect the mask of the full "
                "picture, or the window of Context Crop."
            )
        pasted = paste(image, painted, placement, box, mask, feather=feather, colours=colours)
        return io.NodeOutput(pasted, ui=before_and_after(image, pasted))


def crop_size(layout: PanelLayout | None, panel: str, width: int, height: int) -> tuple[int, int] | None:
    """Size of a crop: the panel's, or that of the inputs; None for the window's own.

    Raises:
        PanelError: if only one side is written, or the layout has no such panel.
    """
    if layout is not None:
        box = layout.boxes[layout.index(panel)]
        return box.width, box.height
    if bool(width) != bool(height):
        raise PanelError(
            f"The crop's size is {width}×{height}. Write both sides, leave both at 0, or connect a layout."
        )
    return (width, height) if width else None


def placed(layout: PanelLayout | None, panel: str) -> tuple[Any, Box]:
    """How a picture came into a panel of a stitched layout.

    Raises:
        PanelError: if that is not known.
    """
    if layout is None:
        raise PanelError(
            "Neither a window nor a layout is connected, so where the panel came from is unknown. Connect the window of "
            "Context Crop, or the layout of Stitch Panels."
        )
    index = layout.index(panel)
    placement = layout.placements[index] if layout.placements else None
    if placement is None:
        raise PanelError(
            f"Panel {layout.names[index]} was not given, so there is no picture to put it back into. Choose another panel, and "
            "connect the layout that comes out of Stitch Panels."
        )
    return placement, layout.boxes[index]
