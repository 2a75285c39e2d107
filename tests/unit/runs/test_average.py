"""The average of a run's checkpoints, from the files on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from incontext_lora.incontext.errors import LoraError
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange
from incontext_lora.training.runs.average import average_checkpoints
from incontext_lora.training.runs.run_folder import Run, RunWriter
from torch import Tensor

RECIPE = Recipe(name="twins", layout=arrange.columns(128, 64, 2))


def lora(value: float) -> dict[str, Tensor]:
    return {"layer.lora_up.weight": torch.full((4, 1), value), "layer.lora_down.weight": torch.ones(1, 4)}


def run_with(folder: Path, *saved: tuple[int, float]) -> Run:
    """A run that saved a checkpoint at each of these steps; a LoRA's change is its value everywhere."""
    writer = RunWriter.create(folder / "runs", "twins", {"recipe": RECIPE.to_json()})
    for step, value in saved:
        writer.checkpoint(step, lora(value), RECIPE)
    writer.close()
    return writer.run


def change(tensors: dict[str, Tensor]) -> Tensor:
    return tensors["layer.lora_up.weight"] @ tensors["layer.lora_down.weight"]


@pytest.mark.parametrize("decay", [0.0, 0.99])
def test_a_step_that_was_saved_again_after_a_resume_counts_once(tmp_path: Path, decay: float) -> None:
    run = run_with(tmp_path, (100, 1.0), (200, 5.0), (200, 3.0))
    made = average_checkpoints(run, tmp_path / "loras", last=2, decay=decay)
    assert made.path.name == "twins-average-100-200.safetensors"
    if not decay:
        torch.testing.assert_close(change(dict(made.lora)), torch.full((4, 4), 2.0))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path, (100, 1.0), (200, 3.0))
    damaged = run.checkpoints[0]
    damaged.write_bytes(damaged.read_bytes()[:-4])
    with pytest.raises(LoraError, match=f"{damaged.name} is cut short"):
        average_checkpoints(run, tmp_path / "loras", last=2)
