"""Train a LoRA with sd-scripts, in a process of its own."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..incontext.dataset import Dataset
from ..incontext.errors import InContextError, TrainingError
from ..incontext.lora_file import read_recipe
from ..incontext.recipe import Recipe
from ..training import run_folder
from ..training.items import read_picture
from ..training.run_folder import Run
from ..training.sd_scripts import environment, preflight, session, supervise
from ..training.sd_scripts.architectures import ARCHITECTURES, architecture
from ..training.sd_scripts.presets import OFFICIAL, PRESETS, preset
from ..training.sd_scripts.settings import SdSettings
from . import host, types

CATEGORY = "in-context lora/training"
NONE = "none"
_MODEL_FOLDERS = ("diffusion_models", "checkpoints")
_TITLES = {each.title: name for name, each in ARCHITECTURES.items()}


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
                    "architecture", options=list(_TITLES), default=next(iter(_TITLES)), tooltip="The model family."
                ),
                io.Combo.Input(
                    "model",
                    options=[
                        NONE,
                        *(name for folder in _MODEL_FOLDERS for name in host.model_names(folder)),
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
                    tooltip="All settings, by memory of the graphics card; the first is the recipe of the method's authors.",
                ),
                io.Int.Input(
                    "steps", default=5000, min=1, max=1_000_000, tooltip="Optimiser steps; 5000 in the official recipe."
                ),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=512,
                    tooltip="Rank of the LoRA, and its alpha; 16 in the official recipe.",
                ),
                io.Float.Input(
                    "learning_rate", default=1e-4, min=1e-7, max=1.0, step=1e-7, tooltip="1e-4 in the official recipe."
                ),
                io.Float.Input(
                    "reference_share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Share of samples in which some panels enter without noise (clean references). Needed for a LoRA "
                        "that paints panels to given ones."
                    ),
                ),
                io.Int.Input("save_every", default=250, min=0, max=100_000, tooltip="Checkpoint and state; in steps."),
                io.Int.Input("samples", default=1, min=0, max=8, tooltip="Captions of the dataset that are sampled."),
                io.Int.Input("sample_every", default=250, min=0, max=100_000, tooltip="In steps; 0 for never."),
                io.Int.Input(
                    "validation_sets", default=0, min=0, max=100, tooltip="Sets that are held out to measure on."
                ),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=0x7FFFFFFF,
                    control_after_generate=False,
                    tooltip="Of everything random.",
                ),
                io.Boolean.Input(
                    "background", default=False, tooltip="Return at once; the run goes on, also without the browser."
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
                    options=[NONE, *resumable_runs()],
                    default=NONE,
                    optional=True,
                    tooltip="Go on with this run from its last saved state, with its own settings and files.",
                ),
                types.Recipe.Input(
                    "recipe", optional=True, tooltip="What the LoRA says of itself; the dataset's by default."
                ),
            ],
            outputs=[
                io.String.Output(display_name="lora_name", tooltip="The file in output/loras, as Load LoRA lists it."),
                io.LossMap.Output(display_name="loss_map", tooltip="The loss of every step, for Plot Loss Graph."),
                io.Image.Output(display_name="samples", tooltip="The last samples; the first set if none was made."),
                types.Run.Output(display_name="run", tooltip="The run's folder with checkpoints, samples and events."),
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
        **values: Any,
    ) -> io.NodeOutput:
        node_id = str(cls.hidden.unique_id or "")
        where = place()
        host.send_text(node_id, "preparing")
        free_memory()
        if resume != NONE:
            run = Run(host.runs_folder() / run_folder.safe_name(resume))
            process = session.resume(run, where)
        else:
            others = (text_encoder_1, text_encoder_2, text_encoder_3)
            wanted = order(
                dataset, name, architecture, model, [*others], vae, settings(preset, values), recipe, continue_from
            )
            run, process = session.start(
                wanted, where, comfy.model_management.throw_exception_if_processing_interrupted
            )
        if background:
            settle_later(run, process)
            return io.NodeOutput("", {"loss": run.losses()}, samples(run, dataset), run)
        result = follow(run, process, where, node_id)
        if result.lora is None:
            raise TrainingError(result.message)
        host.send_text(node_id, f"finished: {result.lora.name}")
        return io.NodeOutput(result.lora.name, {"loss": run.losses()}, samples(run, dataset), run)


# --- from widgets to an order ---------------------------------------------------------------------------------------


def place() -> session.Place:
    """
    Raises:
        TrainingError: where no trainer is installed.
    """
    try:
        trainer = environment.find()
    except environment.TrainerNotInstalled as error:
        raise TrainingError(f"{error} ComfyUI's own environment is not touched.") from error
    folder = environment.trainer_folder()
    return session.Place(
        trainer=trainer,
        runs=host.runs_folder(),
        loras=host.loras_output_folder(),
        comfyui=host.comfyui_folder(),
        tokenizers=folder / "tokenizers",
        processes=supervise.Processes.load(folder / "processes.json"),
        on_cpu=not session.has_gpu(trainer),
    )


def settings(name: str, values: dict[str, Any]) -> SdSettings:
    """A preset with the widgets' values in place of its own."""
    given = {key: value for key, value in values.items() if key in SdSettings.__slots__}
    return SdSettings.from_json({**preset(name).to_json(), "alpha": float(values["rank"]), **given})


