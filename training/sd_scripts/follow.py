"""Watch a run until its process is gone, or stop it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

from ...incontext.errors import TrainingError
from ..runs import requests, stopping, supervise
from ..runs.event_tail import EventTail
from ..runs.run_folder import Run


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
