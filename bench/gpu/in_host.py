"""Training steps on a loaded FLUX.1, through the node: seconds per step, and the largest memory of each phase.

in_host bf16|e4m3fn
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

from . import card, host, pictures
from .context import Context

STEPS = 3  # the first warms up
FILES = {"bf16": "flux", "e4m3fn": "flux_fp8"}
SETTINGS: dict[str, Any] = {
    "steps": STEPS, "batch_size": 1, "gradient_accumulation": 1, "learning_rate": 1e-4, "schedule": "constant",
    "warmup_steps": 0, "rank": 16, "alpha": 16.0, "targets": "attention and MLP", "timesteps": "sigmoid",
    "reference_share": 1.0, "caption_dropout": 0.0, "ema": 0.99, "max_grad_norm": 1.0, "validation_sets": 0,
    "validate_every": 0, "save_every": 0, "sample_every": 0, "precision": "auto", "gradient_checkpointing": True, "seed": 0,
}  # fmt: skip


def main(precision: str) -> None:
    context = Context.read()
    host.start(context)
    from ...nodes.training import host_model
    from ...training.runs import run_folder

    estimate = host_model.HostModel.step_memory
    estimates: list[int] = []

    def noted_estimate(*args: Any, **named: Any) -> int:
        estimates.append(estimate(*args, **named))
        return estimates[-1]

    host_model.HostModel.step_memory = noted_estimate  # type: ignore[method-assign]
    loaded = {"model": host.model(context, FILES[precision]), "clip": host.clip(context), "vae": host.vae(context)}
    peaks = card.Peaks()
    tell = run_folder.RunWriter.event

    def event(self: Any, kind: str, **values: Any) -> None:
        peaks.enter(str(values["phase"]) if kind == run_folder.PHASE else peaks.phase)
        tell(self, kind, **values)

    run_folder.RunWriter.event = event  # type: ignore[method-assign]
    canvases = pictures.canvases(context.tiny)
    for megapixels, references in (*((size, "none") for size in canvases), ("1.57", "isolated")):
        layout = canvases[megapixels]
        measured = {"figure": "step", "precision": precision, "megapixels": megapixels, "references": references}
        peaks.found.clear()
        failed = ""
        try:
            seconds = train(context, loaded, f"in-host-{megapixels}-{precision}-{references}", layout, references)
            weights = round(loaded["model"].loaded_size() / 1e9, 3)
            estimated = round(estimates[-1] / 1e9, 3)
            context.answer(**measured, seconds=seconds, peaks=peaks.found, weights=weights, estimated=estimated)
        except Exception as error:
            peaks.note()
            failed = f"{type(error).__name__}: {error}"[:500]
            context.answer(**measured, failed=failed, peaks=peaks.found)
            if not card.is_out_of_memory(error):
                raise
        if failed:
            host.free()
    host.free()
    context.answer(figure="freed", precision=precision, left=host.allocated())


def train(context: Context, loaded: dict[str, Any], name: str, layout: Any, references: str) -> list[float]:
    """Train some steps; returns the seconds of each but the first."""
    from ...nodes.training.in_host import InContextTrainLoraInHost
    from ...training.runs import run_folder

    dataset = pictures.dataset(context.work / "in-host", name, layout)
    run = host.call(
        InContextTrainLoraInHost, **loaded, dataset=dataset, name=name, guidance=1.0, references=references, **SETTINGS
    )[3]
    ends = [event["seconds"] for event in run.events() if event["event"] == run_folder.STEP]
    return [round(end - begin, 4) for begin, end in pairwise(ends)]


if __name__ == "__main__":
    main(sys.argv[1])
