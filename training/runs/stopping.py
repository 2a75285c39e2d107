"""How long a stop may take, estimated from the run's events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..runs.run_folder import PHASE, STARTED, STEP

GRACE = 10.0  # seconds; before the first step of a segment there is nothing to save
SAVING = 60.0  # seconds to write checkpoint and state, even to a slow disk
STEPS = (
    10  # times the slowest step so far: with several picture sizes, one step can take eight times as long as another
)


def patience(events: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from the request to stop until a run may be ended by force.

    The trainer saves and ends after its current optimiser step, so this is several of its slowest steps plus the time to
    save. Samples, validation and checkpoints between two steps count as part of a step.

    Args:
        events: of the run, oldest first; those before its last segment do not matter.
    """
    slowest, steps, last = 0.0, 0, None
    for event in events:
        if event["event"] == STARTED:
            slowest, steps, last = 0.0, 0, None
        elif event["event"] == PHASE and event.get("phase") == "training" and last is None:
            last = event.get("seconds")
        elif event["event"] == STEP:
            now = event.get("seconds")
            gap = now - last if now is not None and last is not None else 0.0
            slowest, steps, last = max(slowest, gap, event.get("seconds_per_step", 0.0)), steps + 1, now
    return SAVING + STEPS * slowest if steps else GRACE
