"""The recipe in a LoRA's header, or in a file beside it.

A recipe is written by replacing the header. Its offsets count from its end, so the tensors' bytes are copied unchanged.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import InContextError, LoraError, explain_write_errors
from ..files import strict_json
from ..files.atomic import flush_to_disk, rename_over, temporary_file
from ..files.strict_json import JsonError
from .header import (
    COPY_CHUNK,
    METADATA_KEY,
    encode_header,
    open_lora,
    parse_header,
    read_metadata,
    read_raw_header,
)
from .recipe import Recipe, recipe_text
from .tasks import recipe_for_file

SIDECARS = (".incontext.json", ".json")
_LARGEST_RECIPE = 400_000  # bytes; one of 256 panels has 40,000


class UnreadableRecipe(LoraError):
    """The file is sound, but the text stored as its recipe is not a recipe."""


def read_recipe(path: str | Path) -> Recipe | None:
    """The recipe inside the file; None if it has none.

    Raises:
        LoraError: as `read_header`; `UnreadableRecipe` if the text stored as the recipe is not one.
    """
    text = read_metadata(path).get(METADATA_KEY)
    return None if text is None else _recipe_from_text(text, f"The recipe inside {Path(path).name}")


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Put a recipe into the file's header, in place of any recipe there. Everything else in the file stays the same.

    The new file is written beside the old one and replaces it in one step, so an interruption leaves the old one whole.
    If ``path`` is a link, the file that it points to is replaced.

    Raises:
        LoraError: as `read_header`, and if the file cannot be written.
    """
    path = Path(path)
    with open_lora(path) as source:
        raw, data_start = read_raw_header(source, path)
        parse_header(raw, data_start, os.fstat(source.fileno()).st_size, path)  # refuse to copy a damaged file
        header = json.loads(raw)
        metadata = {**header.pop("__metadata__", {}), METADATA_KEY: recipe_text(recipe)}
        new_header = encode_header({"__metadata__": metadata, **header}, path)
        target = path.resolve()
        with explain_write_errors(target, LoraError), temporary_file(target) as temporary:
            with temporary.open("wb") as file:
                shutil.copymode(target, temporary)  # while there is nothing in it to read
                file.write(new_header)
                source.seek(data_start)
                shutil.copyfileobj(source, file, COPY_CHUNK)
                flush_to_disk(file)
            source.close()  # Windows does not replace an open file
            rename_over(temporary, target)


def find_recipe(path: str | Path) -> tuple[Recipe | None, str]:
    """The recipe of a LoRA: from the file, else from a file beside it, else from the table of published LoRAs.

    Returns:
        The recipe or None, and where it was found, in words. An unreadable recipe is skipped, and the words say so.

    Raises:
        LoraError: as `read_header`.
    """
    path = Path(path)
    unreadable: list[str] = []

    def found(recipe: Recipe | None, where: str) -> tuple[Recipe | None, str]:
        return recipe, " ".join([where, *unreadable])

    try:
        recipe = read_recipe(path)
    except UnreadableRecipe as error:
        recipe = None
        unreadable.append(f"({error})")
    if recipe is not None:
        return found(recipe, "the file itself")
    for sidecar in sidecars(path):
        try:
            recipe = read_sidecar(sidecar)
        except UnreadableRecipe as error:
            unreadable.append(f"({error})")
            continue
        if recipe is not None:
            return found(recipe, f"{sidecar.name} beside it")
    published = recipe_for_file(path.name)
    if published is not None:
        return found(published, f"the table of published LoRAs ({published.name})")
    return found(None, "no recipe in the file, beside it, or in the table of published LoRAs")


def sidecars(path: str | Path) -> tuple[Path, ...]:
    """The files beside a LoRA that may hold its recipe, in the order in which they are read."""
    path = Path(path)
    return tuple(path.with_name(path.stem + ending) for ending in SIDECARS)


def read_sidecar(path: str | Path) -> Recipe | None:
    """The recipe in a JSON file; None if there is no such file, or it belongs to another program.

    Raises:
        UnreadableRecipe: if the file should hold a recipe but does not.
    """
    path = Path(path)
    ours = path.name.endswith(SIDECARS[0])
    try:
        if not path.is_file():
            return None
        data = strict_json.read(path, largest=_LARGEST_RECIPE, long_integers=True)
    except (OSError, JsonError) as error:
        if ours:
            raise UnreadableRecipe(f"{path.name} cannot be read: {error}.") from error
        return None
    if isinstance(data, dict) and METADATA_KEY in data:  # what a copied header holds
        inner = data[METADATA_KEY]
        return _recipe_from_text(inner, path.name) if isinstance(inner, str) else _recipe_from(inner, path.name)
    if ours or (isinstance(data, dict) and isinstance(data.get("layout"), dict)):
        return _recipe_from(data, path.name)
    return None


def _recipe_from_text(text: str, where: str) -> Recipe:
    try:
        data = strict_json.parse(text, largest=_LARGEST_RECIPE, long_integers=True)
    except JsonError as error:
        raise UnreadableRecipe(f"{where} cannot be read: {error}.") from error
    return _recipe_from(data, where)


def _recipe_from(data: Any, where: str) -> Recipe:
    try:
        return Recipe.from_json(data)
    except InContextError as error:
        raise UnreadableRecipe(f"{where} cannot be read: {error}") from error
