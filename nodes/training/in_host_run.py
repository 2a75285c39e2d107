"""What the in-host training node does: encode, train, sample, save. Loaded when a training starts, not with the pack."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_management
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ...incontext.dataset import Dataset
from ...incontext.errors import TrainingError
from ...incontext.lora.lora_file import find_recipe, save_new
from ...incontext.lora.recipe import Recipe, References, Sampling
from ...training.in_host import loop
from ...training.in_host.adapters import Adapters, continued_adapters, linear_modules, new_adapters, target_modules
from ...training.in_host.items import latent_masks, read_mask, read_picture
from ...training.in_host.optimisers import choose_optimiser
from ...training.in_host.settings import ReferenceKind, TrainSettings
from ...training.peak_memory import peak_memory
from ...training.runs import claims, run_folder
from ...training.runs.run_folder import RunWriter
from ...training.sd_scripts import supervise
from .. import host
from .host_model import Condition, HostModel


def train_in_host(
    model: HostModel,
    clip: Any,
    vae: Any,
    dataset: Dataset,
    settings: TrainSettings,
    *,
    name: str,
    guidance: float,
    sampling: Sampling,
    continue_from: str | None,
    node_id: str,
    noted: Callable[[], None] = lambda: None,
) -> tuple[Mapping[str, Tensor], Recipe, dict[str, list[float]], run_folder.Run, Tensor, str]:
    """Encode, train, save; returns the node's outputs. ``noted`` is called once others can see which card is taken."""
    dataset.check_current()
    if len(dataset.items) <= settings.validation_sets:
        raise TrainingError(
            f"The dataset has {len(dataset.items)} sets, {settings.validation_sets} of which are held out for validation. "
            "Hold fewer out, or build a larger dataset."
        )
    settings, notes = fitting(settings, model)
    trained = trained_recipe(dataset, settings, sampling, model.name, continue_from)
    adapters = make_adapters(model, settings, continue_from)
    writer = RunWriter.create(
        host.runs_folder(),
        name,
        {
            "trainer": "in-host",
            "name": name,
            "settings": settings.to_json(),
            "dataset": {"folder": str(dataset.folder), "sets": len(dataset.items)},
            "model": model.name,
            "continue_from": continue_from,
            "guidance": guidance,
            "recipe": trained.to_json(),
            "torch": torch.__version__,
        },
    )
    with claims.attending(writer.run.folder):
        try:
            supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD, host.cards())
            noted()
            return _run(model, clip, vae, dataset, settings, adapters, writer, trained, guidance, node_id, notes)
        except comfy.model_management.InterruptProcessingException:
            writer.end(run_folder.CANCELLED, error="Stopped; what was learned so far is in the last checkpoint.")
            raise
        except Exception as error:
            writer.end(run_folder.FAILED, error=str(error))
            raise
        finally:
            writer.close()


def _run(
    model: HostModel,
    clip: Any,
    vae: Any,
    dataset: Dataset,
    settings: TrainSettings,
    adapters: Adapters,
    writer: RunWriter,
    recipe: Recipe,
    guidance: float,
    node_id: str,
    notes: Sequence[str],
) -> tuple[Mapping[str, Tensor], Recipe, dict[str, list[float]], run_folder.Run, Tensor, str]:
    writer.event(run_folder.STARTED, steps=settings.steps)
    for note in notes:
        writer.log(note)
        host.send_text(node_id, note)
    writer.event(run_folder.PHASE, phase="encoding")
    items = encode(model, clip, vae, dataset, guidance, node_id)
    empty = model.encode_caption(clip, "", guidance, items[0].latent)
    held_out = len(items) - settings.validation_sets
    shown = held_out if settings.validation_sets else 0
    samples: list[Tensor] = []
    bar = host.progress(node_id, settings.steps)
    sampling = recipe.sampling
    # FLUX's guidance is 1 in training and another in sampling
    latent = items[shown].latent
    prompt = model.encode_caption(clip, dataset.items[shown].caption, sampling.guidance, latent)

    def on_step(progress: loop.Progress) -> None:
        writer.event(
            run_folder.STEP,
            step=progress.step,
            steps=progress.steps,
            loss=round(progress.loss, 6),
            smoothed=round(progress.smoothed, 6),
            learning_rate=progress.learning_rate,
            seconds_per_step=round(progress.seconds_per_step, 4),
            seconds_left=round(progress.seconds_left, 1),
            memory=peak_memory(),
        )
        if progress.step % 10 == 0 or progress.step == progress.steps or progress.seconds_per_step > 1:
            host.send_text(node_id, status_line(progress))
        bar.update(progress.step)

    def on_validation(step: int, loss: float) -> None:
        writer.event(run_folder.VALIDATION, step=step, loss=round(loss, 6))
        writer.log(f"step {step}: validation loss {loss:.4f}")

    def on_checkpoint(step: int) -> None:
        writer.checkpoint(step, adapters.state_dict(), recipe)

    def on_sample(step: int) -> None:
        picture = sample_picture(model, vae, prompt, empty, latent.shape, settings.seed, sampling)
        model.unload_others()
        model.load(memory)  # the sampler and the autoencoder may have pushed parts of it out
        path = writer.run.folder / "samples" / f"step{step:06d}.png"
        image = Image.fromarray((picture[0].clamp(0, 1) * 255).round().byte().cpu().numpy())
        with run_folder.written(path):
            run_folder.replace_atomically(path, lambda unfinished: image.save(unfinished, "PNG"))
        writer.event(run_folder.SAMPLE, step=step, file=path.name)
        samples[:] = [picture]

    def asked() -> Collection[str]:
        wishes = supervise.requested(writer.run.folder)
        if "stop" in wishes:
            raise comfy.model_management.InterruptProcessingException
        return wishes

    memory = model.step_memory(
        [item.latent for item in items],
        [empty, *(item.condition for item in items)],
        sum(parameter.numel() for parameter in adapters.parameters()),
        settings,
    )
    writer.log(f"a step needs about {memory / 1e9:.1f} GB beside the model's weights")
    model.unload_others()
    writer.event(run_folder.PHASE, phase="training")
    with (
        model.prepared(
            gradient_checkpointing=settings.gradient_checkpointing, precision=settings.precision, memory=memory
        ),
        adapters.to(model.device).attached(model.transformer),
    ):
        losses = loop.train(
            settings,
            items[:held_out],
            items[held_out:],
            adapters,
            model.predict,
            empty_condition=empty,
            references=dataset.references,
            shift=model.shift,
            device=model.device,
            loss_scaling=model.compute_dtype(settings.precision) is torch.float16,
            hooks=loop.Hooks(on_step, on_validation, on_checkpoint, on_sample, asked),
        )
    lora_name, lora = publish(writer, recipe)
    writer.end(run_folder.FINISHED, lora=lora_name)
    host.send_text(node_id, f"finished: {lora_name}, loss {losses[-1]:.4f}")
    picture = samples[0] if samples else read_picture(dataset.image(dataset.items[0]))[None]
    return lora, recipe, {"loss": losses}, writer.run, picture, lora_name


