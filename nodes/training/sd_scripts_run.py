"""What Train In-Context LoRA (sd-scripts) does: from widgets to an order, and staying with its run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
from torch import Tensor

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import InContextError, TrainingError
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import read_recipe
from ...training.runs import claims, run_folder, supervise
from ...training.runs.choices import WhenBusy
from ...training.runs.event_tail import EventTail
from ...training.runs.progress import describe_step
from ...training.runs.run_folder import Run
from ...training.sd_scripts import begin, environment, follow, preflight, settle, torch_device
from ...training.sd_scripts.architectures import architecture
from ...training.sd_scripts.machine import Machine
from ...training.sd_scripts.order import Order
from ...training.sd_scripts.processes import FILE, Processes
from ...training.sd_scripts.settings import Device, SdSettings
from ...training.sd_scripts.settle import Outcome
from ...training.sweep.folder import FOLDER, Sweep
from ...training.sweep.plan import SweepSettings
from ...training.sweep.sd_scripts import SdScriptsTrainer, plan_of
from ...training.sweep.work import work
from .. import host
from .inputs import MODEL_FOLDERS, NONE, TITLES
from .progress_text import progress_text
from .samples import last_pictures
from .sweep_best import published


def train(
    dataset: Dataset,
    name: str,
    title: str,
    model: str,
    encoders: list[str],
    vae: str,
    chosen: SdSettings,
    recipe: Recipe | None,
    *,
    continue_from: str,
    resume: str,
    background: bool,
    when_busy: WhenBusy,
    node_id: str,
) -> tuple[str, dict[str, list[float]], Tensor, Run]:
    """Start or resume a run and, unless it is for the background, stay with it; returns the node's outputs.

    Raises:
        TrainingError: if it cannot start, or failed.
    """
    machine = this_machine()
    with host.claim_cards(machine.cards, when_busy, node_id):
        host.send_text(node_id, "preparing")
        free_memory()
        if resume != NONE:
            run = Run(host.runs_folder() / run_folder.safe_name(resume))
            process = begin.resume(run, machine)
        else:
            dataset.check_current()
            wanted = order(dataset, name, title, model, encoders, vae, chosen, recipe, continue_from)
            run, process = begin.start(
                wanted, machine, comfy.model_management.throw_exception_if_processing_interrupted
            )
    if background:
        settle_later(run, process)
        return "", {"loss": run.losses()}, last_pictures(run, dataset), run
    result = watch_to_end(run, process, machine, node_id, EventTail(run, from_start=resume == NONE))
    if result.state == run_folder.CANCELLED:  # stopped from the monitor
        host.send_text(node_id, result.message)
        raise comfy.model_management.InterruptProcessingException
    if result.lora is None and result.state != run_folder.FINISHED:
        raise TrainingError(result.message)
    lora = result.lora.name if result.lora else ""  # a machine that only helps the first one has none
    host.send_text(node_id, f"finished: {lora or result.message}")
    return lora, {"loss": run.losses()}, last_pictures(run, dataset), run


def train_sweep(
    wanted: Order, machine: Machine, sweep: SweepSettings, when_busy: WhenBusy, node_id: str
) -> tuple[str, dict[str, list[float]], Tensor, Run, str]:
    """Train all trials of a sweep, or those that are left; returns the node's outputs for the best one.

    Raises:
        TrainingError: if no training can begin, or none makes a LoRA.
        InterruptProcessingException: if the user cancels; the same sweep continues later.
    """
    host.claim_cards(machine.cards, when_busy, node_id).close()  # each training claims them again
    free_memory()
    begun = Sweep.begin(host.output_folder(FOLDER), wanted.name, plan_of(wanted, sweep))
    say = partial(host.send_text, node_id)

    def show(event: Mapping[str, Any]) -> None:
        if event["event"] == run_folder.STEP:
            say(describe_step(event))
        elif event["event"] == run_folder.PHASE:
            say(event["phase"])

    trainer = SdScriptsTrainer(wanted, machine, begun.name, host.stop_if_cancelled, say, show, when_busy.in_queue)
    work(begun, trainer, machine.runs, say, host.stop_if_cancelled)
    best = published(begun)
    say(best.text)
    return best.lora, {"loss": best.run.losses()}, last_pictures(best.run, wanted.dataset), best.run, best.text


# --- from widgets to an order ---------------------------------------------------------------------------------------


def this_machine() -> Machine:
    """
    Raises:
        TrainingError: if no trainer is installed.
    """
    try:
        trainer = environment.find()
    except environment.TrainerNotInstalled as error:
        raise TrainingError(f"{error} ComfyUI's own environment is not touched.") from error
    folder = environment.trainer_folder()
    on_cpu = not torch_device.has_gpu(trainer.python)
    return Machine(
        trainer=trainer,
        runs=host.runs_folder(),
        loras=host.loras_output_folder(),
        comfyui=host.comfyui_folder(),
        tokenizers=folder / "tokenizers",
        processes=Processes.load(folder / FILE),
        on_cpu=on_cpu,
        device=Device.CPU if on_cpu else torch_device.find(trainer.python),
        models=host.model_folders(*MODEL_FOLDERS, "text_encoders", "vae", "loras"),
    )


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
) -> Order:
    """
    Raises:
        TrainingError: if a file is missing or of the wrong kind.
    """
    family = architecture(TITLES.get(title, title))
    others = [model_file(("text_encoders",), encoder) for encoder in dict.fromkeys(encoders) if encoder != NONE]
    if vae != NONE:
        others.append(model_file(("vae",), vae))
    files = preflight.assign(family, model_file(MODEL_FOLDERS, model), others)
    weights = None if continue_from in (NONE, "", None) else host.lora_path(continue_from)
    recipe = recipe or dataset.recipe
    if weights is not None:
        continued = read_recipe(weights)
        recipe = replace(recipe, lineage=continued.lineage) if continued else recipe
    return Order(dataset, family, files, chosen, name, recipe, weights)


def model_file(folders: tuple[str, ...], name: str) -> Path:
    """A file that ComfyUI lists; a name that it does not list is refused.

    Raises:
        TrainingError: if there is none.
    """
    for folder in folders:
        if name in host.model_names(folder):
            path = host.model_path(folder, name)
            if path is not None:
                return Path(path)
    raise TrainingError(
        f"There is no model file {name!r} in ComfyUI's {' or '.join(folders)}. Put it there, refresh the page (R) and choose it."
    )


def free_memory() -> None:
    """The card is for the trainer now."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


