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
    """Follow a run until its process is gone; returns the exit code if it is known.

    Args:
        tail: the run's new events.
        on_event: called with each event, and with ``{"event": "idle"}`` if there are none. An exception from it ends the
            watching, not the training.
        pause: seconds between checks.
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
    """Ask a run to save its state and end. After ``patience``, or if ``insists`` returns True, end it by force.

    Args:
        insists: called several times a second.
        patience: seconds to wait; by default, `stopping.patience` of the run's events, which is updated while it waits.
    """
    with contextlib.suppress(TrainingError):  # if the disk is full or gone, the run is ended by force later
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
    with contextlib.suppress(TrainingError):  # another process that watches the run may settle it first
        requests.add(run.folder, requests.END)
    supervise.kill(run.folder)
    if process is not None:
        process.wait(10)
