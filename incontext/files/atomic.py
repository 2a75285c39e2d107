"""Files that are complete or absent: written under a temporary name beside their own, then renamed.

A reader never meets half a file. Functions raise the system's OSError; callers say what it means to the user.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TEMPORARY = ".tmp"  # ending of unfinished files; no list of datasets, LoRAs or runs shows it
PATIENT_TRIES = 50 if os.name == "nt" else 0  # Windows does not replace an open file; readers are done within a second
_POLL = 0.02  # seconds between tries


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """A new, empty file in the folder of ``path``. It is deleted at the end unless it was renamed."""
    temporary = path.with_name(f".{path.name[:40]}-{secrets.token_hex(8)}{TEMPORARY}")
    temporary.open("xb").close()  # unlike mkstemp, with the permissions of any new file
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file, or create it, in one step.

    Args:
        write: fills the file whose path it receives.
    """
    with temporary_file(path) as temporary:
        write(temporary)
        rename_over(temporary, path)


def write_atomic(path: Path, data: str | bytes, *, durable: bool = False) -> None:
    """`replace_atomically` with bytes or UTF-8 text.

    Args:
        durable: write through to the disk before the previous file is replaced.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if durable:
                flush_to_disk(file)

    replace_atomically(path, write)


def rename_over(source: Path, target: Path) -> None:
    """`os.replace`, with patience for readers on Windows."""
    _patiently(os.replace, source, target)


def rename_new(source: Path, target: Path) -> None:
    """`os.rename`, with patience for readers on Windows. It fails if the target is a folder with something in it."""
    _patiently(os.rename, source, target)


def _patiently(rename: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    for _ in range(PATIENT_TRIES):
        try:
            return rename(source, target)
        except PermissionError:
            time.sleep(_POLL)
    return rename(source, target)


def flush_to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
