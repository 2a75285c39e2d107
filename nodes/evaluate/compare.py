"""Compare checkpoints on pictures that ComfyUI's own sampler makes, and choose the best."""

from __future__ import annotations

import json
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .. import host, types
from ..schema import found_by, shows_first
from ..training.inputs import NONE
from .ids import CELL, COMPARE

CATEGORY = "in-context lora/evaluate"


@shows_first("run", "loras", "checkpoints", "strengths", "captions", "seeds", "use_chosen", "name")
@found_by("evaluate", "checkpoint", "grid", "xy plot", "best lora", "choose")
class InContextCompareCheckpoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=COMPARE,
            display_name="Compare Checkpoints",
            category=CATEGORY,
            description=(
                "Generates sets for held-out captions with each checkpoint of a run and with the base model, scores them, "
                "and chooses the best checkpoint, or none if none beats the base model. You can cancel at any time: "
                "finished pictures are not made again."
            ),
            is_output_node=True,
            enable_expand=True,
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model, without the LoRAs that are compared."),
                io.Clip.Input("clip", tooltip="Encodes the captions."),
                io.Vae.Input("vae", tooltip="Decodes the sets."),
                io.Combo.Input(
                    "run",
                    options=[NONE, *(folder.name for folder in host.runs())],
                    default=NONE,
                    tooltip="The training run whose checkpoints are compared.",
                ),
                io.String.Input(
                    "loras",
                    default="",
                    multiline=True,
                    tooltip="Other LoRAs to compare, one per line, as Load In-Context LoRA lists them.",
                ),
                io.Int.Input(
                    "checkpoints",
                    default=6,
                    min=0,
                    max=1000,
                    tooltip="At most this many checkpoints of the run, evenly spread and including the last; 0 for all.",
                ),
                io.String.Input(
                    "strengths", default="1.0", tooltip="Strengths of each LoRA, separated by commas: 0.8, 1.0."
                ),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip=(
                        "One joint caption per line, for sets that were not trained on. Eight or more make the choice "
                        "reliable; the prefix may be left out."
                    ),
                ),
                io.Int.Input("seeds", default=2, min=1, max=64, tooltip="Sets per caption, each from different noise."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    tooltip="The first seed; each further set of a caption uses the next one.",
                ),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Sampling steps; 0 for the recipe's."),
                io.Float.Input(
                    "cfg", default=0.0, min=0.0, max=100.0, step=0.1, tooltip="Guidance scale; 0 for the recipe's."
                ),
                io.Boolean.Input(
                    "use_chosen",
                    default=True,
                    tooltip="Put the chosen LoRA into output/loras, with the evidence and its strength in its recipe.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    optional=True,
                    tooltip="Name of the comparison, a folder in output/incontext_comparisons. Empty: the name of the run.",
                ),
                types.Run.Input("trained", optional=True, tooltip="A run from a training node, in place of 'run'."),
                types.Recipe.Input(
                    "recipe", optional=True, tooltip="The task. If not connected, the recipe inside the LoRAs."
                ),
                types.Dataset.Input(
                    "dataset", optional=True, tooltip="The training sets, to show whether a checkpoint repeats them."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip=(
                        "Measures likeness. DINOv2 or DINOv3 is recommended: it sees a changed identity that CLIP misses. "
                        "Without it, colours and shapes are compared."
                    ),
                ),
                io.ClipVision.Input(
                    "caption_vision", optional=True, tooltip="A CLIP's picture tower, to score captions; not DINO."
                ),
                io.Clip.Input("caption_clip", optional=True, tooltip="The text tower of the same CLIP."),
                io.Image.Input(
                    "references",
                    optional=True,
                    tooltip="A given panel: one picture for all captions, or a batch with one per caption.",
                ),
                io.Int.Input(
                    "reference_panel", default=1, min=1, max=9, optional=True, tooltip="Which panel is given, from 1."
                ),
                io.String.Input(
                    "base_url",
                    default="",
                    optional=True,
                    tooltip="Address of a server with a vision-language model, as in Caption Panels.",
                ),
                io.String.Input(
                    "vision_model",
                    default="",
                    optional=True,
                    tooltip=(
                        "A model on that server, which is asked yes-or-no questions about each set. Empty: none "
                        "is asked."
                    ),
                ),
                io.AnyType.Input("after", optional=True, tooltip="Connect what must finish first, such as a training."),
            ],
            outputs=[
                io.String.Output(
                    display_name="lora_name",
                    tooltip="The chosen LoRA as loaders list it; empty if none was put into output/loras.",
                ),
                io.Float.Output(display_name="strength", tooltip="The chosen strength; 0 if none was chosen."),
                io.Model.Output(display_name="model", tooltip="The model with the chosen LoRA, or the base model."),
                io.Image.Output(display_name="grids", tooltip="One grid per caption: candidates by seeds."),
                io.String.Output(display_name="report", tooltip="The choice, its reason, and the table."),
                io.String.Output(display_name="table", tooltip="The table as CSV."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, run: str | None = None, loras: str | None = None, **_: Any) -> str:
        from . import plan as plans

        return plans.files_stamp(run or NONE, loras or "")

    @classmethod
    def execute(cls, model: Any, clip: Any, vae: Any, after: Any = None, **values: Any) -> io.NodeOutput:
        from .comparing import compare

        return compare(cls.hidden.dynprompt, cls.hidden.unique_id, model, clip, vae, values)


@shows_first()
@found_by("evaluate", "compare")
class InContextComparisonCell(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=CELL,
            display_name="Comparison Cell",
            category=CATEGORY,
            description=(
                "Makes one set of a comparison and keeps it on disk. Compare Checkpoints adds these nodes by itself while "
                "it runs; you never need to add one."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model with the LoRA of this cell."),
                io.Vae.Input("vae", tooltip="Decodes the set."),
                io.Conditioning.Input("positive", tooltip="The encoded caption."),
                io.Conditioning.Input("negative", tooltip="The encoded empty caption."),
                io.Latent.Input("latent", tooltip="An empty canvas, or one with a given panel."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    tooltip="Seed of the noise.",
                ),
                io.String.Input(
                    "key", default="", tooltip="The set's name, computed from everything that it depends on."
                ),
                io.String.Input("plan", default="{}", tooltip="Sampling settings and size, as JSON."),
                io.AnyType.Input("after", optional=True, tooltip="The cell before this one."),
            ],
            outputs=[io.String.Output(display_name="key", tooltip="The key, once the set is on disk.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        positive: list,
        negative: list,
        latent: dict[str, Any],
        seed: int,
        key: str,
        plan: str,
        after: Any = None,
    ) -> io.NodeOutput:
        from ...incontext.evaluate.store import Store
        from ...incontext.panels.edge import without_extension
        from ..references.core_nodes import core_node

        store, how = Store(host.comparisons_folder()), json.loads(plan)
        if not store.has(key):
            host.send_text(how["shown_on"], f"making set {how['place']}: {how['candidate']}")
            settings = (how["steps"], how["cfg"], how["sampler"], how["scheduler"])
            latent = {name: value for name, value in latent.items() if name != "samples"} | {"samples": _start(latent)}
            (sampled,) = core_node("KSampler")().sample(model, seed, *settings, positive, negative, latent, 1.0)
            decoded = vae.decode(sampled["samples"])
            picture = without_extension(decoded.reshape(-1, *decoded.shape[-3:]), how["width"], how["height"])[0]
            store.save(key, picture, {**how, "seed": seed})
        return io.NodeOutput(key)


def _start(latent: dict[str, Any]) -> Tensor:
    """Zeros for a canvas that is painted as a whole; with a given panel, its latent."""
    samples = latent["samples"]
    return samples if "noise_mask" in latent else torch.zeros_like(samples)


NODES = [InContextCompareCheckpoints, InContextComparisonCell]
