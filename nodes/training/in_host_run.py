"""What the in-host training node does: encode, train, sample, save. Loaded when a training starts, not with the pack."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import comfy.model_management
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files.atomic import replace_atomically
from ...incontext.lora.recipe import Recipe, Sampling
from ...incontext.lora.save import save_new
from ...incontext.tensors import as_uint8
from ...training.in_host import loop, saved_state
from ...training.in_host.items import TrainItem, latent_masks, read_mask, read_picture
from ...training.in_host.settings import TrainSettings
from ...training.peak_memory import peak_memory
from ...training.runs import requests, run_folder, supervise
from ...training.runs.run_folder import RunWriter
from ...training.subset import chosen_sets
from .. import host
from . import in_host_plan
from .gradients import explained
from .host_model import Condition, HostModel
from .in_host_plan import Plan
from .progress_text import progress_text
from .samples import last_picture


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
    resume: str | None = None,
    noted: Callable[[], None] = lambda: None,
    is_enough: Callable[[run_folder.Run], bool] = lambda run: False,
    encoded: dict[str, TrainItem] | None = None,
) -> tuple[Mapping[str, Tensor], Recipe, dict[str, list[float]], run_folder.Run, Tensor, str]:
    """Encode, train, save; returns the node's outputs.

    Args:
        resume: the run to resume, under its own settings; None to begin a new one.
        noted: called once others can see which card is taken.
        is_enough: called after every step; if it returns True, the training stops with its state saved.
        encoded: sets by the id of their item, encoded by an earlier training on the same model and with the same guidance;
            those that are missing are added.

    Raises:
        StopRequested: if the monitor or ``is_enough`` stopped it.
    """
    dataset.check_current()
    if resume is not None:
        run = run_folder.Run(host.runs_folder() / run_folder.safe_name(resume))
        start = partial(in_host_plan.resume, run, model, dataset)
    else:
        start = partial(in_host_plan.begin, model, dataset, settings, name, guidance, sampling, continue_from)
    with start() as (plan, writer):
        try:
            requests.take(writer.run.folder)  # requests from before the run last ended no longer count
            supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD, host.cards())
            noted()
            training = _Training(model, clip, vae, dataset, plan, writer, node_id, is_enough, encoded)
            return training.run()
        except comfy.model_management.InterruptProcessingException:
            said = _stopped(writer.run)
            writer.end(run_folder.CANCELLED, error=said)
            host.send_text(node_id, said)
            raise
        except Exception as error:
            writer.end(run_folder.FAILED, error=str(error))
            host.send_text(node_id, str(error))
            raise
        finally:
            writer.close()


def _stopped(run: run_folder.Run) -> str:
    """What happened to a stopped run, and what the user can do."""
    state = saved_state.latest(run.folder)
    if state is None:
        return "Stopped before the first step."
    return f"Stopped at step {int(state.name.removeprefix('step'))}. Resume it from there."


class StopRequested(comfy.model_management.InterruptProcessingException):
    """This training was stopped, but ComfyUI's prompt was not."""


