"""Vary what a training node trains with, and how the trainings are compared."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...training.sweep.choices import AXES, Strategy
from .. import types
from ..schema import found_by, shows_first


@found_by("sweep", "grid search", "hyperparameters", "successive halving", "ablation")
@shows_first("rank", "learning_rate", "strategy")
class InContextSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def values(name: str, tooltip: str) -> io.Input:
            return io.String.Input(name, default="", tooltip=f"{tooltip} Empty for the training node's own value.")

        return io.Schema(
            node_id="InContextSweep",
            display_name="Sweep Trainings",
            category="in-context lora/training",
            description=(
                "Makes a training node train once per combination of these values and compare the LoRAs on the same "
                "held-out sets, at the same noise. After a restart, run the same workflow again to continue."
            ),
            inputs=[
                values("rank", "Ranks of the LoRA, such as 8, 16, 32; alpha changes with them."),
                values("learning_rate", "Learning rates, such as 1e-4, 3e-4, 1e-3."),
                values("steps", "Numbers of steps, such as 500, 1000."),
                values("sets", "Numbers of sets to train on, such as 20, 40, to see whether more would help."),
                values("reference_share", "Shares of samples with given panels, such as 0.25, 0.5."),
                values(
                    "leave_out",
                    "Sets to leave out, such as -; new-*: once none, once all whose names begin with new-. The table says "
                    "whether they helped.",
                ),
                io.Combo.Input(
                    "strategy",
                    options=Strategy,
                    default=Strategy.GRID.value,
                    tooltip=(
                        "'grid' trains each to the end. 'successive halving' trains all a little and the better ones "
                        "further, in a fraction of the time."
                    ),
                ),
                io.Int.Input(
                    "keep_one_in",
                    default=3,
                    min=2,
                    max=10,
                    tooltip="For successive halving: one in this many trainings continues after each round.",
                ),
                io.Boolean.Input(
                    "stop_hopeless",
                    default=True,
                    tooltip="End a training early if it diverges, overfits, or can no longer become the best.",
                ),
            ],
            outputs=[types.Sweep.Output(display_name="sweep", tooltip="For the sweep input of a training node.")],
        )

    @classmethod
    def execute(cls, strategy: str, keep_one_in: int, stop_hopeless: bool, **values: Any) -> io.NodeOutput:
        from ...training.sweep.plan import SweepSettings, parse_values

        axes = {name: made for name in AXES if (made := parse_values(name, values.get(name, "")))}
        return io.NodeOutput(SweepSettings(axes, Strategy(strategy), keep_one_in, stop_hopeless))
