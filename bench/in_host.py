"""A training step in the host: ours beside core's TrainLoraNode and a minimal loop, in turn, in one process."""

from __future__ import annotations

from pathlib import Path

from .child import in_pack, measured
from .figure import Figure

ROUNDS = 5


def step_figures(base: Path) -> list[Figure]:
    """Seconds per step of the in-host trainer, beside core's and beside a minimal loop, all at batch 4 on the demo model."""
    rounds = measured(in_pack("bench.step_ratio", str(ROUNDS)), base, "step")
    ours = [one["ours"] for one in rounds]
    ratios = [one["ours"] / one["core"] for one in rounds]
    speeds = [one["minimal"] / one["ours"] for one in rounds]
    detail = f"{ROUNDS} rounds in turn, batch 4, rank 16, fp32, no checkpointing"
    return [
        Figure.of("train_in_host.step_seconds", ours, "s", "", detail),
        Figure.of("train_in_host.core_step_ratio", ratios, "ratio", "<= 1", detail + "; core trains all layers"),
        Figure.of(
            "train_in_host.step_ratio",
            speeds,
            "ratio",
            ">= 0.9",
            detail + "; speed relative to a minimal hand-written loop",
        ),
    ]
