"""What a training says on its node while it runs. Loss, pace and memory are shown in the view below it."""

from __future__ import annotations

from ...training.runs.progress import describe_duration


def progress_text(step: int, steps: int | str, seconds_left: float) -> str:
    return f"step {step} of {steps}, {describe_duration(seconds_left)} left"
