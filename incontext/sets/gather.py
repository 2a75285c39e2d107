"""Group pictures on disk into sets, each with its panels.

A workflow often saves a set twice: the whole canvas, and each panel. Both contain the same prompt and come from the same
output of the same node, so they are one set here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from .origin import Kind, Link, Order, Origin

_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file with a prompt inside.

    Attributes:
        root: ``output`` or ``temp``.
        subfolder: within the root, with ``/``; empty for the root itself.
        name: of the file.
        changed: when it was written, in nanoseconds since 1970.
        width, height: in pixels.
        prompt: digest of the prompt.
        saver: id of the node that saved it.
        origin: where it came from, according to the prompt.
    """

    root: str
    subfolder: str
    name: str
    changed: int
    width: int
    height: int
    prompt: str
    saver: str
    origin: Origin

    @property
    def path(self) -> str:
        return "/".join(filter(None, (self.root, self.subfolder, self.name)))


@dataclass(frozen=True, slots=True)
class MadeSet:
    """One set.

    Attributes:
        id: from the path of its first file, so it is stable until that file is moved.
        origin: where it came from.
        canvas: the file with all panels; None if only single panels were saved.
        panels: the file of each panel; None for a panel that was not saved on its own. Empty for a single picture.
        number: position in its batch, from 0.
    """

    id: str
    origin: Origin
    canvas: Picture | None
    panels: tuple[Picture | None, ...]
    number: int = 0

    @property
    def first(self) -> Picture:
        return self.canvas or next(picture for picture in self.panels if picture is not None)

    @property
    def changed(self) -> int:
        """When its last file was written, in nanoseconds since 1970."""
        return max(picture.changed for picture in (self.canvas, *self.panels) if picture is not None)


def gather(pictures: Iterable[Picture]) -> list[MadeSet]:
    """The sets of these pictures, newest first."""
    together: dict[tuple[str, Link], list[Picture]] = defaultdict(list)
    for picture in pictures:
        together[picture.prompt, picture.origin.wiring.picture].append(picture)
    sets = [made for group in together.values() for made in _sets(group)]
    return sorted(sets, key=lambda made: (made.changed, made.id), reverse=True)


def _sets(group: Sequence[Picture]) -> list[MadeSet]:
    """The sets of pictures that show the same canvases."""
    streams = _streams(group)
    canvases = [stream for stream in streams if stream[0].origin.kind is not Kind.PANELS]
    canvases.sort(key=lambda stream: (stream[0].root != "output", -len(stream)))
    panels = [_in_sets(stream) for stream in streams if stream[0].origin.kind is Kind.PANELS]
    panels.sort(key=lambda sets: -sum(map(len, sets)))
    if canvases:
        main = canvases[0]
        fitting = [sets for sets in panels if len(sets) == len(main)]
        return [
            _made(canvas, [sets[index] for sets in fitting], index % max(1, canvas.origin.batch))
            for index, canvas in enumerate(main)
        ]
    most = max(panels, key=len)
    fitting = [sets for sets in panels if len(sets) == len(most)]
    batch = max(1, group[0].origin.batch)
    return [_made(None, [sets[index] for sets in fitting], index % batch) for index in range(len(most))]


def _streams(group: Sequence[Picture]) -> list[list[Picture]]:
    """The files of each node that saves, in the order in which it saved them."""
    found: dict[tuple[str, str, str, str], list[Picture]] = defaultdict(list)
    for picture in group:
        beginning = _NUMBER.sub("", picture.name)
        found[picture.root, picture.subfolder, beginning, picture.saver].append(picture)
    return [sorted(stream, key=lambda picture: (_number(picture.name), picture.changed)) for stream in found.values()]


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[1]) if found and len(found[1]) < 19 else 0


def _in_sets(stream: Sequence[Picture]) -> list[dict[int, Picture]]:
    """Panel → file, for each set. If files were deleted, so that panels cannot be told apart, each file is a set (panel −1)."""
    origin = stream[0].origin
    order = origin.order or Order((), by_set=False)
    count, batch = len(order.panels), origin.batch
    if count and len(stream) % (count * batch):
        batch = 1
    if not count or len(stream) % (count * batch):
        return [{-1: picture} for picture in stream]
    sets: list[dict[int, Picture]] = []
    for start in range(0, len(stream), count * batch):
        run = stream[start : start + count * batch]
        for number in range(batch):
            own = run[number * count : (number + 1) * count] if order.by_set else run[number::batch]
            sets.append(dict(zip(order.panels, own, strict=True)))
    return sets


def _made(canvas: Picture | None, panels: Sequence[dict[int, Picture]], number: int) -> MadeSet:
    found: dict[int, Picture] = {}
    for files in reversed(panels):
        found.update(files)
    first = canvas or next(iter(found.values()))
    origin = first.origin
    made_id = blake2b(first.path.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    if canvas is None and -1 in found:
        return MadeSet(made_id, origin, found[-1], (), number)
    count = len(origin.layout) if origin.layout is not None and origin.kind is not Kind.PICTURE else 0
    return MadeSet(made_id, origin, canvas, tuple(found.get(index) for index in range(count)), number)
