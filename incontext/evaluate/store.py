"""The folder of comparisons: one folder per comparison, and pictures by key, which all comparisons share.

incontext_comparisons/cells/<key>.png        a generated set
incontext_comparisons/cells/<key>.<id>.json  what a vision-language model answered about it
incontext_comparisons/<name>/                a comparison, see `comparison`
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..dataset.files import make_folder, write_atomic
from ..files import names, strict_json
from ..files.images import open_image
from ..tensors import as_uint8
from .choose import ChoiceError
from .comparison import FILE, KIND, TABLE, Comparison

CELLS = "cells"
_LARGEST, _MOST = 64 << 20, 4_000_000  # bytes and values of a comparison; a cell takes about 400 and 20
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Store:
    """The comparisons in a folder, which need not exist yet."""

    folder: Path

    def picture(self, key: str) -> Path:
        """The file of a picture, which need not exist.

        Raises:
            ChoiceError: if the text is not a key, since it becomes part of a path.
        """
        if not _KEY.fullmatch(key):
            raise ChoiceError(f"{strict_json.shown(key)} is not the key of a picture. Run Compare Checkpoints again.")
        return self.folder / CELLS / f"{key}.png"

    def has(self, key: str) -> bool:
        return self.picture(key).is_file()

    def save(self, key: str, picture: Tensor, about: Mapping[str, Any]) -> None:
        """Save a picture in one step.

        Args:
            picture: [height, width, 3] in 0…1.
            about: JSON values about the picture, stored in the file as text.
        """
        remarks = PngInfo()
        remarks.add_itxt("incontext_lora", json.dumps(dict(about), ensure_ascii=False))
        data = io.BytesIO()
        Image.fromarray(as_uint8(picture)).save(data, "PNG", pnginfo=remarks)
        make_folder(self.folder / CELLS)
        write_atomic(self.picture(key), data.getvalue())

    def open(self, key: str) -> Image.Image:
        """The picture in RGB.

        Raises:
            ChoiceError: if it cannot be read.
        """
        path = self.picture(key)
        try:
            with open_image(path) as image:
                return image.convert("RGB")
        except OSError as error:
            raise ChoiceError(f"{path} cannot be read: {error}. Delete it and run the comparison again.") from error

    def read(self, key: str) -> Tensor:
        """The picture as float32 [1, height, width, 3] in 0…1.

        Raises:
            ChoiceError: if it cannot be read.
        """
        return torch.from_numpy(np.asarray(self.open(key), dtype=np.float32) / 255)[None]

    def answers(self, key: str, asked: str) -> float | None:
        """The saved share of yes answers for a picture; None if it has not been asked about in this way.

        Args:
            asked: digest of the model and the questions.
        """
        path = self._answers(key, asked)
        try:
            value = strict_json.read_object(path).get("share")
        except (OSError, strict_json.JsonError):
            return None
        return float(value) if isinstance(value, int | float) else None

    def keep_answers(self, key: str, asked: str, about: Mapping[str, Any]) -> None:
        """Save the answers about a picture for `answers`; ``about`` has their ``share``."""
        write_atomic(self._answers(key, asked), json.dumps(dict(about), ensure_ascii=False).encode())

    def _answers(self, key: str, asked: str) -> Path:
        return self.picture(key).with_suffix(f".{asked[:16]}.json")

    def write(self, comparison: Comparison, grids: Mapping[str, Image.Image]) -> Path:
        """Write a comparison, in place of an earlier one with its name.

        Args:
            grids: file name → picture, with the names in the comparison.

        Returns:
            The comparison's folder.

        Raises:
            ChoiceError: if the comparison's name cannot be used.
        """
        folder = self.folder / checked_name(comparison.name)
        make_folder(folder)
        for name, grid in grids.items():
            data = io.BytesIO()
            grid.save(data, "PNG")
            write_atomic(folder / name, data.getvalue())
        write_atomic(folder / TABLE, comparison.to_csv().encode())
        text = json.dumps(comparison.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        write_atomic(folder / FILE, text.encode())
        kept = set(grids)
        for left in folder.glob("grid-*.png"):
            if left.name not in kept:
                left.unlink()
        return folder

    def of_run(self, run: str) -> Path | None:
        """The folder of the newest comparison of a run's checkpoints; None if there is none."""
        found = [path for path in self.folder.glob(f"*/{FILE}") if _run_of(path) == run]
        return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def checked_name(name: str) -> str:
    """The name, if it can be that of a comparison's folder.

    Raises:
        ChoiceError: if it cannot.
    """
    reason = names.problem(name) or (f"{CELLS!r} holds the pictures of all comparisons" if name == CELLS else "")
    if reason or "/" in name or "\\" in name:
        raise ChoiceError(
            f"{strict_json.shown(name)} cannot be the name of a comparison: {reason or 'it names a folder'}. Expected a "
            "name such as 'storyboard-2'."
        )
    return name


def read_comparison(folder: Path) -> dict[str, Any]:
    """The JSON of a comparison.

    Raises:
        ChoiceError: if the file is missing or damaged.
    """
    try:
        data = strict_json.read_object(folder / FILE, largest=_LARGEST, most=_MOST)
        if data.get("kind") != KIND:
            raise strict_json.JsonError("it is not a comparison")
    except (OSError, strict_json.JsonError) as error:
        raise ChoiceError(f"{folder / FILE} cannot be read: {error}. Run the comparison again.") from error
    return data


def _run_of(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError:  # it has just been removed
        return None
    return _known_run(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _known_run(path: Path, changed: int, size: int) -> str | None:
    """The run of a comparison. It is cached until the file changes, since pages ask every second."""
    try:
        run = strict_json.read_object(path, largest=_LARGEST, most=_MOST).get("run")
    except (OSError, strict_json.JsonError):
        return None
    return run if isinstance(run, str) else None
