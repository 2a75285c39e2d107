"""What Compare Checkpoints compares: candidates, captions, seeds, and a key for each picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...incontext.captions import joint as captions
from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import InContextError
from ...incontext.evaluate import grid
from ...incontext.evaluate.choose import ChoiceError
from ...incontext.evaluate.store import checked_name
from ...incontext.files import names
from ...incontext.lora.recipe import Recipe, Sampling
from ...incontext.lora.recipe_file import find_recipe
from ...incontext.panels.layout import PanelLayout
from ...incontext.tensors import as_uint8
from ...training.runs.run_folder import Run
from .. import host
from ..training.inputs import NONE
from .identity import file_digest


@dataclass(frozen=True)
class SetCaption:
    """One caption of the comparison.

    Attributes:
        text: the whole joint caption, as it is encoded.
        summary, panels: its parts.
    """

    text: str
    summary: str
    panels: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that one comparison consists of.

    Attributes:
        name: of the comparison.
        run: whose checkpoints are compared; empty for none.
        recipe: of the task.
        sampling: how sets are generated.
        asked: the captions.
        seeds: of the noise.
        candidates: the base model first.
        cells: the pictures.
        reference: index of the given panel; None without references.
    """

    name: str
    run: str
    recipe: Recipe
    sampling: Sampling
    asked: tuple[SetCaption, ...]
    seeds: tuple[int, ...]
    candidates: tuple[grid.Candidate, ...]
    cells: tuple[grid.Cell, ...]
    reference: int | None

    @property
    def layout(self) -> PanelLayout:
        return self.recipe.layout

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(one.text for one in self.asked)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of Compare Checkpoints other than the models; see its tooltips."""

    run: str
    loras: str
    checkpoints: int
    strengths: str
    captions: str
    seeds: int
    seed: int
    steps: int
    cfg: float
    use_chosen: bool
    name: str = ""
    trained: Run | None = None
    recipe: Recipe | None = None
    dataset: Dataset | None = None
    clip_vision: Any = None
    caption_vision: Any = None
    caption_clip: Any = None
    references: Tensor | None = None
    reference_panel: int = 1
    base_url: str = ""
    vision_model: str = ""


def make_plan(models: str, given: Inputs) -> Plan:
    """Plan a comparison.

    Args:
        models: digest of the models that all pictures depend on.

    Raises:
        InContextError: if something is missing, with the remedy.
    """
    folder = given.trained.folder if given.trained is not None else _run_folder(given.run)
    run = "" if folder is None else folder.name
    files = _files(folder, given.loras, given.checkpoints)
    recipe = given.recipe or _recipe_of(files)
    usual = recipe.sampling
    sampling = replace(usual, steps=given.steps or usual.steps, cfg=given.cfg or usual.cfg)
    asked = tuple(read_caption(recipe, line) for line in grid.parse_captions(given.captions))
    candidates = _candidates(files, grid.parse_strengths(given.strengths))
    place = _check_reference(recipe, given.references, given.reference_panel, len(asked))
    context = {
        "models": models,
        "sampling": asdict(sampling),
        "canvas": [recipe.layout.width, recipe.layout.height],
        "given": None if place is None else [recipe.layout.to_json(), place, asdict(recipe.references)],
    }
    seeds = tuple(range(given.seed, given.seed + given.seeds))
    digests = [] if place is None or given.references is None else _picture_digests(given.references, len(asked))
    cells = grid.cells(candidates, [one.text for one in asked], seeds, context, digests)
    name = checked_name(given.name.strip() or run or Path(files[0].file).stem)
    return Plan(name, run, recipe, sampling, asked, seeds, tuple(candidates), tuple(cells), place)


def read_caption(recipe: Recipe, line: str) -> SetCaption:
    """A caption in the recipe's form, with its prefix, whether or not it was written.

    Raises:
        CaptionError: if a marker is missing; the message names the caption.
    """
    try:
        parts = captions.parse(recipe, line)
    except InContextError as error:
        raise ChoiceError(f"Caption {line[:60]!r} cannot be used to compare. {error}") from error
    text = captions.build(recipe, parts.summary, parts.panels, escape_parentheses=True)
    return SetCaption(text, parts.summary or recipe.opening, tuple(parts.panels))


def files_stamp(run: str, loras: str) -> str:
    """Changes when there are other checkpoints, or one of the LoRAs changes."""
    folder = _run_folder(run)
    paths = [] if folder is None else Run(folder).checkpoints
    paths = [*paths, *(host.lora_path(name) for name in _lines(loras))]
    return " ".join(f"{path.name} {host.file_stamp(path)}" for path in paths)


def place_of(candidate: grid.Candidate) -> str:
    """The name that Load In-Context LoRA takes for it."""
    return host.checkpoint_name(candidate.run, candidate.file) if candidate.run else candidate.file


def _run_folder(name: str) -> Path | None:
    """
    Raises:
        ChoiceError: if the name leads out of the folder of runs.
    """
    if name in (NONE, ""):
        return None
    reason = names.problem(name)
    if reason:
        raise ChoiceError(f"{name[:60]!r} is not the name of a run: {reason}.")
    return host.output_folder(host.RUNS) / name


def _files(run: Path | None, loras: str, checkpoints: int) -> list[grid.Candidate]:
    """The LoRA files, without strengths: spread over the run, then those that are named."""
    found = []
    if run is not None:
        paths = Run(run).checkpoints
        if not paths:
            raise ChoiceError(
                f"The run {run.name!r} has no checkpoints in output/incontext_runs. Let it train until it saves one, or "
                "choose another run."
            )
        found = [
            grid.Candidate(path.name, run.name, 1.0, file_digest(path)) for path in grid.spread(paths, checkpoints)
        ]
    found += [grid.Candidate(name, "", 1.0, file_digest(host.lora_path(name))) for name in _lines(loras)]
    if not found:
        raise ChoiceError("There is nothing to compare. Choose a run, or write names of LoRAs, one per line.")
    labels = [one.label for one in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ChoiceError(f"Two of the LoRAs are called {twice!r}. Name each once, or rename one of the files.")
    return found


def _candidates(files: Sequence[grid.Candidate], strengths: Sequence[float]) -> list[grid.Candidate]:
    return [grid.Candidate(), *(replace(file, strength=strength) for file in files for strength in strengths)]


def _recipe_of(files: Sequence[grid.Candidate]) -> Recipe:
    for file in files:
        found, _ = find_recipe(host.lora_path(place_of(file)))
        if found is not None:
            return found
    raise ChoiceError(
        "None of the LoRAs has a recipe, so their panels are not known. Connect the recipe of In-Context Task or Panel "
        "Layout to 'recipe'."
    )


def _check_reference(recipe: Recipe, references: Tensor | None, panel: int, captions_count: int) -> int | None:
    if references is None:
        return None
    if panel > len(recipe.layout):
        raise ChoiceError(
            f"The reference is panel {panel}, but the layout has {len(recipe.layout)} panels. Choose a lower number."
        )
    if len(references) not in (1, captions_count):
        raise ChoiceError(
            f"There are {len(references)} reference pictures for {captions_count} captions. Connect one for all, or a batch "
            "with one per caption in the same order."
        )
    return panel - 1


def _picture_digests(pictures: Tensor, count: int) -> list[str]:
    found = [hashlib.blake2b(as_uint8(one).tobytes(), digest_size=16).hexdigest() for one in pictures]
    return found * count if len(found) == 1 else found


def _lines(text: str) -> list[str]:
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def reference_of(references: Tensor, caption: int) -> Any:
    """The given picture of a caption, [1, height, width, channels]."""
    return references[caption : caption + 1] if len(references) > 1 else references[:1]