# --- while it runs --------------------------------------------------------------------------------------------------


def watch_to_end(run: Run, process: Any, machine: Machine, node_id: str, tail: EventTail) -> Outcome:
    """Show a run on the node until it ends.

    Raises:
        InterruptProcessingException: if the user cancels; the run is stopped with its state saved by then.
    """
    bar = host.progress(node_id, int(run.about["settings"]["steps"]))
    done = [0]
    notes: list[str] = []  # the notes stay below what is shown while it trains

    def show(line: str) -> None:
        host.send_text(node_id, "\n".join([line, *notes]))

    def on_event(event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == run_folder.STEP:
            done[0] = event["step"]
            show(progress_text(event["step"], event.get("steps", "?"), event.get("seconds_left") or 0.0))
        elif kind == run_folder.PHASE:
            show(event["phase"])
        elif kind == run_folder.NOTE:
            notes.append(event["text"])
            host.log.warning("In-Context LoRA: %s: %s", run.name, event["text"])
            show(event["text"])
        elif kind == run_folder.SAMPLE:
            bar.update(done[0], preview=run.folder / "samples" / event["file"])
        bar.update(done[0])

    with claims.attending(run.folder):
        try:
            code = follow.watch(run, process, tail, on_event)
        except comfy.model_management.InterruptProcessingException:
            host.send_text(node_id, "stopping and saving the state (cancel again to end it at once)")
            follow.stop(run, process, insists=comfy.model_management.processing_interrupted)
            host.send_text(node_id, settle.settle_soon(run, machine.loras, process.returncode, stopped=True).message)
            raise
        return settle.settle_soon(run, machine.loras, code)


def resume(run: Run) -> None:
    """Continue a run in the background, as the node does.

    Raises:
        TrainingError: if it cannot continue, or ComfyUI is using the graphics card itself.
    """
    if host.is_working():
        raise TrainingError("ComfyUI is working on a prompt. Wait until it is done, then resume the training.")
    machine = this_machine()
    with host.claim_cards(machine.cards, WhenBusy.SAY, patience=claims.BRIEF):
        free_memory()
        process = begin.resume(run, machine)
    settle_later(run, process)


def settle_later(run: Run, process: Any) -> None:
    """Publish a background run's LoRA as soon as the run ends."""
    loras = host.loras_output_folder()

    def wait() -> None:
        with claims.attending(run.folder):
            code = follow.watch(run, process, EventTail(run, from_start=False), lambda event: None, pause=1.0)
            with contextlib.suppress(TrainingError):
                settle.settle_soon(run, loras, code)

    threading.Thread(target=wait, name=f"incontext-lora {run.name}", daemon=True).start()


def settle_all() -> None:
    """Publish what has finished meanwhile, name what was interrupted, and keep watching the rest."""
    with contextlib.suppress(InContextError):
        for run, result in settle.sweep(host.runs_folder(), host.loras_output_folder()):
            host.log.info("In-Context LoRA: the training %s is %s", run.name, result.state)
    for folder in host.runs_with(supervise.RECORD):
        if supervise.find(folder) is not None:
            settle_later(Run(folder), None)
