"""Train a LoRA on the model that is already loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from ...training.choices import ReferenceKind
from ...training.in_host.choices import TRAINER, Optimiser, Precision, Schedule, Targets, Timesteps
from ...training.runs.choices import WhenBusy
from .. import host, types
from ..schema import found_by, shows_first
from . import inputs
from .inputs import NONE

if TYPE_CHECKING:
    from ...incontext.dataset.manifest import Dataset
    from ...incontext.lora.recipe import Recipe
    from ...training.sweep.plan import SweepSettings

CATEGORY = "in-context lora/training"


@found_by("train", "fine-tune", "finetune", "train lora")
@shows_first("name", "steps", "batch_size", "learning_rate", "rank", "reference_share", "sample_every", "continue_from")
class InContextTrainLoraInHost(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextTrainLoraInHost",
            display_name="Train In-Context LoRA (in ComfyUI)",
            category=CATEGORY,
            description=(
                "Trains a LoRA on a dataset of panel sets, using the loaded model, in ComfyUI's own process. The finished "
                "LoRA is in output/loras with its recipe inside. Cancelling saves the state, and the run can be resumed."
            ),
            not_idempotent=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer to train on; it is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the captions."),
                io.Vae.Input("vae", tooltip="Encodes the pictures."),
                types.Dataset.Input("dataset", tooltip="From Build Dataset."),
                io.String.Input("name", default="my-incontext-lora", tooltip="File name of the LoRA and of the run."),
                io.Int.Input(
                    "steps",
                    default=600,
                    min=1,
                    max=100_000,
                    tooltip="Optimiser steps. Start with 600 for a small model, 1000 to 5000 for FLUX or SD3.5.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Sets per batch. All sets in a batch have the same size.",
                ),
                io.Int.Input(
                    "gradient_accumulation",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Batches per step. Raise it to train as with larger batches without the memory for them.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-7,
                    max=1.0,
                    step=1e-7,
                    tooltip="How far each step changes the LoRA. 1e-4 suits FLUX and SD3.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=Schedule,
                    default=Schedule.CONSTANT.value,
                    tooltip="The learning rate after the warm-up: constant, or falling along a cosine.",
                ),
                io.Int.Input(
                    "warmup_steps",
                    default=20,
                    min=0,
                    max=10_000,
                    tooltip="Steps over which the learning rate rises from 0; 0 starts at the full rate.",
                ),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=256,
                    tooltip="Rank of the LoRA. Higher holds more and makes a larger file; the official recipe uses 16.",
                ),
                io.Float.Input(
                    "alpha",
                    default=16.0,
                    min=0.1,
                    max=512.0,
                    tooltip="The LoRA's changes are scaled by alpha / rank. Usually the same as the rank.",
                ),
                io.Combo.Input(
                    "targets",
                    options=Targets,
                    default=Targets.ATTENTION_MLP.value,
                    tooltip="Which layers are trained. Norms, biases, embeddings and modulations never are.",
                ),
                io.Combo.Input(
                    "timesteps",
                    options=Timesteps,
                    default=Timesteps.SIGMOID.value,
                    tooltip="How noise levels are drawn. 'shifted' uses the model's own shift, as sampling does.",
                ),
                inputs.reference_share(),
                io.Float.Input(
                    "caption_dropout",
                    default=0.05,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of samples, 0 to 1, that are trained with an empty caption. 0.05 keeps guidance working.",
                ),
                io.Float.Input(
                    "ema",
                    default=0.0,
                    min=0.0,
                    max=0.9999,
                    step=0.0001,
                    tooltip="Decay of the moving average that is saved; 0 for none, 0.99 in the official recipe.",
                ),
                io.Float.Input(
                    "max_grad_norm",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    tooltip="Largest norm of the gradients; longer ones are scaled down to it. 0 for no limit.",
                ),
                io.Float.Input(
                    "guidance", default=1.0, min=0.0, max=100.0, tooltip="FLUX's embedded guidance in training; keep 1."
                ),
                inputs.validation_sets(),
                io.Int.Input(
                    "validate_every",
                    default=100,
                    min=0,
                    max=100_000,
                    tooltip="Steps between measurements of the loss on held-out sets; 0 for never.",
                ),
                io.Int.Input(
                    "save_every",
                    default=250,
                    min=0,
                    max=100_000,
                    tooltip="Steps between checkpoints; 0 saves one at the end only.",
                ),
                io.Int.Input(
                    "sample_every",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="Steps between sample pictures; 0 for never.",
                ),
                io.Combo.Input(
                    "precision",
                    options=Precision,
                    default=Precision.AUTO.value,
                    tooltip=(
                        "Precision in which the model computes; the LoRA itself is float32. 'auto' is bf16 if "
                        "the device supports it. fp16 is for cards without bf16."
                    ),
                ),
                io.Boolean.Input(
                    "gradient_checkpointing", default=True, tooltip="Saves memory and takes about a third more time."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    tooltip="The same seed and settings give the same LoRA.",
                ),
                io.Combo.Input(
                    "continue_from",
                    options=[NONE, *host.lora_names()],
                    default=NONE,
                    optional=True,
                    tooltip="Train an existing LoRA further; its layers, rank and strength are kept.",
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="Settings for samples. If not connected, the dataset's own recipe.",
                ),
                io.Combo.Input(
                    "optimiser",
                    options=Optimiser,
                    default=Optimiser.ADAMW.value,
                    optional=True,
                    tooltip=(
                        "AdamW 8-bit needs bitsandbytes and saves memory. Prodigy needs prodigyopt and finds its own "
                        "learning rate: set learning_rate to 1."
                    ),
                ),
                io.Combo.Input(
                    "references",
                    options=ReferenceKind,
                    default=ReferenceKind.ISOLATED.value,
                    optional=True,
                    tooltip=(
                        "How given panels take part. Isolated references attend only to each other: sampling "
                        "computes them once, and they bind better. Models that cannot isolate them are trained "
                        "with clean ones."
                    ),
                ),
                inputs.when_busy(),
                io.Combo.Input(
                    "resume",
                    options=[NONE, *host.resumable_runs(TRAINER)],
                    default=NONE,
                    optional=True,
                    tooltip=(
                        "Resume this run from its last saved state, with its own settings. Connect the model and the "
                        "dataset that it began with."
                    ),
                ),
                inputs.sweep(),
            ],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora", tooltip="The trained LoRA, for Load LoRA Model or Save In-Context LoRA."
                ),
                types.Recipe.Output(display_name="recipe", tooltip="The recipe that is inside the LoRA."),
                inputs.loss_map_output(),
                inputs.run_output(),
                io.Image.Output(display_name="samples", tooltip="The last sample; the first set if none was made."),
                inputs.lora_name_output(),
                inputs.table_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        dataset: Dataset,
        name: str,
        guidance: float,
        continue_from: str = NONE,
        recipe: Recipe | None = None,
        when_busy: str = WhenBusy.SAY.value,
        resume: str = NONE,
        sweep: SweepSettings | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        from ...training.in_host.settings import TrainSettings
        from .host_model import HostModel
        from .in_host_run import train_in_host
        from .in_host_sweep import sweep_in_host

        settings = TrainSettings.from_json(values)
        run = None if resume in (NONE, "", None) else resume
        if sweep is not None:
            sweep.check_alone(run)
        node_id = cls.hidden.unique_id or ""
        with (
            host.claim_cards(host.cards(), WhenBusy(when_busy), node_id) as claim,
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            wires = HostModel(model), clip, vae, dataset, settings
            others = {
                "name": name,
                "guidance": guidance,
                "sampling": (recipe or dataset.recipe).sampling,
                "continue_from": None if continue_from in (NONE, "", None) else continue_from,
                "node_id": node_id,
                "noted": claim.close,
            }
            if sweep is not None:
                return io.NodeOutput(*sweep_in_host(*wires, sweep, **others))
            return io.NodeOutput(*train_in_host(*wires, **others, resume=run), "")
