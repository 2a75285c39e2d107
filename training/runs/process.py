"""Start processes that outlive this one, and recognise them later.

The system reuses pids, so a process is identified by its pid and its birth, which must not depend on the clock. On Linux,
`psutil.Process.create_time` does: it adds the time since boot, which is stable, to the boot time, which shifts whenever the
clock is set (by NTP, or after a laptop was asleep).
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
CREATE_NEW_PROCESS_GROUP = 0x00000200  # Ctrl-C in ComfyUI's console does not reach it
CREATE_NO_WINDOW = 0x08000000  # an invisible console of its own, so that closing ComfyUI's does not end it
CREATE_BREAKAWAY_FROM_JOB = 0x01000000  # a job may end all its processes when its creator ends

_FIRST_TICKS = 19  # index of `starttime` (ticks since boot) among the fields of /proc/PID/stat after the name


def birth(pid: int, system: str = sys.platform, proc: Path = Path("/proc")) -> str:
    """When a process began, as text that stays the same for as long as it lives, even if the clock is set.

    On Linux, it is the boot id and the ticks since boot. Windows and macOS record the time once, when the process begins;
    on macOS, psutil corrects it for changes of the clock, so ``ps`` is used there.

    Args:
        pid: of the process.
        system: as `sys.platform`.
        proc: Linux's folder of processes.

    Returns:
        Empty if there is no such process.
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
    """Windows' flags for a process that outlives its parent and its parent's console. Use the first that is allowed.

    ``DETACHED_PROCESS`` is not used, since each program that a process without a console starts opens a window. Some jobs
    do not allow ``CREATE_BREAKAWAY_FROM_JOB``.
    """
    if system != "win32":
        return [0]
    alone = CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP
    return [alone | CREATE_BREAKAWAY_FROM_JOB, alone]


def start_detached(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Any, system: str = sys.platform
) -> subprocess.Popen[bytes]:
    """Start a process that continues when this one, its session or its console ends.

    Args:
        arguments: the program and its arguments; no shell.
        folder: its working folder.
        environment: all of its variables.
        output: an open file for its output and errors.
        system: as `sys.platform`.

    Raises:
        OSError: if it cannot be started.
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
    """``creationflags`` for a short command, so that it opens no window under a ComfyUI without a console."""
    return CREATE_NO_WINDOW if system == "win32" else 0
