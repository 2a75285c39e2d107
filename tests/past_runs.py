"""Runs on disk for tests of what shows them: finished ones, and one that this process trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.training.runs import claims
from incontext_lora.training.runs.run_folder import Run, RunWriter
from PIL import Image


def past_run(runs: Path, name: str, steps: int = 5, trainer: str = "in-host") -> Run:
    """A run that was trained in ComfyUI, or elsewhere, and finished."""
    about = {"trainer": trainer, "name": name, "settings": {"steps": steps}, "recipe": RECIPE.to_json()}
    writer = RunWriter.create(runs, name, about)
    writer.event("started", steps=steps)
    writer.event("phase", phase="training")
    for step in range(1, steps + 1):
        step_event(writer, step, steps)
    Image.new("RGB", (128, 192), "red").save(writer.run.folder / "samples" / "step000005.png")
    writer.event("sample", step=steps, file="step000005.png")
    lora = {"a.lora_down.weight": torch.ones(1, 2), "a.lora_up.weight": torch.ones(2, 1)}
    writer.checkpoint(steps, lora, RECIPE)
    writer.event("finished", lora=f"{name}.safetensors")
    writer.close()
    return writer.run


def step_event(writer: RunWriter, step: int, steps: int) -> None:
    writer.event(
        "step", step=step, steps=steps, loss=1 / step, smoothed=1 / step, learning_rate=1e-4, seconds_per_step=0.5,
        seconds_left=0.5 * (steps - step), memory=1.5,
    )  # fmt: skip


@contextmanager
def running(runs: Path, name: str) -> Iterator[Run]:
    """A run that this process trains."""
    writer = RunWriter.create(runs, name, {"trainer": "in-host", "settings": {"steps": 9}})
    with claims.attending(writer.run.folder):
        writer.event("started", steps=9)
        step_event(writer, 3, 9)
        yield writer.run
    writer.close()
