"""What set_routes.py answers about finished sets. Loaded with the first question."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ...incontext.captions import joint
from ...incontext.errors import InContextError, SetError, explain_write_errors
from ...incontext.files import names, strict_json
from ...incontext.files.atomic import write_atomic
from ...incontext.lora import tasks
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import find_recipe
from ...incontext.sets import add, crops
from ...incontext.sets.gather import MadeSet, Picture
from ...incontext.sets.index import PROMPT, Index, Key
from ...incontext.sets.origin import Kind, wiring_json
from ...incontext.sets.png import UnreadablePng, read_header
from ...training.give_way import give_way
from .. import host
from .routes import Json
from .subfolder import subfolder

PAGE = 24
MOST = 200
READING = 0.7  # seconds that one answer may read files; the page asks again for the rest
THUMBNAIL = 384  # pixels of a panel's longer side
WORKFLOW = "workflow"
MOST_FOLDERS = 500
_OF_COMFYUI = frozenset({"clipspace", "3d", "pasted"})  # ComfyUI's own folders in the input folder


def sets(text: str, after: str, limit: int) -> Json:
    """A page of the sets.

    Args:
        text: words that a set's caption, LoRAs, task, file or seed must hold, in any case; empty for all sets.
        after: id of the last set of the page before; empty for the first page.
        limit: how many at most.
    """
    told = _look(READING)
    found = _index.sets
    words = text.casefold().split()
    if words:
        found = [made for made in give_way(found) if _matches(made, words)]
    start = next((place for place, made in enumerate(found, 1) if made.id == after), 0) if after else 0
    page = found[start : start + max(1, min(limit, MOST))]
    return {
        "sets": [_shown(made, told) for made in page],
        "more": start + len(page) < len(found),
        "total": len(found),
        "unread": _index.unread,
        "bare": _index.bare,
    }


def one_set(set_id: str) -> Json:
    return {"set": _shown(find(set_id), dict(_told()))}


def find(set_id: str) -> MadeSet:
    """
    Raises:
        SetError: if there is none any more.
    """
    made = _index.find(set_id)
    if made is None:
        _look(None)  # ComfyUI was started again since the page was loaded
        made = _index.find(set_id)
    if made is None:
        raise SetError("There is no such set any more: its pictures were deleted or moved. Reload the gallery.")
    return made


def panel(set_id: str, number: str) -> bytes:
    """
    Raises:
        SetError: if there is no such panel.
    """
    made = find(set_id)
    thumbnails = _thumbnails(made.id, made.changed)
    if not number.isdecimal() or len(number) > 4 or int(number) >= len(thumbnails):
        raise SetError(f"The set has no panel {number[:20]!r}. Reload the gallery.")
    picture = thumbnails[int(number)]
    if picture is None:
        raise SetError(f"Panel {int(number) + 1} of this set was not saved.")
    return picture


@lru_cache(maxsize=64)  # the panels of a set are asked for one after the other
def _thumbnails(set_id: str, changed: int) -> tuple[bytes | None, ...]:
    pictures = crops.panel_pictures(host.picture_folders(), find(set_id))
    return tuple(None if picture is None else crops.thumbnail(picture, THUMBNAIL) for picture in pictures)


def workflow(set_id: str) -> Json:
    """The workflow and the prompt that are inside the set's first picture, as they are stored there.

    Raises:
        SetError: if the picture is gone, or holds neither.
    """
    made = find(set_id)
    path = crops.path_of(host.picture_folders(), made.first)
    try:
        texts = read_header(path, (WORKFLOW, PROMPT)).texts
    except (OSError, UnreadablePng) as error:
        raise SetError(f"The workflow in {path.name} cannot be read: {error}.") from error
    if not texts:
        raise SetError(
            f"{path.name} holds no workflow: another program saved it, or ComfyUI was started with --disable-metadata."
        )
    return {"workflow": texts.get(WORKFLOW), "prompt": texts.get(PROMPT), "name": path.stem}


def reference(set_id: str, number: Any) -> Json:
    """Put a panel, or the whole canvas, into ComfyUI's input folder; the same picture is there only once.

    Raises:
        SetError: if there is no such panel, or the folder cannot be written.
    """
    made = find(set_id)
    roots = host.picture_folders()
    is_panel = isinstance(number, int) and not isinstance(number, bool)
    picture = crops.panel_picture(roots, made, number) if is_panel else crops.canvas_picture(roots, made)
    part = _panel_names(made)[number] if is_panel and made.panels else "set"
    data = crops.png_bytes(picture)
    ending = f"-{blake2b(data, digest_size=8).hexdigest()}.png"
    folder = host.input_folder()
    with explain_write_errors(folder, SetError):
        folder.mkdir(parents=True, exist_ok=True)
        same = (each.name for each in sorted(folder.glob(f"*{ending}")) if each.read_bytes() == data)
        name = next(same, None)
        if name is None:
            stem = names.as_stem(f"{Path(made.first.name).stem}-{part}", 100)
            # a file with this content's digest but other content was changed by somebody, and stays
            tried = (each + ending for each in names.numbered(stem))
            name = next(each for each in tried if not (folder / each).exists())
            write_atomic(folder / name, data)
    return {"name": name, "width": picture.width, "height": picture.height}


def add_to_dataset(set_id: str, name: str) -> Json:
    """Write a set into a folder that Build Dataset reads.

    Raises:
        SetError: if the set or the folder cannot be used.
    """
    made = find(set_id)
    folder = _folder(name.strip())
    if not made.panels:
        raise SetError("This is a single picture, and the panels in it are not known. Add a set that has panels.")
    roots = host.picture_folders()
    panels = []
    for index, picture in enumerate(crops.panel_pictures(roots, made)):
        if picture is None:
            raise crops.not_saved(index)
        panels.append(crops.png_bytes(picture))
    added = add.add_set(folder, Path(made.first.name).stem, panels, made.origin.caption)
    return {"folder": folder.name, "set": added.name, "count": added.count, "is_new": added.is_new}


def folders() -> Json:
    """Folders that hold sets, or nothing: where Build Dataset finds them by their name."""
    found: dict[str, int] = {}
    for root in _dataset_roots():
        try:
            inner = sorted(each for each in root.iterdir() if each.is_dir() and not each.is_symlink())
        except OSError:
            continue
        for folder in inner[:MOST_FOLDERS]:
            if folder.name not in _OF_COMFYUI and not names.problem(folder.name):
                found.setdefault(folder.name, add.count_sets(folder))
    return {"folders": [{"name": name, "count": count} for name, count in sorted(found.items())]}


def _dataset_roots() -> tuple[Path, ...]:
    own = host.workflow_folders()
    return (own[0], *own[2:])  # not the output folder


def _folder(name: str) -> Path:
    """The folder of this name where Build Dataset looks for it; a new one is in the input folder.

    Raises:
        SetError: if it cannot be the name of a folder there.
    """
    if problem := names.problem(name):
        raise SetError(f"{name[:80]!r} cannot be a folder's name: {problem}. Choose another name.")
    if name in _OF_COMFYUI:
        raise SetError(f"ComfyUI itself uses the folder {name!r}. Choose another name.")
    for root in _dataset_roots():
        folder = subfolder(root, name)
        if folder is None:
            raise SetError(f"The folder {name!r} is a link to another place. Choose another name.")
        if folder.is_dir():
            return folder
    return _dataset_roots()[0] / name


# --- the list -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _recipe_in(path: Path, stamp: str) -> Recipe | None:
    return find_recipe(path)[0]


def _lora_recipe(name: str) -> Recipe | None:
    """A LoRA's recipe; that of a published LoRA is known by its name alone."""
    try:
        path = host.lora_path(name)
        return _recipe_in(path, host.file_stamp(path))
    except (InContextError, OSError, ValueError):
        return tasks.recipe_for_file(name)


