"""Writing so that a reader never meets half a file, and only one build at a time works in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DatasetError, explain_write_errors
from ..files import atomic, file_lock

LOCK = ".lock"
PATIENCE = 600.0  # seconds; a build of a hundred large sets takes a few minutes

_POLL = 0.05


def write_atomic(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file in one step.

    Args:
        durable: have it on the disk, not only in its cache, before the old one goes.

    Raises:
        DatasetError: if the file cannot be written.
    """
    with explain_write_errors(path, DatasetError):
        atomic.write_atomic(path, data, durable=durable)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        DatasetError: if that is impossible.
    """
    with explain_write_errors(folder, DatasetError):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def exclusive(folder: Path, go_on: Callable[[], None], *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a folder's lock; the system releases it even when the process is killed.

    Args:
        folder: an existing folder.
        go_on: called while waiting; raises to give up.
        patience: seconds to wait for another build.

    Raises:
        DatasetError: if another build does not end in time, or the folder cannot be written.
    """
    with explain_write_errors(folder, DatasetError):
        file = open(folder / LOCK, "ab")  # noqa: SIM115  (closed below, together with the lock)
    with file:
        deadline = time.monotonic() + patience
        while file_lock.acquire(file) is False:  # without locks writes are still atomic
            if time.monotonic() > deadline:
                raise DatasetError(
                    f"Another build has been writing to {folder} for {patience:.0f} s. Wait for it, stop it, or choose "
                    "another name."
                )
            go_on()
            time.sleep(_POLL)
        try:
            yield
        finally:
            file_lock.release(file)


def remove_quietly(path: Path) -> None:
    """Delete a file that nobody needs any more; one that is in use stays for the next time."""
    with suppress(OSError):
        path.unlink()
