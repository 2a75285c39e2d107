"""Processes that outlive the one that started them: how they are started, and how they are known again.

A pid is given out again, so a process is known by its pid and its birth. The birth must not depend on the clock: what
`psutil.Process.create_time` gives on Linux is the time since the machine's start, which does not change, plus the time of
that start, which moves with every step of the clock (NTP, a laptop that was asleep).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

# Windows' process creation flags, which `subprocess` names on Windows only
CREATE_NEW_PROCESS_GROUP = 0x00000200  # Ctrl-C in ComfyUI's console is not for it
CREATE_NO_WINDOW = 0x08000000  # a console of its own that nobody sees, so that closing ComfyUI's does not end it
CREATE_BREAKAWAY_FROM_JOB = 0x01000000  # a job can end all its processes when the one that made it ends

_FIRST_TICKS = 19  # of the fields of /proc/PID/stat after the name: `starttime`, in ticks since the machine's start


def birth(pid: int, system: str = sys.platform, proc: Path = Path("/proc")) -> str:
    """When a process began, as text that is the same for as long as it lives, whatever happens to the clock.

    On Linux these are the id of the machine's start and the ticks since then. Windows notes the time in the process
    when it begins and leaves it. So does macOS, but psutil adds the steps of the clock there; ``ps`` does not.

    Args:
        pid: of the process.
        system: as `sys.platform`.
        proc: where Linux describes its processes.

    Returns:
        Empty where there is no such process.
    """
    if system == "linux":
        try:
            fields = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        started = ""
        with contextlib.suppress(OSError):  # some containers hide it
            started = (proc / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
        return f"{started} {fields[_FIRST_TICKS]}"
    if system == "win32":
        try:
            return f"{psutil.Process(pid).create_time():.3f}"
        except psutil.Error:
            return ""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, env=environment, check=False
    )
    return answer.stdout.strip()


def creation_flags(system: str = sys.platform) -> list[int]:
    """Windows' flags for a process that outlives its parent and its parent's console; the first that is allowed counts.

    Not ``DETACHED_PROCESS``: a process without any console gets a window for each program that it starts.
    A job that lets none of its processes go refuses ``CREATE_BREAKAWAY_FROM_JOB``.
    """
    if system != "win32":
        return [0]
    alone = CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP
    return [alone | CREATE_BREAKAWAY_FROM_JOB, alone]


def start_detached(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Any, system: str = sys.platform
) -> subprocess.Popen[bytes]:
    """Start a process that goes on when this one, its session or its console ends.

    Args:
        arguments: the program and what it is given; no shell.
        folder: where it works.
        environment: all of its variables.
        output: an open file for what it prints.
        system: as `sys.platform`.

    Raises:
        OSError: where it cannot be started.
    """
    *tried, last = creation_flags(system)

    def begin(flags: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=flags,
        )

    for flags in tried:
        with contextlib.suppress(PermissionError):
            return begin(flags)
    return begin(last)


def no_window(system: str = sys.platform) -> int:
    """``creationflags`` for a question that is soon answered: a ComfyUI without a console shows no window for it."""
    return CREATE_NO_WINDOW if system == "win32" else 0
