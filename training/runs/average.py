"""Average the last checkpoints of a run into one LoRA, one more candidate to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ...incontext.errors import TrainingError
from ...incontext.lora.average import average, recent_weights
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import read_recipe
from ...incontext.lora.save import save_new
from .monitor import checkpoints
from .run_folder import Run


@dataclass(frozen=True)
class AveragedLora:
    """A LoRA that is the average of checkpoints.

    Attributes:
        path: of its file.
        lora: its tensors.
        recipe: the recipe inside it.
        text: which steps were averaged, for users.
    """

    path: Path
    lora: Mapping[str, Tensor]
    recipe: Recipe
    text: str


def average_checkpoints(run: Run, loras: Path, *, last: int, decay: float = 0.0) -> AveragedLora:
    """Average the last checkpoints of a run, and save the LoRA where ComfyUI finds it.

    Args:
        loras: the folder for the LoRA.
        last: number of checkpoints to average.
        decay: per step, as for a moving average; 0 weighs all checkpoints equally.

    Raises:
        TrainingError: if the run has fewer checkpoints.
        LoraError: if one is damaged or is not a plain LoRA, or the folder cannot be written.
    """
    by_step = {each["step"]: each["file"] for each in checkpoints(run) if each["step"]}  # saved again: the later file
    steps = sorted(by_step)[-last:]
    if len(steps) < last:
        raise TrainingError(
            f"{run.name} has {len(steps)} checkpoints, but {last} should be averaged. Average fewer, or train with a smaller "
            "save_every."
        )
    files = [run.folder / "checkpoints" / by_step[step] for step in steps]
    recipes = [read_recipe(file) for file in files]  # also refuses damaged files
    weights = recent_weights(steps, decay) if decay else [1 / last] * last
    made = average([load_file(str(file)) for file in files], weights)
    recipe = recipes[-1] or Recipe.from_json(run.about["recipe"])
    recipe = replace(recipe, lineage=(*recipe.lineage, *(file.name for file in files)))
    path = save_new(loras, f"{run.name}-average-{steps[0]}-{steps[-1]}", made.lora, recipe, once=True)
    shares = ", ".join(f"{step} ({weight:.0%})" for step, weight in zip(steps, weights, strict=True))
    text = f"{path.name}: the average of steps {shares}. Its rank holds {made.kept:.1%} of it."
    return AveragedLora(path, made.lora, recipe, text)
