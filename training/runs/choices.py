"""What a user chooses for a run, without what carries it out: ComfyUI's start loads this."""

from __future__ import annotations

from enum import Enum


class WhenBusy(Enum):
    """What a training does if another one has its graphics card."""

    SAY = "say so"
    WAIT = "wait"
    ANYWAY = "start anyway"

    @property
    def in_queue(self) -> WhenBusy:
        """What the later trainings of a queue do: they were asked for, so they wait rather than end the queue."""
        return self if self is WhenBusy.ANYWAY else WhenBusy.WAIT
