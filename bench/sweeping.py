"""Whether a sweep ends a training whose learning rate is much too high, and keeps the good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..demo import sets as demo_sets
from ..demo.job import Job
from ..demo.server import ComfyServer
from ..demo.workflow import find_node, set_value
from .figure import Figure

NAME = "bench-sweep"
TRAIN = "InContextTrainLoraInHost"
SETS, STEPS, BATCH = 40, 40, 8
HELD_OUT = 6
RATES = (2e-3, 5e-4, 0.5)  # the demo's own, a lower one, and one that is 250 times too high


def sweep_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """1 where the hopeless training ends in the first half of its steps, the demo's own reaches its end, and the best is good."""
    demo_sets.write_sets(base / "input" / NAME, SETS, demo_sets.SEED)
    with ComfyServer(base) as server:
        prompt = Job(server, base, say).prompt("train-in-host")
        for key, value in {"folder": NAME, "name": NAME}.items():
            set_value(prompt, "InContextBuildDataset", key, value)
        values = {
            "name": NAME,
            "steps": STEPS,
            "batch_size": BATCH,
            "validation_sets": HELD_OUT,
            "sample_every": 0,
            "warmup_steps": 5,
        }
        for key, value in values.items():
            set_value(prompt, TRAIN, key, value)
        prompt["sweep"] = {"class_type": "InContextSweep", "inputs": sweep_inputs()}
        prompt[find_node(prompt, TRAIN)]["inputs"]["sweep"] = ["sweep", 0]

        def tell(event: str, data: dict[str, Any]) -> None:
            if str(data.get("text", "")).startswith("training "):
                say(data["text"])

        server.run(prompt, tell)
    folder = max((base / "output" / "incontext_sweeps").glob(f"{NAME}*"), key=lambda path: path.stat().st_mtime)
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    by_rate = {row["learning_rate"]: row for row in table["rows"]}
    *good, hopeless = (by_rate[rate] for rate in RATES)
    stopped = hopeless["state"] == "stopped" and hopeless["steps"] <= STEPS // 2
    kept = good[0]["state"] == "finished" and table["best"] in [row["training"] for row in good]
    detail = f"rate {RATES[-1]:g} ended at step {hopeless['steps']} of {STEPS}: {hopeless['why']}"
    return [Figure.of("choose.hopeless_stopped", [float(stopped and kept)], "0 or 1", ">= 1", detail)]


def sweep_inputs() -> dict[str, Any]:
    empty = dict.fromkeys(("rank", "steps", "sets", "reference_share", "leave_out"), "")
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    return {**empty, "learning_rate": rates, "strategy": "grid", "keep_one_in": 3, "stop_hopeless": True}
