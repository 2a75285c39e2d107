"""What a run has told since the last look, whoever trains it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import run_folder
from .run_folder import Run, parse_event


class EventTail:
    """New events of a run since the last look."""

    def __init__(self, run: Run, from_start: bool = True) -> None:
        self._path = run.folder / "events.jsonl"
        self._offset = 0 if from_start or not self._path.exists() else self._path.stat().st_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while line := file.readline(run_folder.LONGEST_EVENT + 1):
                    if not line.endswith(b"\n") and len(line) <= run_folder.LONGEST_EVENT:
                        return  # it is still being written
                    self._offset += len(line)
                    event = parse_event(line)
                    if event is not None:
                        yield event
        except OSError:
            return
