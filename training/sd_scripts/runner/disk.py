"""Files that are complete or absent, and recognising a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# torch and safetensors use words of their own, Windows a number of its own
_NO_SPACE = (
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


def is_no_space(error: BaseException) -> bool:
    """Whether an error means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _NO_SPACE)


class LossyOutput:
    """A stream that drops what a full disk refuses, so that printing never ends a training."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _ignoring_no_space():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _ignoring_no_space():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _ignoring_no_space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_no_space(error):
            raise


def write_lora(
    target: Path, write: Callable[[Path], None], wait: Callable[[Exception], bool] = lambda error: False
) -> None:
    """Write a LoRA so that its file is complete or absent.

    Args:
        write: writes the file at the path it receives. The name of that file begins with a dot until it is complete.
        wait: called when the disk is full; returns whether to try again.
    """
    unfinished = target.with_name(f".{target.stem}.part.safetensors")
    while True:
        try:
            try:
                write(unfinished)
                with unfinished.open("rb+") as complete:
                    os.fsync(complete.fileno())
                os.replace(unfinished, target)
                return
            finally:
                unfinished.unlink(missing_ok=True)
        except Exception as error:
            if not (is_no_space(error) and wait(error)):
                raise


def keep_state(unfinished: Path, state: Path) -> None:
    """Give a complete state its name, and remove earlier ones."""
    shutil.rmtree(state, ignore_errors=True)
    os.replace(unfinished, state)
    for old in state.parent.iterdir():
        if old.name != state.name:
            shutil.rmtree(old, ignore_errors=True)