def order(
    dataset: Dataset,
    name: str,
    title: str,
    model: str,
    encoders: list[str],
    vae: str,
    chosen: SdSettings,
    recipe: Recipe | None,
    continue_from: str,
) -> session.Order:
    """
    Raises:
        TrainingError: where a file is missing or of the wrong kind.
    """
    family = architecture(_TITLES.get(title, title))
    others = [model_file(("text_encoders",), encoder) for encoder in dict.fromkeys(encoders) if encoder != NONE]
    if vae != NONE:
        others.append(model_file(("vae",), vae))
    files = preflight.assign(family, model_file(_MODEL_FOLDERS, model), others)
    weights = None if continue_from in (NONE, "", None) else host.lora_path(continue_from)
    recipe = recipe or dataset.recipe
    if weights is not None:
        continued = read_recipe(weights)
        recipe = replace(recipe, lineage=continued.lineage) if continued else recipe
    return session.Order(dataset, family, files, chosen, name, recipe, weights)


def model_file(folders: tuple[str, ...], name: str) -> Path:
    """A file that ComfyUI lists; a name that it does not list leads nowhere.

    Raises:
        TrainingError: where there is none.
    """
    for folder in folders:
        if name in host.model_names(folder):
            path = host.model_path(folder, name)
            if path is not None:
                return Path(path)
    raise TrainingError(
        f"There is no model file {name!r} in ComfyUI's {' or '.join(folders)}. Put it there, refresh the page (R) and choose it."
    )


def resumable_runs() -> list[str]:
    """Runs that have a saved state and are not finished."""
    found = sorted(path.parent.parent for path in host.runs_folder().glob("*/state/step*"))
    return [folder.name for folder in dict.fromkeys(found) if Run(folder).state != run_folder.FINISHED]


def free_memory() -> None:
    """The card is for the trainer now."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


# --- while it runs --------------------------------------------------------------------------------------------------


def follow(run: Run, process: Any, where: session.Place, node_id: str) -> session.Outcome:
    """Show a run on the node until it is over.

    Raises:
        InterruptProcessingException: when the user cancels; the run is stopped with its state saved by then.
    """
    bar = host.progress(node_id, int(run.about["settings"]["steps"]))
    done = [0]

    def on_event(event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == run_folder.STEP:
            done[0] = event["step"]
            host.send_text(node_id, session.status_line(event))
        elif kind == run_folder.PHASE:
            host.send_text(node_id, event["phase"])
        elif kind == run_folder.SAMPLE:
            bar.update(done[0], preview=run.folder / "samples" / event["file"])
        bar.update(done[0])

    try:
        code = session.watch(run, process, session.EventTail(run), on_event)
    except comfy.model_management.InterruptProcessingException:
        host.send_text(node_id, "stopping; the state is being saved (cancel once more to end it at once)")
        session.stop(run, process, insists=comfy.model_management.processing_interrupted)
        session.settle(run, where.loras, process.returncode, stopped=True)
        raise
    return session.settle(run, where.loras, code)


def samples(run: Run, dataset: Dataset) -> Tensor:
    """The pictures of the last sampled step as one batch; the dataset's first composite where there is none."""
    pictures = run.samples
    if not pictures:
        return read_picture(dataset.image(dataset.items[0]))[None]
    last = pictures[-1].name.split("-")[0]
    return torch.stack([read_picture(path) for path in pictures if path.name.split("-")[0] == last])


def settle_later(run: Run, process: Any) -> None:
    """Publish a background run's LoRA as soon as it is over."""
    loras = host.loras_output_folder()

    def wait() -> None:
        code = session.watch(run, process, session.EventTail(run, from_start=False), lambda event: None, pause=1.0)
        session.settle(run, loras, code)

    threading.Thread(target=wait, name=f"incontext-lora {run.name}", daemon=True).start()


def settle_runs() -> None:
    """At ComfyUI's start: publish what was finished meanwhile, name what was interrupted, go on watching the rest."""

    def look() -> None:
        with contextlib.suppress(InContextError, OSError):
            for run, result in session.sweep(host.runs_folder(), host.loras_output_folder()):
                host.log.info("In-Context LoRA: the training %s is %s", run.name, result.state)
        for record in host.runs_folder().glob(f"*/{supervise.RECORD}"):
            if supervise.find(record.parent) is not None:
                settle_later(Run(record.parent), None)

    threading.Thread(target=look, name="incontext-lora runs", daemon=True).start()