_index = Index(_lora_recipe, give_way)


def _look(seconds: float | None) -> dict[Key, tuple[str, Json]]:
    """Look for new pictures; returns what ComfyUI's history tells of all."""
    told = dict(_told())
    savers = {key: node_id for key, (node_id, _) in told.items()}
    _index.update(host.picture_folders(), savers.get, seconds)
    return told


def _told() -> Iterator[tuple[Key, tuple[str, Json]]]:
    """What ComfyUI's history tells of a file: the node that saved it, and all outputs of that prompt."""
    for outputs in host.finished_outputs():
        for node_id, shown in outputs.items():
            for image in shown.get("images") or () if isinstance(shown, dict) else ():
                if isinstance(image, dict) and "filename" in image:
                    folder = str(image.get("subfolder", "")).replace("\\", "/")
                    yield (str(image.get("type")), folder, str(image["filename"])), (node_id, outputs)


def _matches(made: MadeSet, words: list[str]) -> bool:
    origin = made.origin
    recipe = (origin.recipe.name, origin.recipe.title) if origin.recipe is not None else ()
    parts = (made.first.path, origin.caption, origin.model, *recipe, *(lora.name for lora in origin.loras))
    text = " ".join((*parts, "" if origin.seed is None else str(origin.seed))).casefold()
    return all(word in text for word in words)


