"""An index of the pictures in ComfyUI's folders. Each file is read once, only its header, newest files first."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from .gather import MadeSet, Picture, gather
from .origin import Origin, origin_of, saver_of
from .png import UnreadablePng, read_header
from .prompt import Link, Prompt, PromptError
from .recipes import LoraRecipe

PROMPT = "prompt"
MOST_FILES = 100_000
DEEPEST = 12  # levels of folders
OTHER_FORMATS = (".jpg", ".jpeg", ".webp", ".avif", ".gif")
# the pack's own folders in the output folder; their pictures are not sets for the gallery
OWN_FOLDERS = frozenset({"incontext_datasets", "incontext_runs", "incontext_comparisons"})
_MOST_ORIGINS = 20_000

Key = tuple[str, str, str]
"""Root, subfolder and name of a file."""
SaverOf = Callable[[Key], str | None]
"""File → id of the node that saved it; None if ComfyUI no longer knows it."""


@dataclass(frozen=True, slots=True)
class _FileEntry:
    """What is known about a file.

    Attributes:
        stamp: its time (ns) and size (bytes) when it was read.
        picture: None if it does not belong to a set.
        has_prompt: whether it contains a prompt.
    """

    stamp: tuple[int, int]
    picture: Picture | None = None
    has_prompt: bool = False


class Index:
    """The sets in some folders.

    Args:
        lora_recipe: finds the recipe of a LoRA by its name.
        pace: wraps long loops so that other threads get their turn.
    """

    def __init__(self, lora_recipe: LoraRecipe, pace: Callable[[Iterable[Key]], Iterator[Key]] = iter) -> None:
        self._lora_recipe = lora_recipe
        self._pace = pace
        self._read: dict[Key, _FileEntry] = {}
        self._origins: dict[tuple[str, Link, tuple[int, int]], Origin | None] = {}
        self._last = "", Prompt({})
        self._lock = threading.Lock()
        self._sets: list[MadeSet] = []
        self._by_id: dict[str, MadeSet] = {}
        self.unread = 0
        """Number of files that are still to be read."""
        self.bare = 0
        """Number of saved pictures without a prompt."""

    @property
    def sets(self) -> list[MadeSet]:
        """All sets, newest first. Do not change the list."""
        return self._sets

    def find(self, set_id: str) -> MadeSet | None:
        """The set with this id; None if there is none."""
        return self._by_id.get(set_id)

    def update(
        self, roots: Mapping[str, Path], saver: SaverOf = lambda key: None, seconds: float | None = None
    ) -> None:
        """Look for new, changed and deleted pictures.

        Args:
            roots: folders by name, including their subfolders.
            saver: finds the node that saved a file.
            seconds: time after which reading stops, newest files first; None reads all.
        """
        with self._lock:
            files = dict(_walk(roots))
            gone = self._read.keys() - files.keys()
            for key in gone:
                del self._read[key]
            new = [key for key, stamp in files.items() if key not in self._read or self._read[key].stamp != stamp]
            new.sort(key=lambda key: files[key], reverse=True)
            until = time.monotonic() + seconds if seconds is not None else None
            done = 0
            for key in self._pace(new):
                if until is not None and time.monotonic() > until:
                    break
                self._read[key] = self._look(roots[key[0]], key, files[key], saver)
                done += 1
            self.unread = len(new) - done
            if done or gone:
                self._gather()

    def _gather(self) -> None:
        self._sets = gather(read.picture for read in self._read.values() if read.picture is not None)
        self._by_id = {made.id: made for made in self._sets}
        # previews, in ComfyUI's temporary folder, need no prompt
        self.bare = sum(not read.has_prompt for key, read in self._read.items() if key[0] == "output")

    def _look(self, root: Path, key: Key, stamp: tuple[int, int], saver: SaverOf) -> _FileEntry:
        _, subfolder, name = key
        if not name.lower().endswith(".png"):
            return _FileEntry(stamp)
        try:
            header = read_header(root / subfolder / name, (PROMPT,))
        except (OSError, UnreadablePng):
            return _FileEntry(stamp)
        if (text := header.texts.get(PROMPT)) is None:
            return _FileEntry(stamp)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        try:
            prompt = self._prompt(digest, text)
        except PromptError:
            return _FileEntry(stamp)
        size = header.width, header.height
        for each in saver_of(prompt, subfolder, name, saver(key)):
            origin = self._origin(prompt, digest, each.images, size)
            if origin is not None:
                return _FileEntry(stamp, Picture(*key, stamp[0], *size, digest, each.id, origin), has_prompt=True)
        return _FileEntry(stamp, has_prompt=True)

    def _prompt(self, digest: str, text: str) -> Prompt:
        """The parsed prompt. It is often the previous file's, since a set's canvas and panels are saved together."""
        if self._last[0] != digest:
            self._last = digest, Prompt.parse(text)
        return self._last[1]

    def _origin(self, prompt: Prompt, digest: str, images: Link, size: tuple[int, int]) -> Origin | None:
        key = digest, images, size
        if key not in self._origins:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            self._origins[key] = origin_of(prompt, images, self._lora_recipe, size)
        return self._origins[key]


def _walk(roots: Mapping[str, Path]) -> Iterator[tuple[Key, tuple[int, int]]]:
    """The picture files in the folders, each with its time (ns) and size (bytes). Links are not followed."""
    left = MOST_FILES
    for root, folder in roots.items():
        waiting = [(folder, "", 0)]
        while waiting and left > 0:
            here, subfolder, depth = waiting.pop()
            for entry in _entries(here):
                if entry.name.startswith(".") or (depth == 0 and entry.name in OWN_FOLDERS):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode) and depth < DEEPEST:
                    waiting.append((here / entry.name, f"{subfolder}/{entry.name}".lstrip("/"), depth + 1))
                elif stat.S_ISREG(status.st_mode) and entry.name.lower().endswith((".png", *OTHER_FORMATS)):
                    yield (root, subfolder, entry.name), (status.st_mtime_ns, status.st_size)
                    left -= 1


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # it has just been removed, or may not be read
        return []
