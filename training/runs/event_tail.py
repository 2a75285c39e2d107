"""Read the new events of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import run_folder
from .run_folder import Run, parse_event


class EventTail:
    """The events of a run that were added since the last iteration.

    Args:
        run: the run.
        from_start: begin with the first event; otherwise with those still to come.
    """

    def __init__(self, run: Run, from_start: bool = True) -> None:
        self._path = run.folder / "events.jsonl"
        self._offset = 0 if from_start or not self._path.exists() else self._path.stat().st_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while line := file.readline(run_folder.LONGEST_EVENT + 1):
                    if not line.endswith(b"\n") and len(line) <= run_folder.LONGEST_EVENT:
                        return  # the line is still being written
                    self._offset += len(line)
                    event = parse_event(line)
                    if event is not None:
                        yield event
        except OSError:
            return
