"""What the training nodes' inputs offer, and the inputs that both of them have."""

from __future__ import annotations

from comfy_api.latest import io

from ...training.runs.cards import WhenBusy
from ...training.sd_scripts.architectures import ARCHITECTURES

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
