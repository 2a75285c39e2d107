"""A training step in the host: ours beside core's TrainLoraNode, in turn, in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .figure import Figure

ROUNDS = 5


def step_figures(base: Path) -> list[Figure]:
    """Seconds a step of the in-host trainer, and its ratio to core's, both at batch 4 on the demo model."""
    environment = {**os.environ, "INCONTEXT_LORA_BASE": str(base)}
    child = subprocess.run(
        [sys.executable, "-m", "bench.step_ratio", str(ROUNDS)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    if child.returncode:
        raise SystemExit(f"The step benchmark failed:\n{child.stderr[-3000:]}")
    rounds = json.loads(child.stdout.splitlines()[-1])
    ours = [one["ours"] for one in rounds]
    ratios = [one["ours"] / one["core"] for one in rounds]
    detail = f"{ROUNDS} rounds in turn, batch 4, rank 16, fp32, no checkpointing"
    return [
        Figure.of("train_in_host.step_seconds", ours, "s", "", detail),
        Figure.of("train_in_host.core_step_ratio", ratios, "ratio", "<= 1", detail + "; core trains all layers"),
    ]
