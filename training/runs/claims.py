"""Two locks in a run's folder, between processes and between machines that share it.

``.lock`` is held by a process that starts, ends, settles or removes the run, so that its steps are not mixed with another's.
``.attended`` is shared by all processes that will record how the run ends: those that train, prepare or watch it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import file_lock

LOCK = ".lock"
ATTENDED = ".attended"
BRIEF = 3.0  # seconds; settling a run takes less, preparing one takes longer

_POLL = 0.05  # seconds
_TRIES = 10


@contextmanager
def deciding(run: Path, patience: float = 0.0) -> Iterator[None]:
    """Within the context, no other process starts, ends or settles the run.

    Args:
        run: its folder.
        patience: seconds to wait for another process.

    Raises:
        TrainingError: if another process takes longer, or the folder cannot be written.
    """
    with _lock_of(run) as file:
        deadline = time.monotonic() + patience
        while file_lock.acquire(file) is False:
            if time.monotonic() >= deadline:
                raise TrainingError(
                    f"{run.name} is just being started or ended elsewhere, perhaps in another window or on another machine. "
                    "Try again in a minute."
                )
            time.sleep(_POLL)
        try:
            yield
        finally:
            file_lock.release(file)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Claim a folder within the context; yields False if another process has it.

    It always yields True on a file system without locks.

    Raises:
        TrainingError: if the folder cannot be written.
    """
    with _lock_of(folder) as file:
        mine = file_lock.acquire(file) is not False
        try:
            yield mine
        finally:
            if mine:
                file_lock.release(file)


def _lock_of(folder: Path) -> IO[bytes]:
    """
    Raises:
        TrainingError: if the folder cannot be written.
    """
    with explain_write_errors(folder, TrainingError):
        return (folder / LOCK).open("ab")


@contextmanager
def attending(run: Path) -> Iterator[None]:
    """Within the context, this process is responsible for recording how the run ends."""
    file = None
    with suppress(OSError):  # the folder cannot be written, or is gone
        file = (run / ATTENDED).open("ab")
    if file is None:
        yield
        return
    with file:
        for _ in range(_TRIES):  # another process may just be checking it
            if file_lock.acquire(file, shared=True) is not False:
                break
            time.sleep(_POLL)
        try:
            yield
        finally:
            file_lock.release(file)


def is_attended(run: Path) -> bool | None:
    """Whether any process is responsible for recording how a run ends; None if that cannot be known."""
    try:
        with (run / ATTENDED).open("r+b") as file:
            for again in (True, False):
                free = file_lock.acquire(file)
                if free:
                    file_lock.release(file)
                if free is not False:
                    break
                if again:  # another process may just have been checking it
                    time.sleep(0.002)
    except OSError:
        return None
    return None if free is None else not free
