"""What an in-host training will do: from the node's values, or from the run that is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load_file

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from ...incontext.files.strict_json import JsonError, field
from ...incontext.lora.recipe import Recipe, References, Sampling
from ...incontext.lora.recipe_file import find_recipe
from ...training.choices import ReferenceKind
from ...training.in_host import saved_state
from ...training.in_host.adapters import (
    Adapters,
    continued_adapters,
    linear_modules,
    new_adapters,
    restored_adapters,
    target_modules,
)
from ...training.in_host.choices import TRAINER
from ...training.in_host.optimisers import choose_optimiser
from ...training.in_host.settings import TrainSettings
from ...training.runs import claims, monitor, run_folder
from ...training.runs.path_length import check_length
from ...training.runs.run_folder import RunWriter
from .. import host
from ..evaluate.identity import weights_digest
from .host_model import HostModel


@dataclass(frozen=True)
class Plan:
    """What is trained, and how.

    Attributes:
        settings: adapted to what this model and this installation can do.
        recipe: stored in the LoRA.
        guidance: FLUX's embedded guidance in training.
        adapters: the LoRA as it is when the training begins or is resumed.
        notes: what the user should know.
        state: of a resumed training, from `saved_state.load`; None for a new one.
    """

    settings: TrainSettings
    recipe: Recipe
    guidance: float
    adapters: Adapters
    notes: Sequence[str] = ()
    state: Mapping[str, Any] | None = None


@contextmanager
def begin(
    model: HostModel,
    dataset: Dataset,
    settings: TrainSettings,
    name: str,
    guidance: float,
    sampling: Sampling,
    continue_from: str | None,
) -> Iterator[tuple[Plan, RunWriter]]:
    """Begin a run."""
    if len(dataset.items) <= settings.validation_sets:
        raise TrainingError(
            f"The dataset has {len(dataset.items)} sets, and {settings.validation_sets} are held out for validation, so none is "
            "left to train on. Hold out fewer, or build a larger dataset."
        )
    check_length(host.runs_folder(), run_folder.safe_name(name))
    settings, notes = fitting(settings, model)
    recipe = trained_recipe(dataset, settings, sampling, model.name, continue_from)
    adapters = make_adapters(model, settings, continue_from)
    writer = RunWriter.create(
        host.runs_folder(),
        name,
        {
            "trainer": TRAINER,
            "name": name,
            "settings": settings.to_json(),
            "dataset": {"folder": str(dataset.folder), "sets": len(dataset.items), "digest": dataset.digest},
            "model": model.name,
            "weights": weights_digest(model.patcher),
            "continue_from": continue_from,
            "guidance": guidance,
            "recipe": recipe.to_json(),
            "torch": torch.__version__,
        },
    )
    with claims.attending(writer.run.folder):
        writer.event(run_folder.STARTED, steps=settings.steps)
        yield Plan(settings, recipe, guidance, adapters, notes), writer


@contextmanager
def resume(run: run_folder.Run, model: HostModel, dataset: Dataset) -> Iterator[tuple[Plan, RunWriter]]:
    """Resume a run. A lock is held from the check until it runs, so nobody else can resume it.

    Raises:
        TrainingError: if it still runs, is finished or has no state, or was trained on another model or dataset.
    """
    _ = run.about  # what is not a run gets no lock
    with ExitStack() as stands:
        with claims.deciding(run.folder, claims.BRIEF):
            plan = _resumed_plan(run, model, dataset)
            stands.enter_context(claims.attending(run.folder))
            writer = RunWriter(run)
            first = plan.state["step"] if plan.state else 0
            writer.event(run_folder.STARTED, steps=plan.settings.steps, first_step=first)
            writer.log(f"resumed from step {first} of {plan.settings.steps}")
        yield plan, writer


def _resumed_plan(run: run_folder.Run, model: HostModel, dataset: Dataset) -> Plan:
    about = run.about
    if about.get("trainer") != TRAINER:
        raise TrainingError(
            f"{run.name} was trained with {about.get('trainer', 'another trainer')}. Resume it with that trainer's node."
        )
    state = monitor.summary(run)["state"]
    if state == monitor.RUNNING:
        raise TrainingError(f"{run.name} is still running; watch it, or stop it first.")
    if state == run_folder.FINISHED:
        raise TrainingError(f"{run.name} is finished. Choose its LoRA under continue_from to train it further.")
    try:
        settings = TrainSettings.from_json(field(about, "settings", dict))
        recipe = Recipe.from_json(field(about, "recipe", dict))
        trained_on = field(about, "model", str)
        digest = field(field(about, "dataset", dict), "digest", str)
        guidance = float(field(about, "guidance", float))
    except (JsonError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{run.name} cannot be resumed: its run.json cannot be used ({error}). Continue its last checkpoint in a new "
            "training instead."
        ) from error
    if trained_on != model.name:
        raise TrainingError(
            f"{run.name} was trained on {trained_on}, but the model is {model.name}. Connect the same model."
        )
    if about.get("weights", weights := weights_digest(model.patcher)) != weights:
        raise TrainingError(
            f"{run.name} was trained on another {trained_on} than the one connected. Connect the model file it began with, in "
            "the same weight_dtype and with the same LoRAs, or continue its last checkpoint in a new training."
        )
    if digest != dataset.digest:
        raise TrainingError(
            f"{run.name} was not trained on {dataset.name} as it is now. Connect the dataset it began with, unchanged, or "
            "continue its last checkpoint on this one in a new training."
        )
    possible, notes = fitting(settings, model)
    if possible != settings:
        raise TrainingError(f"{run.name} cannot continue as it began. {' '.join(notes)}")
    loaded = saved_state.load(saved_state.latest(run.folder))
    adapters = restored_adapters(linear_modules(model.transformer), loaded["layers"])
    return Plan(settings, recipe, guidance, adapters, state=loaded)


def fitting(settings: TrainSettings, model: HostModel) -> tuple[TrainSettings, list[str]]:
    """The settings that this model and this installation can follow, and what is done in place of the others."""
    optimiser, note = choose_optimiser(settings.optimiser)
    notes = [note] if note else []
    references = settings.references
    if references is ReferenceKind.ISOLATED and not model.isolates:
        references = ReferenceKind.CLEAN
        if settings.reference_share:
            notes.append(f"References of {model.name} cannot be isolated yet; they are trained clean instead.")
    return replace(settings, optimiser=optimiser, references=references), notes


def trained_recipe(
    dataset: Dataset, settings: TrainSettings, sampling: Sampling, base: str, continue_from: str | None
) -> Recipe:
    """The recipe that will be stored in the LoRA."""
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
