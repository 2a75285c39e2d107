"""The trainer of sd-scripts through the pack: what that costs, and whether its promises hold. Needs an installed trainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import _RUN_IN_PACK, ROOT

from .figure import Figure

DETAIL = "the real trainer at tiny sizes, 20 composites of 384×128"
LARGER = "20 composites of 768×256, an eighth of a published canvas"


def trainer_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Figures of the runner, then of a LoRA for the demo's model; none where no trainer is installed."""
    measured = _measured("bench.sd_scripts_rounds", base)
    if "missing" in measured:
        say(measured["missing"])
        return []
    return [*_runner_figures(measured), _demo_figure(_measured("bench.sd_scripts_demo", base))]


def _measured(module: str, base: Path) -> dict[str, Any]:
    """What a child process prints last."""
    command = [sys.executable, "-c", _RUN_IN_PACK, str(ROOT), module]
    child = subprocess.run(
        command, env={**os.environ, "INCONTEXT_LORA_BASE": str(base)}, capture_output=True, text=True, check=False
    )
    if child.returncode:
        raise SystemExit(f"The sd-scripts benchmark failed:\n{child.stderr[-3000:]}")
    return json.loads(child.stdout.splitlines()[-1])


def _demo_figure(measured: dict[str, Any]) -> Figure:
    base, lora = measured["base"], measured["lora"]
    detail = (
        f"{measured['captions']} held-out captions in ComfyUI, {base['agreement']:.2f} without the LoRA; captions met "
        f"{lora['accuracy']:.2f} ({base['accuracy']:.2f}); trained in {measured['seconds']:.0f} s"
    )
    return Figure.of("sd_scripts.demo_set_agreement", [lora["agreement"]], "share", ">= 0.9", detail)


def _runner_figures(measured: dict[str, Any]) -> list[Figure]:
    first, *others = measured["starts"]
    starts = f"{first:.1f} s the first time, then {', '.join(f'{seconds:.1f} s' for seconds in others)}"
    return [
        Figure.of(
            "sd_scripts.throughput_ratio",
            measured["throughput"],
            "ratio",
            ">= 0.98",
            f"{DETAIL}; in turn with the same command by hand, what the runner adds turned off",
        ),
        Figure.of(
            "sd_scripts.second_start_ratio",
            measured["second_start"],
            "ratio",
            "<= 0.25",
            f"{LARGER}; from the start to the first step: {starts}",
        ),
        Figure.of("sd_scripts.keys_matched", measured["keys"], "share", ">= 1", "FLUX.1, Chroma, SD3 in ComfyUI"),
        Figure.of("sd_scripts.resume_step_error", measured["resume"], "steps", "<= 0", "stopped, resumed, finished"),
        Figure.of(
            "sd_scripts.stop_seconds", measured["stop"], "s", "<= 60", "from the request to the end of all processes"
        ),
    ]
