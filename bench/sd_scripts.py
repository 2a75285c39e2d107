"""The trainer of sd-scripts through the pack: what that costs, and whether its promises hold. Needs an installed trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .child import in_pack, measured
from .figure import Figure

DETAIL = "the real trainer at tiny sizes, 20 composites of 384×128"
LARGER = "20 composites of 1536×512, half a published canvas"


def trainer_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Figures of the runner, then of a LoRA for the demo's model; none if no trainer is installed."""
    rounds = _in_pack("bench.sd_scripts_rounds", base)
    if "missing" in rounds:
        say(rounds["missing"])
        return []
    return [*_runner_figures(rounds), _demo_figure(_in_pack("bench.sd_scripts_demo", base))]


def _in_pack(module: str, base: Path) -> dict[str, Any]:
    return measured(in_pack(module), base, "sd-scripts")


def _demo_figure(found: dict[str, Any]) -> Figure:
    base, lora = found["base"], found["lora"]
    detail = (
        f"{found['captions']} held-out captions in ComfyUI, {base['agreement']:.2f} without the LoRA; captions met "
        f"{lora['accuracy']:.2f} ({base['accuracy']:.2f}); trained in {found['seconds']:.0f} s"
    )
    return Figure.of("sd_scripts.demo_set_agreement", [lora["agreement"]], "share", ">= 0.9", detail)


def _runner_figures(found: dict[str, Any]) -> list[Figure]:
    first, *others = found["starts"]
    starts = f"{first:.1f} s the first time, then {', '.join(f'{seconds:.1f} s' for seconds in others)}"
    return [
        Figure.of(
            "sd_scripts.throughput_ratio",
            found["throughput"],
            "ratio",
            ">= 0.98",
            f"{DETAIL}; in turn with the same command by hand, what the runner adds turned off",
        ),
        Figure.of(
            "sd_scripts.second_start_ratio",
            found["second_start"],
            "ratio",
            "<= 0.25",
            f"{LARGER}; from the start to the first step: {starts}",
        ),
        Figure.of("sd_scripts.keys_matched", found["keys"], "share", ">= 1", "all six families, in ComfyUI"),
        Figure.of("sd_scripts.resume_step_error", found["resume"], "steps", "<= 0", "stopped, resumed, finished"),
        Figure.of(
            "sd_scripts.stop_seconds", found["stop"], "s", "<= 60", "from the request to the end of all processes"
        ),
    ]
