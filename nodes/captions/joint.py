"""One caption for a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ...incontext.captions import joint as captions
from ...incontext.lora.recipe import Recipe
from .. import types
from ..schema import found_by
from .tokens import counters

CATEGORY = "in-context lora/caption"
NUMBERED_PANELS = 9


@found_by("prompt", "caption", "text", "characters")
class InContextJointCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextJointCaption",
            display_name="Joint Caption",
            category=CATEGORY,
            description=(
                "Writes the one caption that describes a set: prefix, summary, and a marker in front of each panel's text. "
                "The report says what is missing and how many tokens the connected CLIP counts."
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
                        tooltip=f"What panel {n} shows. Markers are added by themselves.",
                    )
                    for n in range(1, NUMBERED_PANELS + 1)
                ],
                io.String.Input(
                    "names",
                    default="",
                    optional=True,
                    tooltip="Names of persons and things, separated by commas; written as <Leo> wherever they occur.",
                ),
                io.Boolean.Input(
                    "escape_parentheses",
                    default=True,
                    optional=True,
                    tooltip="Write \\( for (, so that ComfyUI takes parentheses as text and not as emphasis.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Counts the caption's tokens with its real tokenizers."),
            ],
            outputs=[
                io.String.Output(display_name="caption", tooltip="One line, for CLIP Text Encode."),
                io.String.Output(display_name="report", tooltip="What to mend, and the token counts."),
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
        **panels: str,
    ) -> io.NodeOutput:
        texts = [panels.get(f"panel_{n}") or "" for n in range(1, NUMBERED_PANELS + 1)]
        text = joint_caption(recipe, summary, texts, names, escape_parentheses)
        report = [*captions.problems(recipe, text)]
        if clip is not None:
            report.append(captions.token_report(text, captions.count_tokens(text, counters(clip))))
        return io.NodeOutput(text, "\n".join(report))


def joint_caption(recipe: Recipe, summary: str, texts: Sequence[str], names: str, escape_parentheses: bool) -> str:
    """The caption from the node's fields; empty ones behind the last panel are passed over.

    Raises:
        CaptionError: as `captions.build`.
    """
    count = len(texts)
    while count > len(recipe.markers) and not texts[count - 1].strip():
        count -= 1
    return captions.build(recipe, summary, texts[:count], names=names.split(","), escape_parentheses=escape_parentheses)
