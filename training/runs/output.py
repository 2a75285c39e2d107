"""The output of a run's process, in a file of the run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

OUTPUT = "trainer.log"


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file that are not blank. Text before a carriage return counts as a line."""
    text = _last_text(path).replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()][-count:]


def tail(run: Path, count: int = 40) -> Sequence[str]:
    """The last lines of a run's output, without its progress bars."""
    kept = [line.rsplit("\r", 1)[-1].rstrip() for line in _last_text(run / OUTPUT).splitlines()]
    return [line for line in kept if line and "it/s]" not in line and "s/it" not in line][-count:]


def _last_text(path: Path) -> str:
    """The last 64 kB of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64_000))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
