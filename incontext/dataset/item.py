"""One set → its item: read, judge, compose, write, or take over from the build before."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError, PanelError
from ..files.strict_json import shown
from ..lora.recipe import Recipe
from . import canvas, captions, images, manifest
from .canvas import Canvas
from .files import write_atomic
from .images import Picture, UnreadableImage
from .manifest import Item, SourceImage
from .options import BuildOptions, Shape
from .report import Finding, Level
from .scan import SetFiles

FORMAT = 1  # counts up when the same sources would give other bytes

_REPORT = "ComfyUI's log says where; please report it."
_COMPRESSION = 3  # of PNG: near the smallest files, at a fraction of the time
_REDUNDANCY = 2  # source pixels for each pixel of the canvas, in both directions, that are worth resampling from

log = logging.getLogger("incontext_lora")

Counters = Mapping[str, Callable[[str], int]]


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all sets of a build.

    Attributes:
        source: the folder that is read.
        folder: the dataset's.
        shape: how the sets are stored.
        counters: encoder → function that counts a caption's tokens.
        earlier: the items of the build before, by id.
    """

    source: Path
    folder: Path
    recipe: Recipe
    options: BuildOptions
    shape: Shape
    counters: Counters
    earlier: Mapping[str, Item]

    @property
    def images_a_set(self) -> int:
        return 1 if self.shape is Shape.COMPOSITES else len(self.recipe.layout)

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.source).as_posix() if path.is_relative_to(self.source) else path.name


@dataclass(slots=True)
class Ledger:
    """What is known so far, across sets. It holds no pixels.

    Attributes:
        by_sources, by_pixels: what the sets show → name of the first set that shows it.
        coarse: encoder → how many captions it reads only in part, where another encoder reads all.
        written: items that are new or changed.
    """

    by_sources: dict[tuple[str, ...], str] = field(default_factory=dict)
    by_pixels: dict[str, str] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    coarse: Counter[str] = field(default_factory=Counter)
    written: int = 0


class _LeftOut(Exception):
    """Ends the work on one set; the findings say why."""


@dataclass(frozen=True, slots=True)
class _Findings:
    """Collects what there is to say about one set."""

    set: str
    found: list[Finding]

    def add(self, level: Level, problem: str, remedy: str = "", file: str = "") -> None:
        self.found.append(Finding(level, problem, remedy, self.set, file))

    def leave_out(self, problem: str, remedy: str = "") -> _LeftOut:
        self.add(Level.ERROR, problem, remedy)
        return _LeftOut()


def add_set(files: SetFiles, job: Job, ledger: Ledger) -> None:
    """Build one set, or find out why it cannot be; either goes into the ledger.

    Raises:
        DatasetError: if the dataset's folder cannot be written.
    """
    findings = _Findings(files.name, list(files.findings))
    try:
        ledger.items.append(_item(files, job, ledger, findings))
    except _LeftOut:
        pass
    except (DatasetError, MemoryError):  # of the folder or the machine, not of this set
        raise
    except Exception as error:  # what nobody has foreseen about one set must not cost the others
        log.exception("The set %r could not be built", files.name)
        findings.add(
            Level.ERROR, f"The set could not be built ({type(error).__name__}: {shown(str(error), 200)}).", _REPORT
        )
    ledger.findings += findings.found


def _item(files: SetFiles, job: Job, ledger: Ledger, findings: _Findings) -> Item:
    if any(finding.level is Level.ERROR for finding in findings.found):
        raise _LeftOut
    if len(files.images) != job.images_a_set:
        count = f"{len(files.images)} image{'s' * (len(files.images) != 1)}"
        raise findings.leave_out(
            f"The set has {count}; the recipe {job.recipe.name} has {job.images_a_set} panels.",
            "Add or remove images, or choose a recipe with as many panels.",
        )
    composed = captions.compose(files, job.recipe, job.shape, job.options.references, job.name_of)
    findings.found.extend(composed.findings)
    names = [job.name_of(path) for path in files.images]
    contents = [_read(path, name, findings) for path, name in zip(files.images, names, strict=True)]
    data = [content for content in contents if content is not None]
    if composed.caption is None or len(data) < len(contents):
        # the images that are there are looked at all the same, so that one report names all that is wrong
        _pictures(contents, names, job, findings)
        raise _LeftOut
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in data)
    _refuse_twin(ledger.by_sources.get(hashes), findings)
    measured = captions.measure(composed.caption, job.counters)
    identity = identify(composed.caption, hashes, job)
    known = job.earlier.get(identity)
    if known and _is_whole(known, job.folder):
        _refuse_twin(ledger.by_pixels.get(known.pixels), findings)
        sources = tuple(replace(source, file=name) for source, name in zip(known.sources, names, strict=True))
        item = replace(known, set=files.name, sources=sources)
    else:
        pictures = _pictures(contents, names, job, findings)
        composite = _composite(pictures, job, findings)
        pixels = hashlib.sha256(composite.pixels.tobytes()).hexdigest()
        _refuse_twin(ledger.by_pixels.get(pixels), findings)
        sources = tuple(
            SourceImage(name, digest, picture.width, picture.height)
            for name, digest, picture in zip(names, hashes, pictures, strict=True)
        )
        converted = [replace(note, image=index) for index, picture in enumerate(pictures) for note in picture.remarks]
        item = _write(
            Item(
                id=identity,
                set=files.name,
                caption=composed.caption,
                sources=sources,
                size=0,
                pixels=pixels,
                masked=bool(job.options.references),
                remarks=(*converted, *composite.remarks),
            ),
            composite.pixels,
            job,
        )
        ledger.written += 1
    ledger.by_sources[hashes] = ledger.by_pixels[item.pixels] = files.name
    if len(set(hashes)) < len(hashes):
        findings.add(Level.WARNING, "Two panels are the same file.", "Give each panel an image of its own.")
    for remark in item.remarks:
        findings.add(remark.level, remark.problem, remark.remedy, names[remark.image])
    for problem in measured.problems:
        findings.add(Level.WARNING, problem, "Shorten it.")
    ledger.coarse.update(measured.coarse)
    return replace(item, tokens=measured.tokens)


