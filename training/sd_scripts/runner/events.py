"""The training's reports: one line of JSON per event, in the run's events.jsonl."""

from __future__ import annotations

import errno
import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

from .disk import is_full_disk

MAX_WAITING = 20_000  # events kept in memory while the disk is full, about 5 MB


class Events:
    """Appends events to a file. With several processes, only the first one writes.

    While the disk is full, the last `MAX_WAITING` events wait for space and the training continues.
    """

    def __init__(self, path: Path, active: bool = True) -> None:
        self._path = path
        self._started = time.monotonic()
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._was_full = False
        self.active = active
        self.phase = ""

    def __call__(self, kind: str, **values: Any) -> None:
        if not self.active:
            return
        record = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - self._started, 3), "event": kind}
        self._waiting.append(f"{json.dumps({**record, **values})}\n".encode())
        try:
            self._write()
        except OSError as error:
            if not is_full_disk(error):
                raise
            self._was_full = True
            return
        if self._was_full:
            self._was_full = False
            self("note", text="The disk was full and has space again. The training continued in the meantime.")

    def _write(self) -> None:
        # opened per event because the folder may be on a network drive; unbuffered so that each line is written once
        with self._path.open("ab", buffering=0) as file:
            if self._was_full:
                file.write(b"\n")  # ends a half-written line
            while self._waiting:
                line = self._waiting[0]
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._waiting.popleft()

    def enter(self, phase: str) -> None:
        self.phase = phase
        self("phase", phase=phase)
