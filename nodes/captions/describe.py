"""Captions from a vision-language model: for one set, for a folder of sets, and by way of any other pack's node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.captions.describe.options import CaptionRequest, Existing, Pictures, Settings
from ...incontext.tensors import as_uint8, checked_pictures
from .. import host, types
from ..dataset import chosen_shape, folder_fingerprint, shape_input
from ..freshness import Watch
from ..schema import found_by, shows_first
from .describe_inputs import caption_outputs, escape_input, server_inputs, wish_inputs
from .tokens import counters

if TYPE_CHECKING:
    import numpy as np

    from ...incontext.captions.describe.answer import Answer
    from ...incontext.captions.describe.joint import Ask
    from ...incontext.lora.recipe import Recipe

CATEGORY = "in-context lora/caption"
_captioned = Watch(lambda inputs: folder_fingerprint(inputs["folder"]))


@found_by("vlm", "ollama", "describe", "captioning", "llm")
@shows_first("base_url", "model", "seed", "names", "hint")
class InContextCaptionPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextCaptionPanels",
            display_name="Caption Panels",
            category=CATEGORY,
            description=(
                "Describes a set with a vision-language model (Ollama, LM Studio, vLLM, llama.cpp server, or any "
                "other with an OpenAI-compatible API). It shows the model all panels at once and writes one "
                "joint caption in the recipe's style. Keys are never stored in the workflow; the help page says "
                "where they are kept."
            ),
            is_input_list=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                types.Recipe.Input("recipe", tooltip="How the task's captions are written."),
                io.Image.Input(
                    "images",
                    tooltip=(
                        "The panels as a list or a batch, in reading order; or one picture of the whole set, which is cut "
                        "where the recipe's panels meet."
                    ),
                ),
                *server_inputs(),
                *wish_inputs(),
                escape_input(),
                io.Clip.Input("clip", optional=True, tooltip="Counts the caption's tokens with its real tokenizers."),
            ],
            outputs=[*caption_outputs()],
        )

    @classmethod
    def execute(
        cls,
        recipe: list[Recipe],
        images: list[Tensor],
        base_url: list[str],
        model: list[str],
        pictures: list[str],
        side: list[int],
        max_tokens: list[int],
        timeout: list[int],
        seed: list[int],
        names: list[str],
        invent_names: list[bool],
        hint: list[str],
        escape_parentheses: list[bool],
        clip: list[Any] | None = None,
    ) -> io.NodeOutput:
        from ...incontext.captions.describe.joint import describe

        shown = Pictures(pictures[0])
        settings = Settings(model[0], timeout[0], max_tokens[0], seed[0], side=side[0], pictures=shown)
        request = CaptionRequest.of(names[0], invent_names[0], hint[0])
        node_id = str(cls.hidden.unique_id or "")
        ask = asking(base_url[0], settings, node_id)
        answer = describe(recipe[0], _pixels(images), request, settings, ask)
        return _outputs(node_id, recipe[0], answer, request, escape_parentheses[0], clip[0] if clip else None)


@found_by("vlm", "ollama", "captioning", "folder", "llm")
@shows_first("folder", "existing", "base_url", "model", "names", "hint")
class InContextCaptionDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextCaptionDataset",
            display_name="Caption Dataset",
            category="in-context lora/dataset",
            description=(
                "Writes a caption file beside every set of a folder, with a vision-language model. This is the one node "
                "that writes into the folder of your sets: only if a set has no caption, unless you choose otherwise. You "
                "can cancel at any time; the next run continues where this one stopped."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                types.Recipe.Input("recipe", tooltip="Says where the panels are and how the caption is written."),
                io.String.Input(
                    "folder",
                    tooltip=(
                        "Folder of the sets: its name in ComfyUI's input folder, or its whole path, in any of the three shapes "
                        "that Build Dataset reads. Captions are written there, so a folder elsewhere must be allowed; the "
                        "help page says how."
                    ),
                ),
                io.Combo.Input(
                    "existing",
                    options=Existing,
                    default=Existing.KEEP.value,
                    tooltip=(
                        "What to do with a set that already has a caption: keep it, or replace it. A replaced "
                        "caption that this node did not write stays beside the new one, with .bak added to its "
                        "name."
                    ),
                ),
                shape_input(),
                *server_inputs(),
                *wish_inputs(),
            ],
            outputs=[
                io.String.Output(
                    display_name="folder",
                    tooltip="The folder of the sets, for Build Dataset, which then waits for this.",
                ),
                io.String.Output(
                    display_name="report", tooltip="What was written, what was kept, and what failed and why."
                ),
                io.Int.Output(display_name="count", tooltip="How many captions were written."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, **_: Any) -> str:
        return (
            f"{folder_fingerprint(folder) if folder is not None else 'wired'} {_captioned.changes({'folder': folder})}"
        )

    @classmethod
    def execute(
        cls,
        recipe: Recipe,
        folder: str,
        existing: str,
        shape: str,
        base_url: str,
        model: str,
        pictures: str,
        side: int,
        max_tokens: int,
        timeout: int,
        seed: int,
        names: str,
        invent_names: bool,
        hint: str,
    ) -> io.NodeOutput:
        from ...incontext.captions import joint as captions
        from ...incontext.captions.describe import answer as answers
        from ...incontext.captions.describe.folder import SetCaption, caption_folder
        from ...incontext.captions.describe.joint import describe

        settings = Settings(model, timeout, max_tokens, seed, side=side, pictures=Pictures(pictures))
        request = CaptionRequest.of(names, invent_names, hint)
        node_id = str(cls.hidden.unique_id or "")
        source = host.resolve_folder(folder)
        place, count = "", host.counting(node_id)

        def say(text: str) -> None:
            host.send_text(node_id, f"{place}, {text}" if place else text)

        def progress(done: int, total: int) -> None:
            nonlocal place
            count(done, total)
            place = f"{done} of {total} sets"
            say("next" if done < total else "done")

        def described(panels: Sequence[np.ndarray]) -> SetCaption:
            answer = describe(recipe, panels, request, settings, ask)
            line = answers.build(recipe, answer.parts, request.names)
            # parentheses are plain text in a training caption
            return SetCaption(line, answers.remarks(recipe, answer, captions.escape(line)))

        ask = asking(base_url, settings, node_id, say)
        report = caption_folder(
            source,
            recipe,
            described,
            existing=Existing(existing),
            shape=chosen_shape(shape),
            settings=repr((base_url, replace(settings, timeout=0), request)),
            progress=progress,
        )
        host.send_text(node_id, report.headline)
        _captioned.executed({"folder": folder}, folder_fingerprint(folder))
        return io.NodeOutput(str(source), report.text(), report.written)


@found_by("prompt for vlm", "system prompt", "captioning")
class InContextCaptionInstruction(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextCaptionInstruction",
            display_name="Caption Instruction",
            category=CATEGORY,
            description=(
                "Gives the instruction that Caption Panels sends to its model as text, for any other node that "
                "asks a vision-language model. Connect that node's answer to Read Caption."
            ),
            inputs=[
                types.Recipe.Input("recipe", tooltip="How the task's captions are written."),
                io.Combo.Input(
                    "pictures",
                    options=Pictures,
                    default=Pictures.ALL.value,
                    tooltip="What the other node shows its model: the canvas with all panels, or each panel by itself.",
                ),
                *wish_inputs(),
            ],
            outputs=[io.String.Output(display_name="instruction", tooltip="For the prompt of the other node.")],
        )

    @classmethod
    def execute(cls, recipe: Recipe, pictures: str, names: str, invent_names: bool, hint: str) -> io.NodeOutput:
        from ...incontext.captions.describe.instruction import instruction

        return io.NodeOutput(instruction(recipe, CaptionRequest.of(names, invent_names, hint), Pictures(pictures)))


@found_by("parse caption", "vlm answer")
class InContextReadCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextReadCaption",
            display_name="Read Caption",
            category=CATEGORY,
            description=(
                "Splits a description of a set into summary and panels: the answer of a vision-language model, "
                "or a joint caption from a file. Thinking, code fences and remarks around it are dropped."
            ),
            hidden=[io.Hidden.unique_id],
            inputs=[
                types.Recipe.Input("recipe", tooltip="Which markers to expect."),
                io.String.Input(
                    "answer",
                    multiline=True,
                    default="",
                    tooltip="The answer of a model that was given the text of Caption Instruction, or a joint caption.",
                ),
                io.String.Input(
                    "names",
                    default="",
                    tooltip="Names of people and things, separated by commas. Each is written as <Leo> wherever it occurs.",
                ),
                escape_input(),
                io.Clip.Input("clip", optional=True, tooltip="Counts the caption's tokens with its real tokenizers."),
            ],
            outputs=[*caption_outputs()],
        )

    @classmethod
    def execute(
        cls, recipe: Recipe, answer: str, names: str, escape_parentheses: bool, clip: Any = None
    ) -> io.NodeOutput:
        from ...incontext.captions.describe.answer import read

        node_id = str(cls.hidden.unique_id or "")
        return _outputs(node_id, recipe, read(recipe, answer), CaptionRequest.of(names), escape_parentheses, clip)


def _outputs(
    node_id: str, recipe: Recipe, answer: Answer, request: CaptionRequest, escape: bool, clip: Any
) -> io.NodeOutput:
    """What both nodes give, and the caption on the node itself: Preview as Text would hide <names>."""
    from ...incontext.captions import joint as captions
    from ...incontext.captions.describe import answer as answers

    plain = answers.build(recipe, answer.parts, request.names)
    line = captions.escape(plain) if escape else plain
    report = [*answers.remarks(recipe, answer, line)]
    if clip is not None:
        report.append(captions.token_report(line, captions.count_tokens(line, counters(clip))))
    host.send_text(node_id, line)
    parts = captions.parse(recipe, plain)
    return io.NodeOutput(line, parts.summary, list(parts.panels), "\n".join(report))


def asking(base_url: str, settings: Settings, node_id: str, say: Any = None) -> Ask:
    """Asks the server; a cancel takes effect within a fraction of a second.

    Raises:
        VisionError: if the server may not be asked.
    """
    from ...incontext.captions.describe import servers
    from ...incontext.captions.describe.client import complete

    named = servers.named_servers(os.environ, host.private_folder() / servers.FILE)
    server = servers.permitted(base_url, named)
    tell = say or (lambda text: host.send_text(node_id, text))
    return partial(complete, server, settings, go_on=host.stop_if_cancelled, say=tell)


def _pixels(images: Sequence[Tensor]) -> list[np.ndarray]:
    """[batch, height, width, channels] each, 0…1 → uint8 [height, width, 3] for every picture."""
    every = [picture for batch in images for picture in checked_pictures(batch, "the image")[..., :3]]
    return [as_uint8(picture) for picture in every]


NODES = [InContextCaptionPanels, InContextCaptionDataset, InContextCaptionInstruction, InContextReadCaption]
