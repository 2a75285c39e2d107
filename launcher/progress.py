"""The progress line."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import IO


@dataclass
class Progress:
    """One line that shows the current step: redrawn on a terminal, repeated every ten seconds elsewhere.

    Attributes:
        quiet_for: seconds before a step is shown at all.
    """

    stream: IO[str] = field(default_factory=lambda: sys.stderr)
    quiet_for: float = 1.0
    _title: str = ""
    _started: float = 0.0
    _shown: float = -1.0

    def start(self, title: str) -> None:
        self._title, self._started, self._shown = title, time.monotonic(), -1.0

    def update(self, detail: str = "") -> None:
        """Show the line if it is due; call it often."""
        elapsed = time.monotonic() - self._started
        interval = 0.2 if self._redraws else 10.0
        due = elapsed >= self.quiet_for if self._shown < 0 else elapsed - self._shown >= interval
        if due:
            self._shown = elapsed
            self._show(f"{self._title} ... {elapsed:.0f} s" + (f", {detail}" if detail else ""))

    def finish(self) -> None:
        """Close the line, if one was shown."""
        if self._shown >= 0:
            self._show(f"{self._title}: done in {time.monotonic() - self._started:.0f} s", last=True)

    def abandon(self) -> None:
        """End the line after a failure, so that the error message starts on a line of its own."""
        if self._shown >= 0 and self._redraws:
            self.stream.write("\n")

    @property
    def _redraws(self) -> bool:
        return self.stream.isatty()

    def _show(self, text: str, last: bool = False) -> None:
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            text = f"\r{text[:width]:<{width}}" + ("\n" if last else "")
        else:
            text += "\n"
        self.stream.write(text)
        self.stream.flush()


def say(text: str, stream: IO[str] | None = None) -> None:
    print(text, file=stream or sys.stderr, flush=True)
