"""The state of a training on disk, from which it resumes exactly: `<run>/state/step000250/`.

progress.json         the step, and the state with a name in place of each tensor
tensors.safetensors   the tensors by these names

Both are plain data; unlike a pickle, they cannot contain code.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import rename_over

STATE = "state"
PROGRESS, TENSORS = "progress.json", "tensors.safetensors"
VERSION = 1
_MOST = 2_000_000  # values: names of layers, and indices of the sets left in a round


def save(run: Path, state: Mapping[str, Any]) -> Path:
    """Save a state (`Learner.state`), complete or not at all, and remove the previous one.

    Args:
        run: the run's folder.

    Returns:
        The state's folder.

    Raises:
        TrainingError: if it cannot be written; the previous state is kept.
    """
    target = run / STATE / f"step{state['step']:06d}"
    unfinished = target.with_name(f".{target.name}.part")
    tensors: dict[str, Tensor] = {}
    with explain_write_errors(target, TrainingError):
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            progress = {"version": VERSION, "step": state["step"], "state": _described(state, tensors)}
            save_file(tensors, unfinished / TENSORS)
            (unfinished / PROGRESS).write_text(json.dumps(progress, allow_nan=False), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            rename_over(unfinished, target)
        except SafetensorError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise OSError(str(error)) from error
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    for other in (run / STATE).iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def latest(run: Path) -> Path | None:
    """The folder of a run's newest complete state; None if it has none."""
    return max((run / STATE).glob("step*"), default=None)


def remove(run: Path) -> None:
    """Remove a run's state. It is several times as large as the LoRA, and a finished run does not need it."""
    with suppress(OSError):
        shutil.rmtree(run / STATE)


def load(folder: Path | None) -> dict[str, Any]:
    """The state in a folder.

    Raises:
        TrainingError: if there is none, or it is damaged.
    """
    if folder is None:
        raise TrainingError(
            "The run has no saved state to resume from. Start it again, or continue its last checkpoint in a new training."
        )
    try:
        progress = strict_json.read_object(folder / PROGRESS, largest=64 << 20, most=_MOST)
        if strict_json.field(progress, "version", int) > VERSION:
            raise ValueError("a newer version of the pack wrote it")
        state = _restored(progress["state"], load_file(folder / TENSORS))
        if not isinstance(state, dict) or state.get("step") != strict_json.field(progress, "step", int):
            raise ValueError("it does not hold a state")
        return state
    except (OSError, SafetensorError, strict_json.JsonError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"The saved state {folder} cannot be used: {error}. Continue its last checkpoint in a new training instead."
        ) from error


def _described(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value in a form that JSON stores exactly. Its tensors are moved to ``tensors``, under numbers as names."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _described(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_described(part, tensors) for part in value]}
    if isinstance(value, float) and not math.isfinite(
        value
    ):  # JSON has no such number; Prodigy's growth rate is infinite
        return {"float": str(value)}
    return value


def _restored(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_described`."""
    match value:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"float": str(text)}:
            return float(text)
        case {"dict": list(parts)}:
            return {key: _restored(part, tensors) for key, part in parts}
        case {"list": list(parts)}:
            return [_restored(part, tensors) for part in parts]
        case {"tuple": list(parts)}:
            return tuple(_restored(part, tensors) for part in parts)
        case dict() | list():
            raise ValueError("it holds values of an unknown kind")
    return value
