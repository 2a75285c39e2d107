"""Watch a run until its process is gone, or stop it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from ...incontext.errors import TrainingError
from ..runs import requests, run_folder, stopping, supervise
from ..runs.run_folder import Run, parse_event


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


def watch(
    run: Run,
    process: subprocess.Popen[bytes] | None,
    tail: EventTail,
    on_event: Callable[[dict[str, Any]], None],
    *,
    pause: float = 0.25,
) -> int | None:
    """Follow a run until its process is gone; returns the exit code where it is known.

    What ``on_event`` raises ends the watching, not the training. It is called with ``{"event": "idle"}`` when there is no news.
    """
    while True:
        running = process.poll() is None if process is not None else supervise.find(run.folder) is not None
        quiet = True
        for event in tail:
            quiet = False
            on_event(event)
        if not running:
            return process.returncode if process is not None else None
        if quiet:
            on_event({"event": "idle"})
        time.sleep(pause)


def stop(
    run: Run,
    process: subprocess.Popen[bytes] | None,
    insists: Callable[[], bool] = lambda: False,
    patience: float | None = None,
) -> None:
    """Ask a run to save its state and end; end it and all its children when time is up or ``insists`` says so.

    Args:
        patience: seconds until time is up; by default as many as `stopping.patience` finds for this run, now and as it
            goes on.
    """
    with contextlib.suppress(TrainingError):  # a disk that is full or gone: then it is ended when time is up
        requests.add(run.folder, "stop")
    asked = time.monotonic()
    tail, events = EventTail(run), list[dict[str, Any]]()
    allowed = patience
    while not insists():
        if patience is None:
            news = list(tail)
            if news or allowed is None:
                events += news
                allowed = stopping.patience(events)
        if time.monotonic() - asked >= (allowed or 0.0):
            break
        gone = process.poll() is not None if process is not None else supervise.find(run.folder) is None
        if gone:
            break
        time.sleep(0.1)
    with contextlib.suppress(TrainingError):  # whoever watches it may settle it first, and is to say the same
        requests.add(run.folder, requests.END)
    supervise.kill(run.folder)
    if process is not None:
        process.wait(10)
