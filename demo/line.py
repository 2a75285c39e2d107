"""The progress line of `run.py demo`, `compare` and `sweep --workflow`. Standard library only."""

from __future__ import annotations

import shutil
import sys
import time


class Line:
    """One progress line that replaces itself on a terminal, and appears now and then elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = 0.0
        self._width = 0

    def phase(self, text: str) -> None:
        self._clear()
        print(f"[{time.monotonic() - self._started:4.0f} s] {text}", flush=True)

    def update(self, text: str) -> None:
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if now - self._shown < (0.2 if terminal else 15):
            return
        self._shown = now
        line = f"[{now - self._started:4.0f} s]   {text}"
        if not terminal:
            print(line, flush=True)
            return
        line = line[: shutil.get_terminal_size().columns - 1]
        print("\r" + line.ljust(self._width), end="", flush=True)
        self._width = len(line)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="")
            self._width = 0