def fitting(settings: TrainSettings, model: HostModel) -> tuple[TrainSettings, list[str]]:
    """What this model and this installation can do of the settings, and what is done instead of the rest."""
    optimiser, note = choose_optimiser(settings.optimiser)
    notes = [note] if note else []
    references = settings.references
    if references is ReferenceKind.ISOLATED and not model.isolates:
        references = ReferenceKind.CLEAN
        if settings.reference_share:
            notes.append(f"References of {model.name} cannot be isolated yet; they are trained clean instead.")
    return replace(settings, optimiser=optimiser, references=references), notes


def encode(
    model: HostModel, clip: Any, vae: Any, dataset: Dataset, guidance: float, node_id: str
) -> list[loop.TrainItem]:
    """All pictures, then all captions: on a small card, autoencoder and text encoder would push each other out."""
    count = len(dataset.items)
    progress = host.progress(node_id, 2 * count)
    latents = []
    for number, item in enumerate(dataset.items, 1):
        host.send_text(node_id, f"encoding picture {number} of {count}")
        latents.append(model.encode_picture(vae, read_picture(dataset.image(item))))
        progress.update(number)
    items = []
    for number, (item, latent) in enumerate(zip(dataset.items, latents, strict=True), 1):
        host.send_text(node_id, f"encoding caption {number} of {count}")
        condition = model.encode_caption(clip, item.caption, guidance, latent)
        panels, weight = latent_masks(dataset.layout, latent.shape[-2:], read_mask(dataset.mask(item)))
        items.append(loop.TrainItem(item.set, latent, condition, panels, weight))
        progress.update(count + number)
    return items


def status_line(progress: loop.Progress) -> str:
    left = time.strftime("%H:%M:%S", time.gmtime(progress.seconds_left))
    return (
        f"step {progress.step} of {progress.steps}, loss {progress.smoothed:.4f}, "
        f"{progress.seconds_per_step:.2f} s a step, {left} left"
    )


def trained_recipe(
    dataset: Dataset, settings: TrainSettings, sampling: Sampling, base: str, continue_from: str | None
) -> Recipe:
    """What the LoRA will say of itself."""
    share = settings.drawn_share
    references = References(
        clean=share > 0,
        share=share,
        panels=tuple(dataset.references),
        isolated=share > 0 and settings.references is ReferenceKind.ISOLATED,
    )
    lineage: tuple[str, ...] = ()
    if continue_from:
        before, _ = find_recipe(host.lora_path(continue_from))
        lineage = (*(before.lineage if before else ()), continue_from)
    return replace(
        dataset.recipe,
        base=dataset.recipe.base or base,
        sampling=sampling,
        references=references,
        lineage=lineage,
        lora="",
        source="",
    )


def make_adapters(model: HostModel, settings: TrainSettings, continue_from: str | None) -> Adapters:
    generator = torch.Generator().manual_seed(settings.seed)
    if continue_from is None:
        modules = target_modules(model.transformer, settings.targets)
        return new_adapters(modules, settings.rank, settings.alpha, generator)
    deltas = model.deltas(load_file(host.lora_path(continue_from)))
    return continued_adapters(linear_modules(model.transformer), deltas, generator)


def sample_picture(
    model: HostModel, vae: Any, prompt: Condition, empty: Condition, shape: Sequence[int], seed: int, sampling: Sampling
) -> Tensor:
    """A set from noise under a caption, [1, H, W, 3]."""
    with torch.no_grad():
        latent = model.sample(prompt, empty, shape, seed, sampling)
        picture = vae.decode(latent)
    return picture.reshape(-1, *picture.shape[-3:])


def publish(writer: RunWriter, recipe: Recipe) -> tuple[str, Mapping[str, Tensor]]:
    """Put the last checkpoint into output/loras under the run's name; returns that file's name and its tensors."""
    lora = load_file(writer.run.checkpoints[-1])
    path = save_new(host.loras_output_folder(), writer.run.name, lora, recipe)
    writer.log(f"the LoRA is {path}")
    return path.name, lora
