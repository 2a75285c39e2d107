"""Child processes: how they are run and ended, and which environment they get."""

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

# these lead an interpreter away from its own packages, or `-m` away from the current folder
PYTHON_DETOURS = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"})
# On a CPU, torch spends more than half of its time in page faults when glibc returns freed memory to the system.
GLIBC_TUNING = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "536870912",
}


def child_environment(environment: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment of everything that is started: UTF-8 everywhere, and memory settings where they are known."""
    tuning = GLIBC_TUNING if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else {}
    return {**tuning, **environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **extra}


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that lead an interpreter away from its own packages."""
    return {name: value for name, value in environment.items() if name not in PYTHON_DETOURS}


def end_child(process: subprocess.Popen[Any], told: bool, patience: float = 5.0) -> None:
    """End a child that may have children: first ask as Ctrl-C does, so that it can end them, then insist.

    ``told``: the child has already had the Ctrl-C (a terminal sends it to the whole group); ``patience``: seconds that it then
    has to end by itself.
    """
    steps: list[tuple[Callable[[], None], float]] = [(lambda: None, patience)] if told else []
    if os.name == "posix":
        steps.append((lambda: process.send_signal(signal.SIGINT), 12.0))
    steps += [(process.terminate, 5.0), (process.kill, 5.0)]
    for act, patience in steps:
        if process.poll() is None:
            act()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def run_child(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], patience: float = 5.0) -> int:
    """Run a command in the foreground; returns its exit code, in the shell's way where a signal ended it."""
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
    """Run a command with its output in a log file and its latest state on the progress line; exit code, last lines."""
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
        end_child(process, told=isinstance(error, KeyboardInterrupt))
        raise


def ask(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """What a program prints; empty if it fails or is not there."""
    try:
        answer = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment(isolated(os.environ), PYTHON_MANAGER_AUTOMATIC_INSTALL="false"),
            cwd=cwd,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
