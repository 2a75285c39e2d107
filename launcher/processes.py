"""Runs and ends child processes, and prepares their environment."""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..demo.server import dies_with_parent
from .progress import Progress

# these make an interpreter find other packages than its own, or keep `-m` from the current folder
PYTHON_DETOURS = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"})
# On a CPU, torch spends more than half of its time in page faults when glibc returns freed memory to the system.
GLIBC_TUNING = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "536870912",
}


def child_environment(environment: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment for every child process: UTF-8, and on glibc faster memory settings."""
    tuning = GLIBC_TUNING if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else {}
    return {**tuning, **environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **extra}


def without_detours(environment: Mapping[str, str]) -> dict[str, str]:
    """Remove the variables that make an interpreter find other packages than its own."""
    return {name: value for name, value in environment.items() if name not in PYTHON_DETOURS}


def end_child(process: subprocess.Popen[Any], interrupted: bool, patience: float = 5.0) -> None:
    """End a child process that may have children: first with Ctrl-C, so that it can end them, then by force.

    Args:
        interrupted: whether the child already received the Ctrl-C, which a terminal sends to the whole group.
        patience: seconds that an interrupted child has to end by itself.
    """
    steps: list[tuple[Callable[[], None], float]] = [(lambda: None, patience)] if interrupted else []
    if os.name == "posix":
        steps.append((lambda: process.send_signal(signal.SIGINT), 12.0))
    steps += [(process.terminate, 5.0), (process.kill, 5.0)]
    for act, patience in steps:
        if process.poll() is None:
            act()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def run_child(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], patience: float = 5.0) -> int:
    """Run a command in the foreground.

    Returns:
        Its exit code; 128 + the number of the signal that ended it, as in a shell.
    """
    process = subprocess.Popen([str(part) for part in command], cwd=cwd, env=environment, **dies_with_parent())
    try:
        code = process.wait()
    except BaseException as error:
        end_child(process, isinstance(error, KeyboardInterrupt), patience)
        raise
    return code if code >= 0 else 128 - code


def run_logged(
    command: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    progress: Progress,
    describe: Callable[[str], str] = str.strip,
) -> tuple[int, list[str]]:
    """Run a command; its output goes to a log file, its latest state to the progress line.

    Returns:
        The exit code and the last lines of output.
    """
    arguments = [str(part) for part in command]
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        **dies_with_parent(),
    )
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    tail: deque[str] = deque(maxlen=400)

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    detail = ""
    try:
        with log.open("a", encoding="utf-8") as file:
            print("$", *arguments, file=file, flush=True)
            while True:
                try:
                    line = lines.get(timeout=0.2)
                except queue.Empty:
                    progress.update(detail)
                    continue
                if line is None:
                    break
                print(line, file=file, flush=True)
                tail.append(line)
                detail = describe(line) or detail
                progress.update(detail)
        return process.wait(), list(tail)
    except BaseException as error:
        end_child(process, interrupted=isinstance(error, KeyboardInterrupt))
        raise


def read_output(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run a program and return its output; empty if it fails or is not installed."""
    try:
        answer = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment(without_detours(os.environ), PYTHON_MANAGER_AUTOMATIC_INSTALL="false"),
            cwd=cwd,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