class _Training:
    """A training from its first picture to its LoRA, reported in the run's folder and on the node."""

    def __init__(
        self,
        model: HostModel,
        clip: Any,
        vae: Any,
        dataset: Dataset,
        plan: Plan,
        writer: RunWriter,
        node_id: str,
        is_enough: Callable[[run_folder.Run], bool],
        encoded: dict[str, TrainItem] | None,
    ) -> None:
        settings = plan.settings
        self._model, self._clip, self._vae = model, clip, vae
        self._dataset = chosen_sets(
            dataset,
            sets=settings.sets,
            leave_out=settings.leave_out,
            validation_sets=settings.validation_sets,
            seed=settings.seed,
        )
        self._is_enough = is_enough
        self._encoded = {} if encoded is None else encoded
        self._plan, self._writer, self._node_id = plan, writer, node_id
        self._asked: set[str] = set()
        self._memory = 0

    def run(self) -> tuple[Mapping[str, Tensor], Recipe, dict[str, list[float]], run_folder.Run, Tensor, str]:
        for note in self._plan.notes:
            self._writer.event(run_folder.NOTE, text=note)
            self._writer.log(note)
            host.send_text(self._node_id, note)
        items = self._encode()
        losses = self._train(items)
        lora_name, lora = publish(self._writer, self._plan.recipe)
        saved_state.remove(self._writer.run.folder)
        self._writer.end(run_folder.FINISHED, lora=lora_name)
        host.send_text(self._node_id, f"finished: {lora_name}")
        run = self._writer.run
        return lora, self._plan.recipe, {"loss": losses}, run, last_picture(run, self._dataset), lora_name

    def _encode(self) -> list[TrainItem]:
        """All pictures, then all captions: on a small card, autoencoder and text encoder would push each other out."""
        dataset, model = self._dataset, self._model
        wanted = [item for item in dataset.items if item.id not in self._encoded]
        bar = host.progress(self._node_id, 2 * len(wanted))
        latents = []
        for number, item in enumerate(wanted, 1):
            self._tell_encoding("encoding picture", number, len(wanted))
            latents.append(model.encode_picture(self._vae, read_picture(dataset.image(item))))
            bar.update(number)
        for number, (item, latent) in enumerate(zip(wanted, latents, strict=True), 1):
            self._tell_encoding("encoding caption", number, len(wanted))
            condition = model.encode_caption(self._clip, item.caption, self._plan.guidance, latent)
            panels, weight = latent_masks(dataset.layout, latent.shape[-2:], read_mask(dataset.mask(item)))
            self._encoded[item.id] = TrainItem(item.set, latent, condition, panels, weight)
            bar.update(len(wanted) + number)
        return [self._encoded[item.id] for item in dataset.items]

    def _tell_encoding(self, phase: str, number: int, count: int) -> None:
        """Say the same in the monitor and on the node."""
        self._wishes()
        self._writer.event(run_folder.PHASE, phase=phase, done=number, total=count)
        host.send_text(self._node_id, f"{phase} {number} of {count}")

    def _wishes(self) -> set[str]:
        """The monitor's requests: a stop is followed at once, the others after the next step."""
        self._asked |= requests.take(self._writer.run.folder)
        if self._is_enough(self._writer.run) or "stop" in self._asked:
            raise StopRequested
        return self._asked

    def _train(self, items: Sequence[TrainItem]) -> list[float]:
        model, plan, settings = self._model, self._plan, self._plan.settings
        empty = model.encode_caption(self._clip, "", plan.guidance, items[0].latent)
        held_out = len(items) - settings.validation_sets
        hooks = self._hooks(items[held_out if settings.validation_sets else 0].latent, empty)
        self._memory = model.step_memory(
            [item.latent for item in items],
            [empty, *(item.condition for item in items)],
            sum(parameter.numel() for parameter in plan.adapters.parameters()),
            settings,
        )
        self._writer.log(f"a step needs about {self._memory / 1e9:.1f} GB beside the model's weights")
        model.unload_others()
        self._writer.event(run_folder.PHASE, phase="training")
        with (
            explained(model.name),
            model.prepared(
                gradient_checkpointing=settings.gradient_checkpointing,
                precision=settings.precision,
                memory=self._memory,
            ),
            plan.adapters.to(model.device).attached(model.transformer),
        ):
            return loop.train(
                settings,
                items[:held_out],
                items[held_out:],
                plan.adapters,
                model.predict,
                empty_condition=empty,
                references=self._dataset.references,
                shift=model.shift,
                device=model.device,
                loss_scaling=model.compute_dtype(settings.precision) is torch.float16,
                noise_scale=model.noise_scale,
                hooks=hooks,
                resumed=plan.state,
            )

    def _hooks(self, latent: Tensor, empty: Condition) -> loop.Hooks:
        """
        Args:
            latent: of the set whose caption is sampled.
        """
        settings, sampling = self._plan.settings, self._plan.recipe.sampling
        shown = len(self._dataset.items) - settings.validation_sets if settings.validation_sets else 0
        # FLUX's guidance is 1 in training and a different value in sampling
        prompt = self._model.encode_caption(self._clip, self._dataset.items[shown].caption, sampling.guidance, latent)
        bar = host.progress(self._node_id, settings.steps)

        def on_step(progress: loop.Progress) -> None:
            self._tell_step(progress)
            bar.update(progress.step)

        def on_validation(step: int, losses: Sequence[float]) -> None:
            loss, each = sum(losses) / len(losses), [round(one, 6) for one in losses]
            self._writer.event(run_folder.VALIDATION, step=step, loss=round(loss, 6), each=each)
            self._writer.log(f"step {step}: validation loss {loss:.4f}")

        def on_checkpoint(step: int) -> None:
            self._writer.checkpoint(step, self._plan.adapters.state_dict(), self._plan.recipe)

        def on_state(_step: int, state: Mapping[str, Any]) -> None:
            saved_state.save(self._writer.run.folder, state)

        def on_sample(step: int) -> None:
            self._sample(step, prompt, empty, latent.shape)

        def asked() -> Collection[str]:
            wishes = frozenset(self._wishes())
            self._asked.clear()
            return wishes

        return loop.Hooks(on_step, on_validation, on_checkpoint, on_sample, asked, on_state)

    def _tell_step(self, progress: loop.Progress) -> None:
        self._writer.event(
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
            host.send_text(self._node_id, progress_text(progress.step, progress.steps, progress.seconds_left))

    def _sample(self, step: int, prompt: Condition, empty: Condition, shape: Sequence[int]) -> None:
        settings, model = self._plan.settings, self._model
        picture = sample_picture(model, self._vae, prompt, empty, shape, settings.seed, self._plan.recipe.sampling)
        model.unload_others()
        model.load(self._memory)  # the sampler and the autoencoder may have pushed parts of it out
        path = self._writer.run.folder / "samples" / f"step{step:06d}.png"
        image = Image.fromarray(as_uint8(picture[0]))
        with explain_write_errors(path, TrainingError):
            replace_atomically(path, lambda temporary: image.save(temporary, "PNG"))
        self._writer.event(run_folder.SAMPLE, step=step, file=path.name)


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
