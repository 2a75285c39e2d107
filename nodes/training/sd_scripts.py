"""Train a LoRA with sd-scripts, in a process of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...training.choices import ReferenceKind
from ...training.runs.choices import WhenBusy
from ...training.sd_scripts.presets import OFFICIAL, PRESETS, preset
from ...training.sd_scripts.settings import SdSettings
from .. import host, types
from ..schema import found_by, shows_first
from . import inputs
from .inputs import MODEL_FOLDERS, NONE, TITLES

if TYPE_CHECKING:
    from ...incontext.dataset.manifest import Dataset
    from ...incontext.lora.recipe import Recipe
    from ...training.sweep.plan import SweepSettings

CATEGORY = "in-context lora/training"
TRAINER = "sd-scripts"
AS_PRESET = -1  # a widget's value that leaves a setting to the preset


@found_by("train", "fine-tune", "finetune", "kohya", "sd-scripts")
@shows_first(
    "name",
    "architecture",
    "model",
    "text_encoder_1",
    "text_encoder_2",
    "text_encoder_3",
    "vae",
    "preset",
    "steps",
    "resume",
)
class InContextTrainLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        encoders = [NONE, *host.model_names("text_encoders")]
        return io.Schema(
            node_id="InContextTrainLora",
            display_name="Train In-Context LoRA (sd-scripts)",
            category=CATEGORY,
            description=(
                "Trains a LoRA on a dataset of panel sets with kohya-ss/sd-scripts, in a process and an environment of its "
                "own. Install it once with `python run.py trainer install`. The finished LoRA is in output/loras with its "
                "recipe inside; cancelling saves the state, and the run can be resumed."
            ),
            is_output_node=True,
            not_idempotent=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                types.Dataset.Input("dataset", tooltip="From Build Dataset."),
                io.String.Input("name", default="my-incontext-lora", tooltip="File name of the LoRA and of the run."),
                io.Combo.Input(
                    "architecture",
                    options=list(TITLES),
                    default=next(iter(TITLES)),
                    tooltip="The family that the model belongs to. It decides which files and settings the trainer uses.",
                ),
                io.Combo.Input(
                    "model",
                    options=[
                        NONE,
                        *(name for folder in MODEL_FOLDERS for name in host.model_names(folder)),
                    ],
                    default=NONE,
                    tooltip="The diffusion model, in bf16 or fp16; fp8_scaled and GGUF files cannot be trained on.",
                ),
                *(
                    io.Combo.Input(
                        f"text_encoder_{number}",
                        options=encoders,
                        default=NONE,
                        tooltip="Text encoders in any order; each is recognised by its content.",
                    )
                    for number in (1, 2, 3)
                ),
                io.Combo.Input(
                    "vae",
                    options=[NONE, *host.model_names("vae")],
                    default=NONE,
                    tooltip="The autoencoder of the model family.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=OFFICIAL,
                    tooltip=(
                        "All settings that are not on the node, chosen for your graphics card's memory. The "
                        "first is the recipe of the method's authors."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=5000,
                    min=1,
                    max=1_000_000,
                    tooltip="Optimiser steps. The official recipe trains 5000; small datasets often need fewer.",
                ),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=512,
                    tooltip=(
                        "Rank of the LoRA, and its alpha. Higher holds more and makes a larger file; the "
                        "official recipe uses 16."
                    ),
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-7,
                    max=1.0,
                    step=1e-7,
                    tooltip="How far each step changes the LoRA. The official recipe uses 1e-4.",
                ),
                inputs.reference_share(),
                io.Int.Input(
                    "save_every", default=250, min=0, max=100_000, tooltip="Steps between saved checkpoints and states."
                ),
                io.Int.Input(
                    "samples",
                    default=AS_PRESET,
                    min=AS_PRESET,
                    max=8,
                    tooltip=(
                        "Sample pictures each time, from as many of the dataset's captions; -1 for the preset's "
                        "number, 0 for none."
                    ),
                ),
                io.Int.Input(
                    "sample_every",
                    default=250,
                    min=0,
                    max=100_000,
                    tooltip="Steps between sample pictures; 0 for never.",
                ),
                inputs.validation_sets(),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=0x7FFFFFFF,
                    control_after_generate=False,
                    tooltip="Seed of everything random: order, noise, dropped captions.",
                ),
                io.Boolean.Input(
                    "background",
                    default=False,
                    tooltip="Return at once. The run continues, even if you close the browser or ComfyUI.",
                ),
                io.Combo.Input(
                    "continue_from",
                    options=[NONE, *host.lora_names()],
                    default=NONE,
                    optional=True,
                    tooltip="Train an existing LoRA of the same rank further.",
                ),
                io.Combo.Input(
                    "resume",
                    options=[NONE, *host.resumable_runs(TRAINER)],
                    default=NONE,
                    optional=True,
                    tooltip="Resume this run from its last saved state, with its own settings and files.",
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="The recipe that is stored in the LoRA. If not connected, the dataset's.",
                ),
                inputs.when_busy(),
                io.Combo.Input(
                    "references",
                    options=ReferenceKind,
                    default=ReferenceKind.ISOLATED.value,
                    optional=True,
                    tooltip=(
                        "How given panels take part. Isolated references attend only to each other: sampling "
                        "computes them once, and they bind better. FLUX.1, Chroma and Stable Diffusion 3 support "
                        "this; other families are trained with clean ones."
                    ),
                ),
                inputs.sweep(),
            ],
            outputs=[
                inputs.lora_name_output(),
                inputs.loss_map_output(),
                io.Image.Output(display_name="samples", tooltip="The last samples; the first set if none was made."),
                inputs.run_output(),
                inputs.table_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        name: str,
        architecture: str,
        model: str,
        vae: str,
        preset: str,
        background: bool,
        text_encoder_1: str = NONE,
        text_encoder_2: str = NONE,
        text_encoder_3: str = NONE,
        continue_from: str = NONE,
        resume: str = NONE,
        recipe: Recipe | None = None,
        when_busy: str = WhenBusy.SAY.value,
        sweep: SweepSettings | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        from . import sd_scripts_run  # training's imports are loaded only when needed

        node_id = str(cls.hidden.unique_id or "")
        chosen = settings(preset, TITLES.get(architecture, architecture), values)
        encoders = [text_encoder_1, text_encoder_2, text_encoder_3]
        what = dataset, name, architecture, model, encoders, vae, chosen, recipe
        if sweep is not None:
            sweep.check_alone("" if resume == NONE else resume, background=background)
            dataset.check_current()
            order = sd_scripts_run.order(*what, continue_from)
            machine, when = sd_scripts_run.this_machine(), WhenBusy(when_busy)
            return io.NodeOutput(*sd_scripts_run.train_sweep(order, machine, sweep, when, node_id))
        trained = sd_scripts_run.train(
            *what,
            continue_from=continue_from,
            resume=resume,
            background=background,
            when_busy=WhenBusy(when_busy),
            node_id=node_id,
        )
        return io.NodeOutput(*trained, "")


def settings(name: str, architecture: str, values: dict[str, Any]) -> SdSettings:
    """A preset with the widgets' values in place of its own, except for widgets that leave their setting to the preset."""
    given = {key: value for key, value in values.items() if key in SdSettings.__slots__ and value != AS_PRESET}
    return SdSettings.from_json({**preset(name, architecture).to_json(), "alpha": float(values["rank"]), **given})


def settle_runs() -> None:
    """When ComfyUI starts: look after runs that continued or ended while it was not running."""
    if not host.runs_with("process.json"):
        return

    def look() -> None:
        from . import sd_scripts_run

        sd_scripts_run.settle_all()

    threading.Thread(target=look, name="incontext-lora runs", daemon=True).start()
