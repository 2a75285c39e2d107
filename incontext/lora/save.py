"""Save LoRA files: under a new name, complete or not at all, with the recipe inside."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LoraError, explain_write_errors
from ..files import names
from ..files.atomic import flush_to_disk, temporary_file
from ..files.strict_json import shown
from .header import COPY_CHUNK, METADATA_KEY, open_lora, read_raw_header
from .recipe import Recipe, recipe_text
from .recipe_file import write_recipe

if TYPE_CHECKING:
    from torch import Tensor

ENDING = ".safetensors"


def checked_name(name: str) -> str:
    """A name for a LoRA file: relative to the folder of LoRAs, with ``/`` between folders, without its ending.

    Raises:
        LoraError: if the name would leave that folder, or cannot be used on every system.
    """
    parts = [part.strip() for part in name.strip().replace("\\", "/").split("/")]
    while parts[-1].lower().endswith(ENDING):
        parts[-1] = parts[-1][: -len(ENDING)].rstrip()
    for part in parts:
        reason = names.problem(part)
        if reason:
            raise LoraError(
                f"{shown(name)} cannot be the name of a LoRA: {reason}. Use a name such as 'storyboard' or "
                "'my-style/storyboard'; the file is saved in the output folder's 'loras'."
            )
    return "/".join(parts)


def save_new(
    folder: str | Path,
    name: str,
    tensors: Mapping[str, Tensor],
    recipe: Recipe | None,
    metadata: Mapping[str, str] | None = None,
    *,
    once: bool = False,
) -> Path:
    """Write a LoRA to ``folder``. An existing file is never touched; the new one gets the next free number.

    Args:
        folder: of LoRAs; created if it is missing.
        name: as `checked_name` takes it.
        tensors: the LoRA's state dict, on any device.
        recipe: goes into the header; None for none.
        metadata: more strings for the header.
        once: if an identical file already has the name, return that file instead of saving a copy.

    Returns:
        The file: ``name.safetensors``, else ``name_00002.safetensors`` and so on.

    Raises:
        LoraError: if `checked_name` refuses the name, there are no tensors, or the folder cannot be written.
    """
    relative = checked_name(name)
    if not tensors:
        raise LoraError("The LoRA holds no tensors. Connect the LoRA of a training that has finished.")
    not_tensors = [key for key, value in tensors.items() if not hasattr(value, "untyped_storage")]
    if not_tensors:
        raise LoraError(
            f"The LoRA's entry {not_tensors[0]!r} is not a tensor. Connect a LORA_MODEL from a training node."
        )
    remarks = {"format": "pt", **(metadata or {})}
    if recipe is not None:
        remarks[METADATA_KEY] = recipe_text(recipe)
    return _put(Path(folder), relative, lambda path: _write_tensors(path, tensors, remarks), once)


def copy_new(folder: str | Path, name: str, source: Path, recipe: Recipe | None = None) -> Path:
    """Copy a LoRA's file into ``folder``, named as in `save_new`. An identical file is not copied again.

    Args:
        recipe: replaces the recipe inside the copy; None keeps it.

    Returns:
        The copy, or the identical file.

    Raises:
        LoraError: if `checked_name` refuses the name, the source cannot be read, or the folder cannot be written.
    """

    def copy(path: Path) -> None:
        with open_lora(source) as original, path.open("rb+") as file:
            shutil.copyfileobj(original, file, COPY_CHUNK)
            flush_to_disk(file)
        if recipe is not None:
            write_recipe(path, recipe)

    return _put(Path(folder), checked_name(name), copy, once=True)


def _put(folder: Path, relative: str, write: Callable[[Path], None], once: bool) -> Path:
    """Let ``write`` fill a file, and give it the first free name.

    Args:
        once: return an identical file that already has the name instead.
    """
    base = folder / relative
    if not base.parent.resolve().is_relative_to(folder.resolve()):
        raise LoraError(f"{relative!r} leaves the folder {folder} through a link. Choose another name.")
    with explain_write_errors(base.parent, LoraError):
        base.parent.mkdir(parents=True, exist_ok=True)
    with explain_write_errors(base, LoraError), temporary_file(base) as temporary:
        write(temporary)
        for target in _candidates(base):
            if _publish(temporary, target) or (once and _are_same(temporary, target)):
                return target
    raise AssertionError("candidates never end")


def _are_same(one: Path, other: Path) -> bool:
    """Whether two LoRAs have the same content. The entries of a header may come in any order."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        try:
            (header, _), (its_header, _) = read_raw_header(first, one), read_raw_header(second, other)
            if json.loads(header) != json.loads(its_header):
                return False
        except ValueError:  # another kind of file has this name
            return False
        while chunk := first.read(COPY_CHUNK):
            if chunk != second.read(COPY_CHUNK):
                return False
    return True


def _candidates(base: Path) -> Iterator[Path]:
    yield base.with_name(f"{base.name}.safetensors")
    for number in count(2):
        yield base.with_name(f"{base.name}_{number:05}.safetensors")


def _publish(temporary: Path, target: Path) -> bool:
    """Give the finished file its name in one step; False if the name is taken."""
    try:
        os.link(temporary, target)  # unlike a rename, it fails if the name is taken
        return True
    except FileExistsError:
        return False
    except OSError:  # file systems without hard links
        if target.exists():
            return False
        os.replace(temporary, target)
        return True


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    stored: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage in seen:  # safetensors refuses tensors that share memory
            tensor = tensor.clone()
        seen.add(storage)
        stored[key] = tensor
    permissions = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(stored, str(path), metadata=metadata)
    except SafetensorError as error:  # raised when the disk is full
        raise OSError(str(error)) from error
    with path.open("rb+") as file:
        flush_to_disk(file)
    os.chmod(path, permissions)  # some versions of safetensors make a file that only its owner may read
