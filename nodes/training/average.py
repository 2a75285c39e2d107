"""Average the last checkpoints of a run into one LoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...incontext.errors import TrainingError
from .. import host, types
from ..schema import found_by
from .inputs import NONE

if TYPE_CHECKING:
    from ...training.runs.run_folder import Run


@found_by("average", "merge checkpoints", "ema", "model soup", "average lora")
class InContextAverageCheckpoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextAverageCheckpoints",
            display_name="Average Checkpoints",
            category="in-context lora/training",
            description=(
                "Averages the last checkpoints of a training into one LoRA of the same rank, in output/loras. It is often "
                "steadier than each of them; compare it with them before you use it."
            ),
            not_idempotent=True,
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "run_name",
                    options=[NONE, *(folder.name for folder in host.runs_with("checkpoints/*.safetensors"))],
                    default=NONE,
                    tooltip="The training whose checkpoints are averaged; ignored if 'run' is connected.",
                ),
                io.Int.Input(
                    "last",
                    default=3,
                    min=2,
                    max=100,
                    tooltip="How many of the last checkpoints to average.",
                ),
                io.Float.Input(
                    "decay",
                    default=0.0,
                    min=0.0,
                    max=0.99999,
                    step=0.00001,
                    round=0.00001,
                    tooltip=(
                        "0 gives all checkpoints the same weight. Otherwise later ones weigh more, as in a "
                        "moving average with this decay per step: at 0.995, a checkpoint 140 steps earlier "
                        "weighs half as much."
                    ),
                ),
                types.Run.Input("run", optional=True, tooltip="From a training node."),
            ],
            outputs=[
                io.LoraModel.Output(display_name="lora", tooltip="The average, for Load LoRA Model."),
                types.Recipe.Output(display_name="recipe", tooltip="The recipe that is inside the LoRA."),
                io.String.Output(
                    display_name="lora_name", tooltip="The file in output/loras, as Load In-Context LoRA lists it."
                ),
                io.String.Output(
                    display_name="text", tooltip="Which steps were averaged, and how much of it the rank holds."
                ),
            ],
        )

    @classmethod
    def execute(cls, run_name: str, last: int, decay: float, run: Run | None = None, **_: Any) -> io.NodeOutput:
        from ...training.runs.average import average_checkpoints
        from ...training.runs.run_folder import Run, safe_name

        if run is None and run_name == NONE:
            raise TrainingError("No training is chosen. Choose one in run_name, or connect run.")
        chosen = run or Run(host.runs_folder() / safe_name(run_name))
        made = average_checkpoints(chosen, host.loras_output_folder(), last=last, decay=decay)
        return io.NodeOutput(made.lora, made.recipe, made.path.name, made.text)
