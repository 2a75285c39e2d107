"""LoRA files: the recipe in a safetensors header, and saving a LoRA with its recipe.

A safetensors file is eight bytes (length of the header, little endian), the header (JSON: one entry a tensor, and
``__metadata__`` with strings), then the tensors' bytes. A recipe is written by replacing the header; offsets in it
count from its end, so the tensors' bytes are copied as they are.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InContextError, LoraError
from ..files import strict_json
from ..files.atomic import flush_to_disk, rename_over, temporary_file
from ..files.strict_json import JsonError
from .header import COPY_CHUNK, METADATA_KEY, encoded, opened, parsed, raw_header, read_metadata, writing
from .recipe import Recipe, recipe_text
from .tasks import recipe_for_file

if TYPE_CHECKING:
    pass

SIDECARS = (".incontext.json", ".json")
_LARGEST_RECIPE = 400_000  # bytes; one of 256 panels has 40,000


class UnreadableRecipe(LoraError):
    """The file is sound, but the text in the recipe's place is not a recipe."""


def read_recipe(path: str | Path) -> Recipe | None:
    """The recipe inside the file; None where there is none.

    Raises:
        LoraError: as `read_header`; `UnreadableRecipe` where what stands at the recipe's place is none.
    """
    text = read_metadata(path).get(METADATA_KEY)
    return None if text is None else _recipe_from_text(text, f"The recipe inside {Path(path).name}")


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Put a recipe into the file's header, in place of any recipe there. All else in the file stays as it is.

    The new file is written beside the old one and then takes its place in one step, so an interruption leaves the old
    one whole. Where ``path`` is a link, the file that it points to is replaced.

    Raises:
        LoraError: as `read_header`, and where the folder or the file cannot be written.
    """
    path = Path(path)
    with opened(path) as source:
        raw, data_start = raw_header(source, path)
        parsed(raw, data_start, os.fstat(source.fileno()).st_size, path)  # refuse to copy what is damaged
        header = json.loads(raw)
        metadata = {**header.pop("__metadata__", {}), METADATA_KEY: recipe_text(recipe)}
        new_header = encoded({"__metadata__": metadata, **header}, path)
        target = path.resolve()
        with writing(target), temporary_file(target) as temporary:
            with temporary.open("wb") as file:
                shutil.copymode(target, temporary)  # before there is anything in it to read
                file.write(new_header)
                source.seek(data_start)
                shutil.copyfileobj(source, file, COPY_CHUNK)
                flush_to_disk(file)
            source.close()  # Windows replaces no file that is open
            rename_over(temporary, target)


def find_recipe(path: str | Path) -> tuple[Recipe | None, str]:
    """The recipe of a LoRA: inside the file, else in a file beside it, else in the table of published LoRAs.

    Returns:
        The recipe, None where there is none, and where it was found, in words. A recipe that is there but cannot be
        read is passed over, and the words say so.

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
    """Where a recipe beside the file may lie, in the order of reading."""
    path = Path(path)
    return tuple(path.with_name(path.stem + ending) for ending in SIDECARS)


def read_sidecar(path: str | Path) -> Recipe | None:
    """The recipe in a JSON file; None where there is no such file, or it is another program's.

    Raises:
        UnreadableRecipe: where the file is meant to be a recipe but is none.
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
        raise UnreadableRecipe(f"{where} is no JSON that can be used: {error}.") from error
    return _recipe_from(data, where)


def _recipe_from(data: Any, where: str) -> Recipe:
    try:
        return Recipe.from_json(data)
    except InContextError as error:
        raise UnreadableRecipe(f"{where} cannot be read: {error}") from error
