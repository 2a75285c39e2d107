"""Pictures as references: crop and paste, repaint, find and enlarge panels."""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.errors import PanelError
from ...incontext.panels.box import Box
from ...incontext.panels.colour_match import ColourMatch, matched
from ...incontext.panels.colours import parse_colour
from ...incontext.panels.layout import PanelLayout
from ...incontext.panels.paste import keep_given, paste, paste_windows
from ...incontext.panels.rework import enlarged, repaint
from ...incontext.panels.seams import LARGEST_TOLERANCE, find_panels
from ...incontext.panels.stitch import split
from ...incontext.panels.windows import Windows, context_crop
from ...incontext.tensors import checked_masks, checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by, shows_first
from .attention import attend_to_references

CATEGORY = "in-context lora/references"
Window = io.Custom("INCONTEXT_WINDOW")


class Regions(Enum):
    """What masked places that lie apart get."""

    TOGETHER = "one window around all"
    APART = "one window each"


def feather_input() -> io.Int.Input:
    return io.Int.Input(
        "feather",
        default=8,
        min=0,
        max=128,
        tooltip="Pixels over which the painted part fades in, inwards from the mask's edge. Outside it nothing changes.",
    )


def colour_match_input(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("colour_match", options=ColourMatch, default=ColourMatch.OFF.value, tooltip=tooltip)


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
                "Cuts a window around what is masked on a large picture, in the shape of a panel and with context around it. "
                "Paste Panels puts the painted panel back, at the picture's own resolution."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The picture, of any size."),
                io.Mask.Input("mask", tooltip="White where it is to be repainted; several places are possible."),
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
                    tooltip="How much is seen around the masked place, as a share of its longer side, on each side.",
                ),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=0,
                    max=256,
                    tooltip="Pixels by which the mask is enlarged to all sides first.",
                ),
                io.Boolean.Input(
                    "enlarge",
                    default=True,
                    tooltip="Paint small places enlarged, for more detail. Off: never larger than the picture's own pixels.",
                ),
                io.Combo.Input(
                    "regions",
                    options=Regions,
                    default=Regions.TOGETHER.value,
                    tooltip="Masked places that lie apart: one window around all, or a crop each, as a batch.",
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
                io.String.Output(display_name="report", tooltip="Windows and their scale."),
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
                "Puts a painted panel back into the full picture it came from, at the picture's resolution. Outside the mask "
                "the picture keeps its own pixels, to the bit."
            ),
            inputs=[
                io.Image.Input(
                    "image", tooltip="The full picture, as it was given to Context Crop or to Stitch Panels."
                ),
                io.Image.Input("painted", tooltip="The painted canvas; or, without a layout, the painted panel."),
                io.String.Input(
                    "panel", default="2", tooltip="Which panel of the canvas goes back, by number or name."
                ),
                feather_input(),
                colour_match_input("Bring the painted panel's colours to those of the picture around the mask."),
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
        colours = ColourMatch(colour_match)
        image = checked_pictures(image, "the image")
        painted = checked_pictures(painted, "the painted image")
        mask = None if mask is None else checked_masks(mask, "the mask")
        if layout is not None:
            painted = split(painted, layout)[layout.index(panel)]
        if window is not None:
            return io.NodeOutput(paste_windows(image, painted, window, feather=feather, colours=colours))
        placement, box = placed(layout, panel)
        if mask is None:
            raise PanelError(
                "Neither a window nor a mask is connected, so it is not known what was repainted. Connect the mask of the full "
                "picture, or the window of Context Crop."
            )
        return io.NodeOutput(paste(image, painted, placement, box, mask, feather=feather, colours=colours))


@found_by("keep references", "composite", "restore")
class InContextKeepGiven(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextKeepGiven",
            display_name="Keep Given Panels",
            category=CATEGORY,
            description=(
                "The painted canvas with everything that was given exactly as it was given: not encoded and decoded, but the "
                "same pixels to the bit."
            ),
            inputs=[
                io.Image.Input("canvas", tooltip="From Stitch Panels or Repaint Panels."),
                io.Image.Input("painted", tooltip="The same canvas after sampling, from VAE Decode."),
                io.Mask.Input("mask", tooltip="From Stitch Panels or Repaint Panels."),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=128,
                    tooltip=(
                        "Pixels over which painted parts fade into the picture that was there; needs 'pictures'. Panels that "
                        "are painted as a whole never fade."
                    ),
                ),
                colour_match_input("Bring the painted canvas's colours to what was given."),
                io.Image.Input(
                    "pictures",
                    optional=True,
                    tooltip=(
                        "The canvas before anything was opened: the image that Repaint Panels was given, or a Stitch Panels "
                        "without masks."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="kept", tooltip="The canvas: given panels as given, the others as painted."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        canvas: Tensor,
        painted: Tensor,
        mask: Tensor,
        feather: int,
        colour_match: str,
        pictures: Tensor | None = None,
    ) -> io.NodeOutput:
        colours = ColourMatch(colour_match)
        canvas, painted = checked_pictures(canvas, "the canvas"), checked_pictures(painted, "the painted canvas")
        mask = checked_masks(mask, "the mask")
        pictures = None if pictures is None else checked_pictures(pictures, "the pictures")
        return io.NodeOutput(keep_given(canvas, painted, mask, pictures=pictures, feather=feather, colours=colours))


@found_by("inpaint", "redo panel", "mask panels")
class InContextRepaintPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextRepaintPanels",
            display_name="Repaint Panels",
            category=CATEGORY,
            description=(
                "Opens some panels of a finished set for repainting; the others are given. Follow it by Condition Panels and "
                "the sampler, and Keep Given Panels returns the others to the bit."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The finished set on its canvas."),
                types.Layout.Input(
                    "layout", tooltip="Where its panels are; Find Panels tells it for a picture from elsewhere."
                ),
                io.String.Input(
                    "panels", default="2", tooltip="Which panels to repaint, by number or name: '2' or '1, 3'."
                ),
                io.String.Input("fill", default="gray", tooltip="Colour that they hold meanwhile."),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="For Condition Panels."),
                io.Mask.Output(display_name="mask", tooltip="For Condition Panels: white where panels are repainted."),
                types.Layout.Output(
                    display_name="panels_layout", tooltip="The layout, which knows which panels are given."
                ),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, layout: PanelLayout, panels: str, fill: str) -> io.NodeOutput:
        image = checked_pictures(image, "the image")
        opened = repaint(image, layout, layout.select_some(panels), fill=parse_colour(fill))
        return io.NodeOutput(opened.canvas, opened.mask, opened.layout)


@found_by("detect grid", "detect panels")
class InContextFindPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextFindPanels",
            display_name="Find Panels",
            category=CATEGORY,
            description=(
                "Finds the panels of a picture that came without a layout, such as a drawn storyboard: seams and gutters are "
                "looked for near the lines of an expected layout."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The picture; of a batch, the first one is looked at."),
                types.Layout.Input(
                    "expected",
                    tooltip="How many panels there are and about where; the size of its canvas does not matter.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=0.2,
                    min=0.01,
                    max=LARGEST_TOLERANCE,
                    step=0.01,
                    tooltip="How far a seam may lie from its expected line, as a share of the panel beside it.",
                ),
                io.Int.Input(
                    "step",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Move seams to multiples of so many pixels: 1 to cut exactly, 16 to repaint panels.",
                ),
            ],
            outputs=[
                types.Layout.Output(display_name="layout", tooltip="The panels that were found."),
                io.Float.Output(
                    display_name="confidence", tooltip="0 … 1, of the least certain seam; below 0.3 look at the result."
                ),
                io.String.Output(
                    display_name="report", tooltip="Every seam, where it was found and how certain it is."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image: Tensor, expected: PanelLayout, tolerance: float, step: int) -> io.NodeOutput:
        found = find_panels(checked_pictures(image, "the image")[0], expected, tolerance=tolerance, step=step)
        report = found.describe()
        send_text(cls.hidden.unique_id, report)
        return io.NodeOutput(found.layout, found.confidence, report)


@found_by("upscale", "hires fix")
class InContextEnlargePanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextEnlargePanels",
            display_name="Enlarge Panels",
            category=CATEGORY,
            description=(
                "Every panel of a finished set enlarged on its own, to be finished at a low denoise panel by panel. Afterwards "
                "Match Colours keeps the set's colours, and Stitch Panels joins it on the enlarged layout."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The finished set on its canvas."),
                types.Layout.Input("layout", tooltip="Where its panels are."),
                io.Float.Input("factor", default=2.0, min=1.0, max=8.0, step=0.25, tooltip="How many times as large."),
            ],
            outputs=[
                io.Image.Output(
                    display_name="panels",
                    is_output_list=True,
                    tooltip="A list; VAE Encode, the sampler and VAE Decode work on one panel after the other.",
                ),
                types.Layout.Output(display_name="enlarged_layout", tooltip="For Stitch Panels, with 'fit' exact."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, layout: PanelLayout, factor: float) -> io.NodeOutput:
        image = checked_pictures(image, "the image", coloured=False)
        return io.NodeOutput(*enlarged(image, layout, Fraction(factor).limit_denominator(64)))


@found_by("color match", "colour transfer", "match colors")
class InContextMatchColours(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextMatchColours",
            display_name="Match Colours",
            category=CATEGORY,
            description="Gives an image the colours of another of the same size; lists are matched one by one.",
            inputs=[
                io.Image.Input("image", tooltip="For example a panel that was finished at a higher resolution."),
                io.Image.Input(
                    "reference", tooltip="The image whose colours it is to have, for example the panel before."
                ),
                io.Combo.Input(
                    "colour_match",
                    options=ColourMatch,
                    default=ColourMatch.MEAN_AND_CONTRAST.value,
                    tooltip="What is carried over, for each colour channel.",
                ),
            ],
            outputs=[io.Image.Output(display_name="matched", tooltip="The image in the other's colours.")],
        )

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, colour_match: str) -> io.NodeOutput:
        image, reference = checked_pictures(image, "the image"), checked_pictures(reference, "the reference")
        return io.NodeOutput(matched(image[..., :3], reference[..., :3], ColourMatch(colour_match)))


@found_by("attention strength", "reference strength")
@shows_first("strength")
class InContextReferenceAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextReferenceAttention",
            display_name="Reference Attention",
            category=CATEGORY,
            description=(
                "How strongly painted panels look at given ones, for FLUX, Chroma and SD3. 1 leaves the model as it is; 1.3 "
                "holds on to a reference more, below 1 less. It works with every attention of ComfyUI, Sage too."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer."),
                io.Mask.Input("mask", tooltip="From Stitch Panels or Repaint Panels."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How many times as much attention. 0 hides the given panels.",
                ),
                io.Float.Input(
                    "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="From this share of sampling on."
                ),
                io.Float.Input(
                    "end_percent", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Up to this share of sampling."
                ),
            ],
            outputs=[io.Model.Output(display_name="attending", tooltip="The model, for the sampler.")],
        )

    @classmethod
    def execute(
        cls, model: Any, mask: Tensor, strength: float, start_percent: float, end_percent: float
    ) -> io.NodeOutput:
        mask = checked_masks(mask, "the mask")
        return io.NodeOutput(attend_to_references(model, mask, strength, start_percent, end_percent))


NODES: list[type[io.ComfyNode]] = [
    InContextContextCrop,
    InContextPastePanels,
    InContextKeepGiven,
    InContextRepaintPanels,
    InContextFindPanels,
    InContextEnlargePanels,
    InContextMatchColours,
    InContextReferenceAttention,
]


def crop_size(layout: PanelLayout | None, panel: str, width: int, height: int) -> tuple[int, int] | None:
    """Size of a crop: the panel's, or what is written; None for the window's own.

    Raises:
        PanelError: where only one side is written, or the layout has no such panel.
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
        PanelError: where that is not known.
    """
    if layout is None:
        raise PanelError(
            "Neither a window nor a layout is connected, so it is not known where the panel came from. Connect the window of "
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
