"""Who works on a run: two locks in its folder, between processes and between machines that share it.

``.lock`` is held while somebody decides about the run: find, kill and start in one piece, or settle what became of it.
``.attended`` is held by everybody who will write down how the run ends: who trains it, prepares it, or watches its process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ...incontext.errors import TrainingError
from ...incontext.files import file_lock

LOCK = ".lock"
ATTENDED = ".attended"
BRIEF = 3.0  # seconds; whoever settles a run is done by then, and whoever prepares one takes longer

_POLL = 0.05
_TRIES = 10


@contextmanager
def deciding(run: Path, patience: float = 0.0) -> Iterator[None]:
    """Be the only one who starts, ends or settles a run.

    Args:
        run: its folder.
        patience: seconds to wait for another.

    Raises:
        TrainingError: where another one is at it for longer, or the folder cannot be written.
    """
    with _lock_of(run) as file:
        deadline = time.monotonic() + patience
        while file_lock.acquire(file) is False:
            if time.monotonic() >= deadline:
                raise TrainingError(
                    f"{run.name} is being started or settled elsewhere at this moment, perhaps in another window or on "
                    "another machine. Try again in a minute."
                )
            time.sleep(_POLL)
        try:
            yield
        finally:
            file_lock.release(file)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Be the only one who works on what is in a folder; False where another one does.

    Where the file system has no locks, nobody can know of others, and it is always True.

    Raises:
        TrainingError: where the folder cannot be written.
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
        TrainingError: where the folder cannot be written.
    """
    try:
        return (folder / LOCK).open("ab")
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written: {error.strerror or error}. Allow writing to it, or check that its disk is connected."
        ) from error


@contextmanager
def attending(run: Path) -> Iterator[None]:
    """Stand for a run: its end will be written down by this process."""
    file = None
    with suppress(OSError):  # a folder that cannot be written, or is gone
        file = (run / ATTENDED).open("ab")
    if file is None:
        yield
        return
    with file:
        for _ in range(_TRIES):  # somebody may just be looking
            if file_lock.acquire(file, shared=True) is not False:
                break
            time.sleep(_POLL)
        try:
            yield
        finally:
            file_lock.release(file)


def is_attended(run: Path) -> bool | None:
    """Whether somebody stands for a run; None where that cannot be known."""
    try:
        with (run / ATTENDED).open("r+b") as file:
            for again in (True, False):
                free = file_lock.acquire(file)
                if free:
                    file_lock.release(file)
                if free is not False:
                    break
                if again:  # it may have been another one who looks
                    time.sleep(0.002)
    except OSError:
        return None
    return None if free is None else not free
