"""Add a generated set to a dataset's folder, in the form that Build Dataset reads."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..dataset.images import SUFFIXES
from ..dataset.listing import is_litter, list_folder
from ..errors import SetError, explain_write_errors
from ..files import names
from ..files.atomic import rename_new

CAPTION = "caption.txt"
MOST_LISTED = 500
_ESCAPED = re.compile(r"\\([()])")


@dataclass(frozen=True, slots=True)
class Addition:
    """
    Attributes:
        name: of the set's folder.
        count: number of sets in the dataset's folder now.
        is_new: False if the same set was already there.
    """

    name: str
    count: int
    is_new: bool


def training_caption(caption: str) -> str:
    """A caption for training, without the escapes that ComfyUI needs: ``(`` for ``\\(``."""
    return _ESCAPED.sub(r"\1", caption)


def count_sets(folder: Path) -> int:
    """Number of folders with pictures directly in a folder."""
    return len(_sets(folder))


def add_set(folder: Path, name: str, panels: Sequence[bytes], caption: str) -> Addition:
    """Write a set's panels and caption into a folder of their own. Nothing is overwritten.

    The set appears in one step: it is written under a name that Build Dataset ignores, then renamed.

    Args:
        folder: of the sets; created if it is missing.
        name: of the set; gets a number if another set has it.
        panels: the panels' PNG files, in reading order.
        caption: the joint caption, as ComfyUI read it.

    Raises:
        SetError: if there is no caption, the folder's sets have another form or number of panels, or it cannot be written.
    """
    text = training_caption(caption).strip()
    if not text:
        raise SetError(
            "The prompt in this set does not contain its caption, and a dataset needs one. Make the set with Joint Caption, or "
            "write the caption into the text field of CLIP Text Encode."
        )
    files = {**{f"{number}.png": data for number, data in enumerate(panels, 1)}, CAPTION: (text + "\n").encode()}
    with explain_write_errors(folder, SetError):
        folder.mkdir(parents=True, exist_ok=True)
        sets = _checked(folder, len(panels))
        for each in sets:
            if _holds(each, files):
                return Addition(each.name, len(sets), is_new=False)
        made = _write(folder, _stem(name), files)
        return Addition(made.name, count_sets(folder), is_new=True)


def _checked(folder: Path, panels: int) -> list[Path]:
    """The sets of the folder.

    Raises:
        SetError: if a new set would not fit with them.
    """
    if list_folder(folder, folder).images:
        raise SetError(
            f"The pictures in {folder.name} are not in one folder per set, but the gallery saves each set in a folder of its "
            "own. Choose another folder."
        )
    sets = _sets(folder)
    for each in sets:
        count = len(list_folder(each, folder).images)
        if count != panels:
            raise SetError(
                f"This set has {panels} panels, but the sets in {folder.name} have a different number ({count} in "
                f"{each.name}). Choose another folder."
            )
    return sets


def _sets(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(Path(each.path) for each in entries if each.is_dir() and not is_litter(each.name))
    except OSError:
        return []
    return [each for each in found if _has_pictures(each)]


def _has_pictures(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(os.path.splitext(each.name)[1].lower() in SUFFIXES for each in entries)
    except OSError:
        return False


def _holds(folder: Path, files: dict[str, bytes]) -> bool:
    """Whether a folder holds the same set: the same caption and the same files of panels."""
    try:
        if (folder / CAPTION).read_bytes().strip() != files[CAPTION].strip():
            return False
        return all((folder / name).read_bytes() == data for name, data in files.items() if name != CAPTION)
    except OSError:
        return False


def _write(folder: Path, stem: str, files: dict[str, bytes]) -> Path:
    temporary = folder / f".{stem[:40]}-{secrets.token_hex(8)}.part"
    temporary.mkdir()
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        return _publish(temporary, folder, stem)
    finally:
        with suppress(OSError):
            if temporary.exists():
                shutil.rmtree(temporary)


def _publish(temporary: Path, folder: Path, stem: str) -> Path:
    """Give the folder the first free name, even if others take names at the same time."""
    for name in names.numbered(stem):
        target = folder / name
        if not target.exists():
            try:
                rename_new(temporary, target)
                return target
            except OSError:
                if not target.exists():
                    raise
    raise AssertionError("the names never end")


def _stem(name: str) -> str:
    stem = names.as_stem(name, 80) or "set"
    return f"set-{stem}" if names.problem(stem) else stem
