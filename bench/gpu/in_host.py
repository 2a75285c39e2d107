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
    "reference_share": 0.5, "caption_dropout": 0.0, "ema": 0.99, "max_grad_norm": 1.0, "validation_sets": 0,
    "validate_every": 0, "save_every": 0, "sample_every": 0, "precision": "auto", "gradient_checkpointing": True, "seed": 0,
}  # fmt: skip


def main(precision: str) -> None:
    context = Context.read()
    host.start(context)
    from ...training import run_folder

    loaded = {"model": host.model(context, FILES[precision]), "clip": host.clip(context), "vae": host.vae(context)}
    peaks = card.Peaks()
    tell = run_folder.RunWriter.event

    def event(self: Any, kind: str, **values: Any) -> None:
        peaks.enter(str(values["phase"]) if kind == run_folder.PHASE else peaks.phase)
        tell(self, kind, **values)

    run_folder.RunWriter.event = event  # type: ignore[method-assign]
    for megapixels, layout in pictures.canvases(context.tiny).items():
        measured = {"figure": "step", "precision": precision, "megapixels": megapixels}
        peaks.found.clear()
        try:
            seconds = train(context, loaded, f"in-host-{megapixels}-{precision}", layout)
            context.answer(**measured, seconds=seconds, peaks=peaks.found)
        except Exception as error:
            peaks.note()
            context.answer(**measured, failed=f"{type(error).__name__}: {error}"[:500], peaks=peaks.found)
            if not card.is_out_of_memory(error):
                raise
        host.free()
    context.answer(figure="freed", precision=precision, left=host.allocated())


def train(context: Context, loaded: dict[str, Any], name: str, layout: Any) -> list[float]:
    """Train some steps; returns the seconds of each but the first."""
    from ...nodes.training import InContextTrainLoraInHost
    from ...training import run_folder

    dataset = pictures.dataset(context.work / "in-host", name, layout)
    run = host.call(InContextTrainLoraInHost, **loaded, dataset=dataset, name=name, guidance=1.0, **SETTINGS)[3]
    ends = [event["seconds"] for event in run.events() if event["event"] == run_folder.STEP]
    return [round(end - begin, 4) for begin, end in pairwise(ends)]


if __name__ == "__main__":
    main(sys.argv[1])
