"""The best LoRA of a sweep, for the outputs of the training nodes."""

from __future__ import annotations

from dataclasses import dataclass

from ...incontext.errors import TrainingError
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import find_recipe
from ...training.runs import monitor
from ...training.runs.run_folder import Run
from ...training.sweep import table
from ...training.sweep.folder import Sweep
from .. import host


@dataclass(frozen=True)
class Best:
    """The outcome of a sweep.

    Attributes:
        run: of the best training.
        lora: file in output/loras of its best checkpoint.
        recipe: inside it.
        text: the table.
    """

    run: Run
    lora: str
    recipe: Recipe
    text: str


def published(sweep: Sweep) -> Best:
    """The best LoRA of a finished sweep, put into output/loras.

    Raises:
        TrainingError: if no training has written a checkpoint.
    """
    found = table.best(sweep)
    text = table.text(sweep)
    if found is None:
        raise TrainingError(f"No training of the sweep {sweep.name} made a LoRA.\n{text}")
    _, record = found
    run = Run(host.runs_folder() / record.run)
    step, _ = record.best
    folder = host.loras_output_folder()
    if record.lora and step == record.curve.step and (folder / record.lora).exists():
        path = folder / record.lora
    else:
        file = next((each["file"] for each in monitor.checkpoints(run) if each["step"] == step), None)
        if file is None:
            raise TrainingError(
                f"The checkpoint of step {step} of {record.run}, the best of the sweep {sweep.name}, was deleted. Give the "
                f"sweep another name to train again.\n{text}"
            )
        path = monitor.use_checkpoint(run, file, folder)
    recipe, _ = find_recipe(path)
    return Best(run, path.name, recipe or Recipe.from_json(run.about["recipe"]), text)
