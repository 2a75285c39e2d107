"""Long work in a thread beside ComfyUI's event loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Each = TypeVar("Each")

SLICE = 0.001  # seconds of work
PAUSE = 0.0002  # seconds; any wait lets the other thread begin


def give_way(values: Iterable[Each]) -> Iterator[Each]:
    """The values, with a short pause after each millisecond.

    Python gives another thread its turn only after 5 ms, every time that it has waited for anything: an event loop that reads
    and writes ten times for one answer would answer after 50 ms.
    """
    until = time.monotonic() + SLICE
    for value in values:
        yield value
        if time.monotonic() >= until:
            time.sleep(PAUSE)
            until = time.monotonic() + SLICE
