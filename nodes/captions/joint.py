"""One caption for a whole set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...incontext.captions.fields import NUMBERED_PANELS, panel_texts
from .. import types
from ..schema import found_by
from .tokens import counters

if TYPE_CHECKING:
    from ...incontext.lora.recipe import Recipe

CATEGORY = "in-context lora/caption"


@found_by("prompt", "caption", "text", "characters")
class InContextJointCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextJointCaption",
            display_name="Joint Caption",
            category=CATEGORY,
            description=(
                "Writes the one caption that describes a set: prefix, summary, and a marker before each panel's text. Each "
                "wildcard is drawn once for all panels. The report says what is missing and how many tokens the connected "
                "CLIP counts."
            ),
            inputs=[
                types.Recipe.Input("recipe", tooltip="How the task's captions are written."),
                io.String.Input(
                    "summary",
                    multiline=True,
                    default="",
                    tooltip="What the set is about. Empty: the recipe's own opening.",
                ),
                *[
                    io.String.Input(
                        f"panel_{n}",
                        multiline=True,
                        default="",
                        optional=n > 2,
                        tooltip=f"What panel {n} shows. Markers are added automatically.",
                    )
                    for n in range(1, NUMBERED_PANELS + 1)
                ],
                io.String.Input(
                    "names",
                    default="",
                    optional=True,
                    tooltip="Names of people and things, separated by commas. Each is written as <Leo> wherever it occurs.",
                ),
                io.Boolean.Input(
                    "escape_parentheses",
                    default=True,
                    optional=True,
                    tooltip="Write \\( for (, so that ComfyUI reads parentheses as text, not as emphasis.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Counts the caption's tokens with its real tokenizers."),
                io.String.Input(
                    "more_panels",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Texts of panel 10 and all later panels, one line per panel.",
                ),
                io.Int.Input(
                    "wildcard_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    optional=True,
                    tooltip=(
                        "Draws one option of each wildcard in the texts, the same in all panels. Connect the sampler's seed "
                        "to draw again for each set."
                    ),
                ),
            ],
            outputs=[
                io.String.Output(display_name="caption", tooltip="One line, for CLIP Text Encode."),
                io.String.Output(display_name="report", tooltip="What to fix, and the token counts."),
            ],
        )

    @classmethod
    def execute(
        cls,
        recipe: Recipe,
        summary: str,
        names: str = "",
        escape_parentheses: bool = True,
        clip: Any = None,
        more_panels: str = "",
        wildcard_seed: int = 0,
        **panels: str,
    ) -> io.NodeOutput:
        from ...incontext.captions import joint as captions
        from ...incontext.captions.written import write_caption

        texts = panel_texts(panels, more_panels)
        written = write_caption(recipe, summary, texts, names, escape_parentheses, wildcard_seed)
        report = list(written.problems)
        if clip is not None:
            report.append(
                captions.token_report(written.caption, captions.count_tokens(written.caption, counters(clip)))
            )
        return io.NodeOutput(written.caption, "\n".join(report))
