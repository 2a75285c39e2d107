"""What the training nodes' inputs offer, and the inputs and outputs that both of them have."""

from __future__ import annotations

from comfy_api.latest import io

from ...training.runs.choices import WhenBusy
from ...training.sd_scripts.architectures import ARCHITECTURES
from .. import types

NONE = "none"
MODEL_FOLDERS = ("diffusion_models", "checkpoints")
TITLES = {each.title: name for name, each in ARCHITECTURES.items()}  # of model families that sd-scripts trains


def when_busy() -> io.Combo.Input:
    """What to do if another training has the graphics card."""
    return io.Combo.Input(
        "when_busy",
        options=WhenBusy,
        default=WhenBusy.SAY.value,
        optional=True,
        tooltip=(
            "If another training is on the same graphics card: stop with an error, wait until it is over, or start beside "
            "it, which needs memory for both."
        ),
    )


def reference_share() -> io.Float.Input:
    """How often some panels are references."""
    return io.Float.Input(
        "reference_share",
        default=0.5,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip=(
            "Share of samples, 0 to 1, in which some panels are given without noise. Above 0, the LoRA learns to "
            "paint panels that match given ones."
        ),
    )


def validation_sets() -> io.Int.Input:
    return io.Int.Input(
        "validation_sets",
        default=0,
        min=0,
        max=100,
        tooltip="Number of sets that are not trained on, so that the loss can be measured on them. 0 for none.",
    )


def sweep() -> io.Custom.Input:
    return types.Sweep.Input(
        "sweep",
        optional=True,
        tooltip="From Sweep Trainings: train once per combination and output the best LoRA.",
    )


def lora_name_output() -> io.String.Output:
    return io.String.Output(
        display_name="lora_name", tooltip="The file in output/loras, as Load In-Context LoRA lists it."
    )


def loss_map_output() -> io.LossMap.Output:
    return io.LossMap.Output(display_name="loss_map", tooltip="The loss of every step, for Plot Loss Graph.")


def run_output() -> io.Custom.Output:
    return types.Run.Output(display_name="run", tooltip="The run's folder with checkpoints, samples and events.")


def table_output() -> io.String.Output:
    return io.String.Output(
        display_name="table", tooltip="The results of a sweep, as text for Preview as Text; empty without a sweep."
    )
