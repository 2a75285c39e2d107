"""Panels into one canvas, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...incontext.captions.fields import NUMBERED_PANELS
from ...incontext.panels.choices import Align, Alpha, Fit
from ...incontext.panels.colours import parse_colour
from .. import types
from ..schema import found_by, shows_first

if TYPE_CHECKING:
    from ...incontext.panels.layout import PanelLayout

CATEGORY = "in-context lora/panels"


@found_by("stitch", "concatenate", "collage", "grid", "diptych", "combine images")
@shows_first("fit", "align")
class InContextStitchPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        numbers = range(1, NUMBERED_PANELS + 1)
        return io.Schema(
            node_id="InContextStitchPanels",
            display_name="Stitch Panels",
            category=CATEGORY,
            description=(
                "Puts panels on one canvas. Panels without an image are left for the model to generate; the mask marks "
                "them. Connect images one by one, or several at once to 'images'."
            ),
            is_input_list=True,
            inputs=[
                types.Layout.Input(
                    "layout",
                    tooltip="Where the panels are: from In-Context Task, Panel Layout or Load In-Context LoRA.",
                ),
                io.Combo.Input(
                    "fit",
                    options=Fit,
                    default=Fit.COVER.value,
                    tooltip="How an image of another size is fitted into its panel: fill and crop, show all and pad, or stretch.",
                ),
                io.Combo.Input(
                    "align",
                    options=Align,
                    default=Align.CENTER.value,
                    tooltip="Which part stays when an image is cropped, or where it is placed when padded.",
                ),
                io.String.Input(
                    "padding", default="white", tooltip="Colour of the padding: a name, #rrggbb, or 'r, g, b'."
                ),
                io.Combo.Input(
                    "alpha",
                    options=Alpha,
                    default=Alpha.FLATTEN.value,
                    tooltip="Transparent parts of an image: fill them with the padding colour, or let the model paint them.",
                ),
                io.String.Input(
                    "gutter",
                    default="white",
                    tooltip="Colour between the panels, where the layout has a gutter: a name, #rrggbb, or 'r, g, b'.",
                ),
                io.String.Input(
                    "fill",
                    default="gray",
                    tooltip=(
                        "Colour under the areas to generate; keep grey. Where a mask has soft edges, the image "
                        "shows through instead."
                    ),
                ),
                io.String.Input(
                    "exceptions",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Panels that are fitted differently, one per line: '2: contain, top' or 'LEFT: stretch'.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="All panels at once, as a list or a batch, in reading order. Numbered inputs take precedence.",
                ),
                *[
                    io.Image.Input(
                        f"panel_{n}", optional=True, tooltip=f"Image of panel {n}. Leave open to generate it."
                    )
                    for n in numbers
                ],
                *[
                    io.Mask.Input(f"mask_{n}", optional=True, tooltip=f"The area to repaint in panel {n}.")
                    for n in numbers
                ],
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="The masks of all panels, as a list or a batch, in reading order. Numbered inputs take precedence.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="All panels on one picture."),
                io.Mask.Output(display_name="mask", tooltip="White where the model generates."),
                types.Layout.Output(
                    display_name="layout", tooltip="The layout, which now knows how each image was fitted."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        layout: list[PanelLayout],
        fit: list[str],
        align: list[str],
        padding: list[str],
        alpha: list[str],
        gutter: list[str],
        fill: list[str],
        exceptions: list[str] | None = None,
        images: list[Tensor] | None = None,
        masks: list[Tensor] | None = None,
        **numbered: list[Tensor],
    ) -> io.NodeOutput:
        from ...incontext.panels.fit import PanelSettings, settings_per_panel
        from ...incontext.panels.gather import gather
        from ...incontext.panels.stitch import stitch
        from ...incontext.tensors import checked_masks

        panels = layout[0]
        count = len(panels)
        common = PanelSettings(Fit(fit[0]), Align(align[0]), parse_colour(padding[0]), Alpha(alpha[0]))
        stitched = stitch(
            panels,
            gather(count, images or [], _by_number("panel", numbered)),
            masks=gather(count, masks or [], _by_number("mask", numbered), checked_masks, "masks"),
            settings=settings_per_panel(panels, common, (exceptions or [""])[0]),
            fill=parse_colour(fill[0]),
            gutter=parse_colour(gutter[0]),
        )
        return io.NodeOutput(stitched.canvas, stitched.mask, stitched.layout)


def _by_number(kind: str, numbered: Mapping[str, list[Tensor]]) -> dict[int, list[Tensor]]:
    """Panel number → what is connected for it. For panels after the ninth, the interface adds inputs of the same form."""
    prefix = f"{kind}_"
    return {
        int(name.removeprefix(prefix)): value
        for name, value in numbered.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
    }


@found_by("split grid", "crop panels", "cut", "slice", "tiles")
class InContextSplitPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextSplitPanels",
            display_name="Split Panels",
            category=CATEGORY,
            description=(
                "Cuts a canvas into its panels, exactly where they were stitched. Core nodes such as Save Image work on "
                "each panel of the list."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The canvas. It may have been enlarged by a whole factor, such as 2."),
                types.Layout.Input(
                    "layout", tooltip="From Stitch Panels, In-Context Task, Panel Layout or Load In-Context LoRA."
                ),
                io.Boolean.Input(
                    "original_size",
                    default=False,
                    tooltip="Undo the fit of given panels: padding is removed, and each returns at its own size.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="panels", is_output_list=True, tooltip="Every panel, as a list in reading order."
                ),
                io.Image.Output(
                    display_name="generated",
                    is_output_list=True,
                    tooltip=(
                        "Only the panels that the model painted; all panels if the layout is not from Stitch "
                        "Panels. If every panel was given, the nodes after this output are skipped."
                    ),
                ),
                io.Image.Output(
                    display_name="batch",
                    tooltip=(
                        "All panels in one batch, set by set, if they have the same size; otherwise this output stops with "
                        "a message."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, layout: PanelLayout, original_size: bool) -> io.NodeOutput:
        from ...incontext.panels.gather import as_batch
        from ...incontext.panels.stitch import generated, split
        from ...incontext.tensors import checked_pictures

        image = checked_pictures(image, "the image", coloured=False, finite=False)
        panels = split(image, layout, original_size=original_size)
        sizes = {f"{panel.shape[2]}×{panel.shape[1]}": panel for panel in panels}
        # set by set, each in reading order
        batch = as_batch(panels) if len(sizes) == 1 else ExecutionBlocker(no_batch(sizes))
        # an empty list would crash the nodes after it; a blocked output skips them
        return io.NodeOutput(panels, generated(panels, layout) or [ExecutionBlocker(None)], batch)


def no_batch(sizes: Iterable[str]) -> str:
    return f"The panels have different sizes ({', '.join(sizes)}), so they cannot form a batch. Use the list 'panels'."
