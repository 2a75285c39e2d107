"""The user's choices for a run. ComfyUI loads this module when it starts, so it imports nothing heavy."""

from __future__ import annotations

from enum import Enum


class WhenBusy(Enum):
    """What a training does if another one is using its graphics card."""

    SAY = "say so"
    WAIT = "wait"
    ANYWAY = "start anyway"

    @property
    def in_queue(self) -> WhenBusy:
        """For the later trainings of a queue: they wait rather than end the queue."""
        return self if self is WhenBusy.ANYWAY else WhenBusy.WAIT
