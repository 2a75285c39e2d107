"""Finished sets: keep the given panels, repaint, find, enlarge and match panels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from comfy_api.latest import io
from torch import Tensor

from ...incontext.panels.choices import LARGEST_TOLERANCE, ColourMatch
from ...incontext.panels.colours import parse_colour
from ...incontext.tensors import checked_masks, checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by
from .comparison import before_and_after
from .inputs import CATEGORY, colour_match_input

if TYPE_CHECKING:
    from ...incontext.panels.layout import PanelLayout


@found_by("keep references", "composite", "restore")
class InContextKeepGiven(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextKeepGiven",
            display_name="Keep Given Panels",
            category=CATEGORY,
            description=(
                "Puts everything that was given back onto the painted canvas: the same pixels, bit for bit, "
                "without the small changes that encoding and decoding make."
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
                colour_match_input("Match the painted canvas's colours to the given panels."),
                io.Image.Input(
                    "pictures",
                    optional=True,
                    tooltip=(
                        "The canvas before anything was opened for painting: the image connected to Repaint "
                        "Panels, or the canvas of a Stitch Panels without masks."
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
        from ...incontext.panels.paste import keep_given

        colours = ColourMatch(colour_match)
        canvas, painted = checked_pictures(canvas, "the canvas"), checked_pictures(painted, "the painted canvas")
        mask = checked_masks(mask, "the mask")
        pictures = None if pictures is None else checked_pictures(pictures, "the pictures")
        kept = keep_given(canvas, painted, mask, pictures=pictures, feather=feather, colours=colours)
        return io.NodeOutput(kept, ui=before_and_after(canvas if pictures is None else pictures, kept))


@found_by("inpaint", "redo panel", "mask panels")
class InContextRepaintPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextRepaintPanels",
            display_name="Repaint Panels",
            category=CATEGORY,
            description=(
                "Opens some panels of a finished set for repainting and treats the others as given. Continue "
                "with Condition Panels and the sampler; Keep Given Panels then restores the others, bit for bit."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The finished set on its canvas."),
                types.Layout.Input(
                    "layout", tooltip="Where its panels are. For a picture from elsewhere, use Find Panels."
                ),
                io.String.Input(
                    "panels", default="2", tooltip="Which panels to repaint, by number or name: '2' or '1, 3'."
                ),
                io.String.Input("fill", default="gray", tooltip="Colour that fills them until they are painted."),
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
        from ...incontext.panels.rework import repaint

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
                "Finds the panels of a picture that came without a layout, such as a drawn storyboard: it looks for seams "
                "and gutters near the lines of an expected layout."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The picture. Only the first one of a batch is used."),
                types.Layout.Input(
                    "expected",
                    tooltip="How many panels to expect and roughly where; its canvas size does not matter.",
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
                    tooltip="Move seams to multiples of this many pixels: 1 to cut exactly, 16 to repaint panels.",
                ),
            ],
            outputs=[
                types.Layout.Output(display_name="layout", tooltip="The panels that were found."),
                io.Float.Output(
                    display_name="confidence",
                    tooltip="How certain the least certain seam is, 0 to 1. Below 0.3, check the result.",
                ),
                io.String.Output(display_name="report", tooltip="Where each seam was found, and how certain it is."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image: Tensor, expected: PanelLayout, tolerance: float, step: int) -> io.NodeOutput:
        from ...incontext.panels.seams import find_panels

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
                "Enlarges each panel of a finished set on its own, to be refined panel by panel at a low denoise. Then "
                "Match Colours keeps the set's colours, and Stitch Panels joins the panels on the enlarged layout."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The finished set on its canvas."),
                types.Layout.Input("layout", tooltip="Where its panels are."),
                io.Float.Input(
                    "factor",
                    default=2.0,
                    min=1.0,
                    max=8.0,
                    step=0.25,
                    tooltip="Factor for width and height: 2 makes a 512×512 panel 1024×1024.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="panels",
                    is_output_list=True,
                    tooltip=(
                        "The enlarged panels, as a list; VAE Encode, the sampler and VAE Decode process one "
                        "after the other."
                    ),
                ),
                types.Layout.Output(
                    display_name="enlarged_layout",
                    tooltip="The layout at the new size, for Stitch Panels with 'fit' set to exact.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, layout: PanelLayout, factor: float) -> io.NodeOutput:
        from ...incontext.panels.rework import enlarge_panels

        image = checked_pictures(image, "the image", coloured=False)
        return io.NodeOutput(*enlarge_panels(image, layout, Fraction(factor).limit_denominator(64)))


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
                io.Image.Input("image", tooltip="For example a panel that was refined at a higher resolution."),
                io.Image.Input(
                    "reference", tooltip="The image whose colours to take, for example the panel before it was refined."
                ),
                io.Combo.Input(
                    "colour_match",
                    options=ColourMatch,
                    default=ColourMatch.MEAN_AND_CONTRAST.value,
                    tooltip=(
                        "What to match in each colour channel. Without contrast, the image keeps its own range "
                        "from dark to light."
                    ),
                ),
            ],
            outputs=[io.Image.Output(display_name="matched", tooltip="The image in the other's colours.")],
        )

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, colour_match: str) -> io.NodeOutput:
        from ...incontext.panels.colour_match import match_colours

        image, reference = checked_pictures(image, "the image"), checked_pictures(reference, "the reference")
        return io.NodeOutput(match_colours(image[..., :3], reference[..., :3], ColourMatch(colour_match)))