def identify(caption: str, hashes: Sequence[str], job: Job) -> str:
    """An id for everything that determines an item's bytes: sources, caption, layout, options, this code."""
    layout, options = job.recipe.layout, job.options
    content = {
        "format": FORMAT,
        "canvas": [layout.width, layout.height],
        "boxes": [[box.left, box.top, box.width, box.height] for box in layout.boxes],
        "caption": caption,
        "sources": list(hashes),
        "fit": options.fit.value,
        "align": options.align.value,
        "padding": list(options.padding),
        "gutter": list(options.gutter),
        "references": list(options.references),
        "composite": options.composite.value if job.shape is Shape.COMPOSITES else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _refuse_twin(twin: str | None, findings: _Findings) -> None:
    if twin is not None:
        raise findings.leave_out(
            f"The set shows the same images as {twin}.", "Remove one of them; a set that counts twice is memorised."
        )


def _read(path: Path, name: str, findings: _Findings) -> bytes | None:
    try:
        size = path.stat().st_size
        if size <= images.LARGEST_FILE:
            return path.read_bytes()
        problem, remedy = f"The file has {size >> 20} MB.", f"Reduce it to less than {images.LARGEST_FILE >> 20} MB."
    except OSError as error:
        problem, remedy = f"The image cannot be read: {error.strerror or error}.", "Allow reading it."
    findings.add(Level.ERROR, problem, remedy, name)
    return None


def _pictures(contents: Sequence[bytes | None], names: Sequence[str], job: Job, findings: _Findings) -> list[Picture]:
    """Decode a set's images; all are looked at before a bad one ends the work."""
    pictures, complete = [], True
    for index, (content, name) in enumerate(zip(contents, names, strict=True)):
        if content is None:
            continue
        target = job.recipe.layout if job.shape is Shape.COMPOSITES else job.recipe.layout.boxes[index]
        enough = (_REDUNDANCY * target.width, _REDUNDANCY * target.height)
        try:
            pictures.append(images.decode(content, job.options.padding, enough))
        except UnreadableImage as error:
            findings.add(Level.ERROR, error.problem, error.remedy, name)
            complete = False
    if not complete:
        raise _LeftOut
    return pictures


def _composite(pictures: Sequence[Picture], job: Job, findings: _Findings) -> Canvas:
    try:
        if job.shape is Shape.COMPOSITES:
            return canvas.from_composite(job.recipe.layout, pictures[0], job.options)
        return canvas.from_panels(job.recipe.layout, pictures, job.options)
    except PanelError as error:
        raise findings.leave_out(str(error)) from None


def _is_whole(item: Item, folder: Path) -> bool:
    """Whether the files of an earlier item are there as they were written."""
    image, text = folder / manifest.ITEMS / f"{item.id}.png", folder / manifest.ITEMS / f"{item.id}.txt"
    try:
        if image.stat().st_size != item.size or text.read_bytes() != item.caption.encode():
            return False
        return not item.masked or (folder / manifest.MASKS / f"{item.id}.png").stat().st_size > 0
    except OSError:
        return False


def _write(item: Item, pixels: np.ndarray, job: Job) -> Item:
    data = _png(pixels)
    if item.masked:
        mask = canvas.mask(job.recipe.layout, job.options.references)
        write_atomic(job.folder / manifest.MASKS / f"{item.id}.png", _png(mask))
    write_atomic(job.folder / manifest.ITEMS / f"{item.id}.png", data)
    write_atomic(job.folder / manifest.ITEMS / f"{item.id}.txt", item.caption.encode())
    return replace(item, size=len(data))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
