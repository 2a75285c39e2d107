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


def trainer_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """All figures of one child process; none where no trainer is installed."""
    command = [sys.executable, "-c", _RUN_IN_PACK, str(ROOT), "bench.sd_scripts_rounds"]
    child = subprocess.run(
        command, env={**os.environ, "INCONTEXT_LORA_BASE": str(base)}, capture_output=True, text=True, check=False
    )
    if child.returncode:
        raise SystemExit(f"The sd-scripts benchmark failed:\n{child.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    if "missing" in measured:
        say(measured["missing"])
        return []
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
            f"{DETAIL}; to the first step",
        ),
        Figure.of("sd_scripts.keys_matched", measured["keys"], "share", ">= 1", "FLUX.1, Chroma, SD3 in ComfyUI"),
        Figure.of("sd_scripts.resume_step_error", measured["resume"], "steps", "<= 0", "stopped, resumed, finished"),
        Figure.of(
            "sd_scripts.stop_seconds", measured["stop"], "s", "<= 60", "from the request to the end of all processes"
        ),
    ]
