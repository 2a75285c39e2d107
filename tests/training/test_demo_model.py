"""The real trainer on the demo's model: its loaders take it, and it sees what ComfyUI sees. The bench trains to the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

from incontext_lora.bench import sd_scripts_demo
from incontext_lora.demo.models import DEPTH
from incontext_lora.incontext.lora.header import read_header
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts.environment import Trainer

STEPS = 6


def test_the_demos_model_is_trained(trainer: Trainer, comfyui: Path, tmp_path: Path) -> None:
    trained = sd_scripts_demo.train(tmp_path, comfyui, replace(sd_scripts_demo.SETTINGS, steps=STEPS, warmup_steps=2))
    losses = Run(tmp_path / "runs" / "sd-scripts-demo").losses()
    assert len(losses) == STEPS
    # what the base reached on its own corpus is 0.2 to 0.3; with other latents, captions or noise levels it is far above
    assert 0.1 < mean(losses) < 0.4
    recipe = read_recipe(trained.lora)
    assert recipe is not None
    assert recipe.references.clean
    modules = {name.split(".")[0] for name in read_header(trained.lora).tensors}
    assert len(modules) == 8 * DEPTH - 3  # the last block reads the caption and writes none
