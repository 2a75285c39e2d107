"""A training's progress in words."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any


def describe_step(event: Mapping[str, Any]) -> str:
    """One line for a step event of a run. Unknown values, and losses that are not finite, are shown as nan."""
    known = {name: value for name, value in event.items() if value is not None}
    loss, pace = (known.get(name, math.nan) for name in ("smoothed", "seconds_per_step"))
    line = f"step {event['step']} of {known.get('steps', '?')}, loss {loss:.4f}, {pace:.2f} s per step, "
    line += f"{describe_duration(known.get('seconds_left', 0.0))} left"
    return line + (f", {known['memory']:.1f} GB" if "memory" in known else "")


def describe_duration(seconds: float) -> str:
    """``HH:MM:SS``, or days from one day on."""
    if 0 <= seconds < 86_400:
        return time.strftime("%H:%M:%S", time.gmtime(seconds))
    return f"{seconds / 86_400:.1f} days"