def _shown(made: MadeSet, told: dict[Key, tuple[str, Json]]) -> Json:
    origin, first = made.origin, made.first
    recipe, layout = origin.recipe, origin.layout if made.panels else None
    return {
        "id": made.id,
        "name": Path(first.name).stem,
        "time": made.changed / 1e9,
        "stamp": str(made.changed),
        "is_new": first.root == "temp" or made.changed >= host.STARTED,
        "kind": (origin.kind if made.panels else Kind.PICTURE).value,
        "layout": {"width": layout.width, "height": layout.height} if layout is not None else _size(first),
        "picture": _file(made.canvas),
        "panels": _panels(made),
        "caption": origin.caption,
        "marks": _marks(recipe, origin.caption),
        "summary": origin.parts.summary if origin.parts is not None else "",
        "recipe": {"name": recipe.name, "title": recipe.title} if recipe is not None else None,
        "seed": None if origin.seed is None else str(origin.seed),  # 64 bits, more than JavaScript counts
        "number": made.number,
        "loras": [{"name": lora.name, "strength": lora.strength} for lora in origin.loras],
        "model": origin.model,
        "scores": _scores(made, told),
        "wiring": wiring_json(origin.wiring),
    }


def _size(picture: Picture) -> Json:
    return {"width": picture.width, "height": picture.height}


def _panels(made: MadeSet) -> list[Json]:
    origin, layout = made.origin, made.origin.layout
    if layout is None or not made.panels:
        box = [0, 0, made.first.width, made.first.height]
        return [{"name": "", "marker": "", "box": box, "text": "", "is_reference": False, "is_there": True}]
    texts = origin.parts.panels if origin.parts is not None else ("",) * len(layout)
    markers = origin.recipe.markers if origin.recipe is not None else ("",) * len(layout)
    given = origin.given or (False,) * len(layout)
    return [
        {
            "name": layout.names[index],
            "marker": markers[index],
            "box": [box.left, box.top, box.width, box.height],
            "text": texts[index],
            # panels that a repaint kept were painted too
            "is_reference": given[index] and any(panel == index for panel, _ in origin.references),
            "is_there": made.canvas is not None or made.panels[index] is not None,
        }
        for index, box in enumerate(layout.boxes)
    ]


def _panel_names(made: MadeSet) -> tuple[str, ...]:
    return made.origin.layout.names if made.origin.layout is not None else ()


def _file(picture: Picture | None) -> Json | None:
    """As ComfyUI's ``/view`` takes it."""
    if picture is None:
        return None
    return {"filename": picture.name, "subfolder": picture.subfolder, "type": picture.root}


def _marks(recipe: Recipe | None, caption: str) -> list[list[int]]:
    try:
        return [list(mark) for mark in joint.marks(recipe, caption)] if recipe is not None and caption else []
    except InContextError:
        return []


def _scores(made: MadeSet, told: dict[Key, tuple[str, Json]]) -> list[Json]:
    """What Score Set said about this set, as long as ComfyUI remembers the prompt; otherwise nothing."""
    pictures = [picture for picture in (made.canvas, *made.panels) if picture is not None]
    found: list[Json] = []
    for picture in pictures:
        _, outputs = told.get((picture.root, picture.subfolder, picture.name), ("", {}))
        for scorer in made.origin.scorers:
            values = (outputs.get(scorer) or {}).get("incontext_scores") or []
            if made.number < len(values) and values[made.number] not in found and _is_json(values[made.number]):
                found.append(values[made.number])
        if found:
            break
    return found


def _is_json(value: Any) -> bool:
    """Whether a page can read it: an encoder that overflows gives NaN, which is not JSON."""
    try:
        strict_json.check(value)
    except strict_json.JsonError:
        return False
    return True
