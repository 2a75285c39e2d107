"""Writes files completely or not at all, and recognises a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ....incontext.files.atomic import rename_over

# torch and safetensors have their own messages, Windows its own error number
_FULL_DISK = (
    "No space left on device",
    "os error 28",
    "Disk quota exceeded",
    "os error 122",
    "not enough space on the disk",
    "os error 112",
    "PytorchStreamWriter failed writing",
    "unexpected pos ",
    "iostream error",
)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _FULL_DISK)


class LossyOutput:
    """A stream that drops output while the disk is full, so that printing never ends a training."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _ignoring_full_disk():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _ignoring_full_disk():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _ignoring_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise


def write_lora(
    target: Path, write: Callable[[Path], None], wait: Callable[[Exception], bool] = lambda error: False
) -> None:
    """Write a LoRA; its file appears only once it is complete.

    Args:
        target: the LoRA's file. Until it is complete, the file has another name, which begins with a dot.
        write: writes the LoRA to the path that it receives.
        wait: called when the disk is full; returns whether to try again.
    """
    unfinished = target.with_name(f".{target.stem}.part.safetensors")
    while True:
        try:
            try:
                write(unfinished)
                with unfinished.open("rb+") as complete:
                    os.fsync(complete.fileno())
                rename_over(unfinished, target)
                return
            finally:
                unfinished.unlink(missing_ok=True)
        except Exception as error:
            if not (is_full_disk(error) and wait(error)):
                raise


def keep_state(unfinished: Path, state: Path) -> None:
    """Move a complete state to its final name and remove the earlier ones."""
    shutil.rmtree(state, ignore_errors=True)
    rename_over(unfinished, state)
    for old in state.parent.iterdir():
        if old.name != state.name:
            shutil.rmtree(old, ignore_errors=True)
