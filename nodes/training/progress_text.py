"""What a training says on its node while it runs. Loss, pace and memory are in the view below, once."""

from __future__ import annotations

import time


def progress_text(step: int, steps: int | str, seconds_left: float) -> str:
    days = seconds_left >= 86_400
    left = (
        f"{seconds_left / 86_400:.1f} days" if days else time.strftime("%H:%M:%S", time.gmtime(max(0.0, seconds_left)))
    )
    return f"step {step} of {steps}, {left} left"
