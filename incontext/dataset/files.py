"""Writing so that a reader never meets half a file, and only one build at a time works in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DatasetError
from ..files import atomic, file_lock

LOCK = ".lock"
PATIENCE = 600.0  # seconds; a build of a hundred large sets takes a few minutes

_POLL = 0.05


def write_atomic(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file in one step.

    Args:
        durable: have it on the disk, not only in its cache, before the old one goes.

    Raises:
        DatasetError: where the disk refuses.
    """
    try:
        atomic.write_atomic(path, data, durable=durable)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written: {error.strerror or error}. Free space there, or allow writing to it."
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        DatasetError: where that is not allowed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"The folder {folder} cannot be made: {error.strerror or error}. Choose another name or place."
        ) from error


@contextmanager
def exclusive(folder: Path, go_on: Callable[[], None], *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a folder's lock; the system releases it even when the process is killed.

    Args:
        folder: an existing folder.
        go_on: called while waiting; raises to give up.
        patience: seconds to wait for another build.

    Raises:
        DatasetError: where another build does not end in time.
    """
    try:
        file = open(folder / LOCK, "ab")  # noqa: SIM115  (closed below, together with the lock)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error.strerror or error}. Allow writing to it.") from error
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
