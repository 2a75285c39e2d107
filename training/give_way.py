"""Let ComfyUI's event loop run during long work in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Each = TypeVar("Each")

SLICE = 0.001  # seconds of work between pauses
PAUSE = 0.0002  # seconds; any sleep lets another thread run


def give_way(values: Iterable[Each]) -> Iterator[Each]:
    """The values, with a short pause after each millisecond.

    A thread that waits for the interpreter gets it only after 5 ms. An event loop that reads and writes ten times for one
    answer would take 50 ms.
    """
    until = time.monotonic() + SLICE
    for value in values:
        yield value
        if time.monotonic() >= until:
            time.sleep(PAUSE)
            until = time.monotonic() + SLICE
