"""A run's process: start it, find it again, and end it with all its children.

A process is identified by its pid and its birth (`process.birth`), since the system reuses pids. It belongs to the run,
not to ComfyUI: it continues when ComfyUI is restarted or killed. Its children are found by a variable in their environment,
even after they have left its process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic
from . import requests
from .output import OUTPUT
from .process import birth, start_detached

MARK = "INCONTEXT_LORA_RUN"  # environment variable with the run's folder
RECORD = "process.json"
HOST_RECORD = "host.json"  # of a run that ComfyUI itself trains


@dataclass(frozen=True)
class Launch:
    """How a process is started.

    Attributes:
        arguments: the program and its arguments; no shell.
        environment: all of its variables.
        folder: its working folder.
        cards: names of the graphics cards that it trains on; None if they are not known.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    cards: Sequence[str] | None = None


def start(launch: Launch, run: Path) -> subprocess.Popen[bytes]:
    """Start a run's process in a session of its own, with its output in the run's folder, and record which one it is.

    Raises:
        TrainingError: if it cannot be started.
    """
    with explain_write_errors(run, TrainingError):
        requests.clear(run)
        # ComfyUI may be killed before it knows the pid; `find` then recognises the process by its environment
        write_atomic(run / RECORD, json.dumps({"machine": platform.node(), **_on_cards(launch.cards)}) + "\n")
        output = (run / OUTPUT).open("ab")
    with output:
        try:
            process = start_detached(launch.arguments, launch.folder, launch.environment, output)
        except OSError as error:
            (run / RECORD).unlink(missing_ok=True)
            raise TrainingError(
                f"The trainer cannot be started: {error}. Install it again with `python run.py trainer install`."
            ) from error
    try:
        note(run, process.pid, cards=launch.cards)
    except BaseException:  # otherwise the process could never be found again
        process.kill()
        process.wait()
        raise
    return process


def note(run: Path, pid: int, record: str = RECORD, cards: Sequence[str] | None = None) -> None:
    """Record a run's process, so that `find` recognises it, and its graphics cards.

    Raises:
        TrainingError: if it cannot be written.
    """
    with explain_write_errors(run, TrainingError):
        write_atomic(run / record, json.dumps({**_identity(pid), **_on_cards(cards)}) + "\n")


def _on_cards(cards: Sequence[str] | None) -> dict[str, Any]:
    return {} if cards is None else {"cards": list(cards)}


def _identity(pid: int) -> dict[str, Any]:
    created = 0.0
    with contextlib.suppress(psutil.Error):  # it has already ended
        created = psutil.Process(pid).create_time()  # for versions of the pack before `birth`
    return {"pid": pid, "birth": birth(pid), "created": created, "machine": platform.node()}


def find(run: Path, record: str = RECORD) -> psutil.Process | None:
    """The run's process, if it is still running."""
    try:
        noted = strict_json.read_object(run / record)
        if "pid" not in noted:
            return _first_marked(run) if noted.get("machine") == platform.node() else None
        process = psutil.Process(strict_json.field(noted, "pid", int))
        if "birth" in noted:
            same = bool(noted["birth"]) and noted["birth"] == birth(process.pid)
        else:
            same = abs(process.create_time() - strict_json.field(noted, "created", float)) < 1.0
        lives = process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (OSError, OverflowError, strict_json.JsonError, psutil.Error, ValueError):
        return None
    return process if same and lives else None


def on_other_machine(run: Path) -> str:
    """Name of the machine that runs it; empty if it is this one or unknown."""
    try:
        machine = strict_json.field(strict_json.read_object(run / RECORD), "machine", str)
    except (OSError, strict_json.JsonError):
        return ""
    return "" if machine == platform.node() else machine


def members(run: Path) -> list[psutil.Process]:
    """All live processes of a run, including those that have lost their parent."""
    found: dict[int, psutil.Process] = {}
    main = find(run)
    if main is not None:
        with contextlib.suppress(psutil.Error):
            found = {child.pid: child for child in (main, *main.children(recursive=True))}
    return [*found.values(), *(process for process in _marked(run) if process.pid not in found)]


def _marked(run: Path) -> Iterator[psutil.Process]:
    """Live processes whose environment names this run."""
    mark = str(run)
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _first_marked(run: Path) -> psutil.Process | None:
    """The oldest process of a run, from which the others descend, if it was started but not recorded."""
    return min(_marked(run), key=lambda process: process.create_time(), default=None)


def kill(run: Path, patience: float = 5.0) -> None:
    """End all processes of a run. Returns when none is left, or after ``patience`` seconds."""
    if sys.platform != "win32":
        main = find(run)
        if main is not None:
            with contextlib.suppress(OSError):
                os.killpg(main.pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while True:  # a process may have started another since the list was made
        left = members(run)
        if not left or time.monotonic() > deadline:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)


def sweep(runs: Path) -> list[Path]:
    """End the orphans of runs whose main process is gone; returns these runs."""
    swept = []
    for run in sorted(path.parent for path in runs.glob(f"*/{RECORD}")):
        if find(run) is None and not on_other_machine(run) and members(run):
            kill(run)
            swept.append(run)
    return swept
