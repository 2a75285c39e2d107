"""Inputs and outputs that the nodes for vision-language models share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...incontext.captions.describe.options import OLLAMA, Pictures, Settings

MODEL = "qwen2.5vl:7b"


def server_inputs() -> list[Any]:
    default = Settings(MODEL)
    return [
        io.String.Input(
            "base_url",
            default=OLLAMA,
            tooltip=(
                "Address of the server's API. The default is Ollama's; LM Studio uses http://127.0.0.1:1234/v1. Other "
                "machines must be allowed in ComfyUI's environment; the help page says how."
            ),
        ),
        io.String.Input(
            "model",
            default=default.model,
            tooltip=(
                "Name of a model on that server; it must read several pictures at once, unless 'pictures' is one "
                "picture of all panels."
            ),
        ),
        io.Combo.Input(
            "pictures",
            options=Pictures,
            default=default.pictures.value,
            tooltip="What the model sees: each panel by itself, or one canvas for models that read a single picture.",
        ),
        io.Int.Input(
            "side",
            default=default.side,
            min=128,
            max=2048,
            step=64,
            tooltip="The longer side of the pictures that are sent, in pixels. Larger shows more detail and takes longer.",
        ),
        io.Int.Input(
            "max_tokens",
            default=default.max_tokens,
            min=64,
            max=65536,
            tooltip="Most tokens in an answer, including what the model thinks first. Raise it for models that think.",
        ),
        io.Int.Input(
            "timeout", default=round(default.timeout), min=1, max=3600, tooltip="Seconds to wait for an answer."
        ),
        io.Int.Input(
            "seed",
            default=default.seed,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,
            tooltip="The same seed asks for the same answer. Change it to get a different one.",
        ),
    ]


def wish_inputs() -> list[Any]:
    return [
        io.String.Input(
            "names",
            default="",
            tooltip="Names of people and things in the panels, separated by commas. Each is written as <Leo> wherever it occurs.",
        ),
        io.Boolean.Input(
            "invent_names",
            default=False,
            tooltip="If no names are given, let the model name each person who is in several panels, as storyboards need.",
        ),
        io.String.Input(
            "hint",
            multiline=True,
            default="",
            tooltip="Anything else the model should know, such as 'the logo is called Aurora'.",
        ),
    ]


def escape_input() -> Any:
    return io.Boolean.Input(
        "escape_parentheses",
        default=True,
        tooltip="Write \\( for (, so that ComfyUI reads parentheses as text, not as emphasis.",
    )


def caption_outputs() -> list[Any]:
    return [
        io.String.Output(display_name="caption", tooltip="The joint caption, one line, for CLIP Text Encode."),
        io.String.Output(display_name="summary", tooltip="What the panels share, without prefix."),
        io.String.Output(
            display_name="panel texts", is_output_list=True, tooltip="One text per panel, without markers, as a list."
        ),
        io.String.Output(display_name="report", tooltip="Repairs, remaining problems, and the token counts."),
    ]
