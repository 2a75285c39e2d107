"""Which panels there are: a published task, or a layout of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ...incontext.lora.choices import TASKS
from ...incontext.panels.choices import LayoutKind
from .. import types
from ..schema import found_by

if TYPE_CHECKING:
    from ...incontext.lora.recipe import Recipe
    from ...incontext.panels.layout import PanelLayout

CATEGORY = "in-context lora/panels"


def outputs_of(recipe: Recipe) -> tuple[Recipe, PanelLayout, int, int, int]:
    layout = recipe.layout
    return recipe, layout, layout.width, layout.height, len(layout)


def recipe_outputs() -> list[io.Output]:
    return [
        types.Recipe.Output(display_name="recipe", tooltip="What the task is: panels, caption, size and settings."),
        types.Layout.Output(display_name="layout", tooltip="Where the panels are."),
        io.Int.Output(display_name="width", tooltip="Width of the canvas in pixels."),
        io.Int.Output(display_name="height", tooltip="Height of the canvas in pixels."),
        io.Int.Output(display_name="panels", tooltip="How many panels there are."),
    ]


@found_by("preset", "recipe", "storyboard", "couple", "font", "logo", "try-on", "template")
class InContextTask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextTask",
            display_name="In-Context Task",
            category=CATEGORY,
            description=(
                "A published In-Context LoRA task by name, with the exact canvas, panels, markers and prefix that its LoRA "
                "was trained on."
            ),
            inputs=[
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="film-storyboard",
                    tooltip="The ten tasks of the method's authors, then the community's.",
                ),
            ],
            outputs=recipe_outputs(),
        )

    @classmethod
    def execute(cls, task: str) -> io.NodeOutput:
        from ...incontext.lora.tasks import recipe

        return io.NodeOutput(*outputs_of(recipe(task)))


@found_by("grid", "rows", "columns", "canvas", "storyboard", "diptych", "collage")
class InContextLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextLayout",
            display_name="Panel Layout",
            category=CATEGORY,
            description=(
                "Panels of your own: rows, columns, a grid, rows with different numbers of columns, or explicit boxes."
            ),
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=LayoutKind,
                    default=LayoutKind.ROWS.value,
                    tooltip=(
                        "Equal rows, equal columns, a grid, rows with different numbers of columns (nested "
                        "rows), or boxes that you list."
                    ),
                ),
                io.Int.Input(
                    "width", default=1024, min=64, max=16384, step=64, tooltip="Canvas width, a multiple of 64."
                ),
                io.Int.Input(
                    "height", default=1536, min=64, max=16384, step=64, tooltip="Canvas height, a multiple of 64."
                ),
                io.Int.Input("rows", default=3, min=1, max=16, tooltip="Number of rows, for rows and grid."),
                io.Int.Input("columns", default=2, min=1, max=16, tooltip="Number of columns, for columns and grid."),
                io.String.Input(
                    "columns_per_row",
                    default="1, 2",
                    tooltip="For nested rows: how many columns each row has, from the top.",
                ),
                io.Int.Input(
                    "gutter",
                    default=0,
                    min=0,
                    max=512,
                    tooltip=(
                        "Pixels between neighbouring panels. Usually 0: the published LoRAs were trained without "
                        "gutters."
                    ),
                ),
                io.Combo.Input(
                    "panel_step",
                    options=["16", "32", "64", "8"],
                    default="16",
                    tooltip=(
                        "Panel sides are multiples of this many pixels. 16 suits FLUX and SD3; the panels of "
                        "seven published tasks are not multiples of 64."
                    ),
                ),
                io.String.Input(
                    "boxes",
                    default="",
                    multiline=True,
                    tooltip="For boxes: one line per panel, 'NAME: left, top, width, height' in pixels. The name is optional.",
                ),
                io.String.Input(
                    "names",
                    default="",
                    optional=True,
                    tooltip="Panel names in reading order, separated by commas. Empty: LEFT, TOP-LEFT, SCENE-1 … by the layout.",
                ),
                io.String.Input(
                    "prefix",
                    default="",
                    optional=True,
                    tooltip=(
                        "The start of every caption: the word that triggers your LoRA, such as [MY-STORY]. Empty: the "
                        "connected recipe's."
                    ),
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="Keeps this task's caption style and settings, with your panels.",
                ),
            ],
            outputs=recipe_outputs(),
        )

    @classmethod
    def execute(
        cls,
        kind: str,
        width: int,
        height: int,
        rows: int,
        columns: int,
        columns_per_row: str,
        gutter: int,
        panel_step: str,
        boxes: str,
        names: str = "",
        prefix: str = "",
        recipe: Recipe | None = None,
    ) -> io.NodeOutput:
        from ...incontext.lora.recipe import custom
        from ...incontext.panels.arrange import panel_layout

        layout = panel_layout(kind, width, height, rows, columns, columns_per_row, gutter, panel_step, boxes, names)
        return io.NodeOutput(*outputs_of(custom(layout, prefix, recipe)))
