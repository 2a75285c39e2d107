"""The pack's own errors. Each message says the value, what was expected, and the remedy.

InContextError (ValueError)
├── LayoutError    a canvas or its panels do not fit together
├── PanelError     an image or mask does not fit its panel
├── CaptionError   a joint caption cannot be built or read
├── RecipeError    a recipe is unknown or unreadable
├── LoraError      a LoRA file cannot be read, or does not match the model
├── DatasetError   a folder is not a dataset, or a dataset cannot be used
├── SetError       a set that was made is gone, or cannot be used
├── TrainingError  a training cannot start or continue
└── VisionError    a vision-language model cannot be asked, or its answer cannot be used
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InContextError(ValueError):
    """Base of all errors that the pack raises for the user to read."""

    def __init_subclass__(cls) -> None:
        cls.__module__ = _SHOWN


# ComfyUI shows the module before the message; a pack's real one begins with its whole path
_SHOWN = "incontext_lora"
InContextError.__module__ = _SHOWN


class LayoutError(InContextError):
    pass


class PanelError(InContextError):
    pass


class CaptionError(InContextError):
    pass


class RecipeError(InContextError):
    pass


class LoraError(InContextError):
    pass


class DatasetError(InContextError):
    pass


class SetError(InContextError):
    pass


class TrainingError(InContextError):
    pass


class VisionError(InContextError):
    pass


@contextmanager
def explain_write_errors(place: Path, kind: type[InContextError]) -> Iterator[None]:
    """Turn an OSError within the context, such as a full disk, into an error for the user.

    Args:
        place: the file or folder to write.
        kind: the error to raise instead.
    """
    try:
        yield
    except OSError as error:
        raise kind(
            f"{place} cannot be written: {error.strerror or error}. Check its permissions and free space, that its disk is "
            "connected, and that no other program has it open."
        ) from error
