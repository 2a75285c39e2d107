"""The dataset as the trainer reads it: a folder for each size, named by all that its caches depend on.

The trainer stores encoded pictures and captions beside the files and asks only whether they are there, so an edited
caption would be ignored. Here the folder's name changes with the captions, pictures, encoders and settings that the
caches come from: whatever changed is encoded again, and a second training on the same data encodes nothing.

    <dataset>/training/<architecture>-<key>/1024x1536/<id>.png, <id>.txt, and the trainer's caches

Loss masks are the pictures' alpha channel. (The trainer takes masks from a second folder too, but then cannot measure on
sets that are held out.)
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from ...incontext.files.atomic import replace_atomically
from ...incontext.files.images import open_image
from .settings import Sizes

FOLDER = "training"
SMALLEST = 512  # px, side of a square of the same area
NEARLY = 0.02  # by which proportions may differ where none are equal

DAY = 24 * 3600.0
RECENT, OLD = 2 * DAY, 30 * DAY  # since the last training on it: until then it stays, from then on it goes
LARGEST = 20_000_000_000  # bytes of all that a dataset keeps for trainings that are over


@dataclass(frozen=True)
class Portion:
    """Composites of one size.

    Attributes:
        width, height: of every picture.
        images: their folder, with captions.
        masked: whether the alpha channel says where the loss counts.
        count: of pictures.
        validation: whether they are held out.
    """

    width: int
    height: int
    images: Path
    masked: bool
    count: int
    validation: bool = False


def rungs(width: int, height: int, step: int, sizes: Sizes, megapixels: float = 0.0) -> list[tuple[int, int]]:
    """Sizes with exactly these proportions whose sides are multiples of ``step``, largest first.

    Args:
        megapixels: millions of pixels that the largest may have; 0 for any number. Where no size with exactly these
            proportions is so small, as with 23:16, there is one whose proportions differ by 2 % at most.

    Raises:
        TrainingError: where the full size itself is none.
    """
    if width % step or height % step:
        raise TrainingError(
            f"The composites are {width}×{height}; this trainer needs sides that are multiples of {step}, or it would crop "
            "them. Choose a recipe with such a canvas and build the dataset again."
        )
    units = math.gcd(width // step, height // step)
    unit = (width // units, height // units)
    found = [(unit[0] * number, unit[1] * number) for number in range(units, 0, -1)]
    large = [size for size in found if size == (width, height) or size[0] * size[1] >= SMALLEST**2]
    if megapixels:
        small = [size for size in large if size[0] * size[1] <= megapixels * 1e6]
        large = small or [_nearly(width, height, step, megapixels * 1e6)]
    return large[:1] if sizes is Sizes.FULL else large


def _nearly(width: int, height: int, step: int, pixels: float) -> tuple[int, int]:
    """The largest size of so many pixels at most with nearly these proportions; else the one that comes nearest."""

    def stretch(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] * height / (size[1] * width)))

    sides = ((w, h) for w in range(step, width + 1, step) for h in range(step, height + 1, step))
    small = [size for size in sides if size[0] * size[1] <= pixels]
    close = [size for size in small if stretch(size) <= NEARLY]
    return max(close, key=math.prod) if close else min(small, key=stretch)


def key(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def folder_of(dataset: Dataset, name: str, validation_sets: int, depends_on: Sequence[str]) -> Path:
    """Where `prepare` writes."""
    ids = [item.id for item in dataset.items]
    cut = len(dataset) - validation_sets
    return dataset.folder / FOLDER / f"{name}-{key([*ids, str(cut), *depends_on])}"


def prepare(
    dataset: Dataset,
    name: str,
    sizes: Sequence[tuple[int, int]],
    validation_sets: int,
    depends_on: Sequence[str],
    go_on: Callable[[], None] = lambda: None,
) -> list[Portion]:
    """Write what is not there yet; the last sets of the dataset are those held out.

    Args:
        name: of the architecture.
        sizes: largest first.
        depends_on: all that the trainer's caches come from, besides the items.
        go_on: called between pictures; raises to stop.

    Raises:
        TrainingError: where no set is left to train on, or the disk refuses.
    """
    if len(dataset) <= validation_sets:
        raise TrainingError(
            f"The dataset has {len(dataset)} sets, {validation_sets} of which are held out for validation. Hold fewer out, "
            "or build a larger dataset."
        )
    cut = len(dataset) - validation_sets
    folder = folder_of(dataset, name, validation_sets, depends_on)
    _touch(folder)
    portions = []
    for index, (width, height) in enumerate(sizes):
        parts = [("", dataset.items[:cut])]
        if validation_sets and index == 0:  # measured at the full size only
            parts.append(("-validation", dataset.items[cut:]))
        for suffix, items in parts:
            images = folder / f"{width}x{height}{suffix}"
            for item in items:
                go_on()
                _picture(dataset.image(item), dataset.mask(item), images / f"{item.id}.png", (width, height))
                _text(item.caption, images / f"{item.id}.txt")
            masked = any(item.masked for item in items)
            portions.append(Portion(width, height, images, masked, len(items), bool(suffix)))
    return portions


@dataclass(frozen=True)
class Removal:
    """Prepared data that was removed: its folder's name, and bytes."""

    name: str
    size: int


def prune(dataset: Path, in_use: Collection[Path], now: float | None = None, largest: int = LARGEST) -> list[Removal]:
    """Remove what no training has used for long, and the longest unused of what is left where that is too large.

    It is made again when a training needs it; only the time to encode it is lost.

    Args:
        dataset: the dataset's folder.
        in_use: folders that stay whatever their age.
        now: in seconds, as file times are.
        largest: bytes that may stay.
    """
    now = time.time() if now is None else now
    resting = [path for path in (dataset / FOLDER).glob("*-*") if path.is_dir() and path not in in_use]
    removed, kept = [], 0
    for folder in sorted(resting, key=lambda path: path.stat().st_mtime, reverse=True):
        unused = now - folder.stat().st_mtime
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if unused < RECENT or (unused < OLD and kept + size <= largest):
            kept += size
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(Removal(folder.name, size))
    return removed


def _picture(source: Path, mask: Path | None, target: Path, size: tuple[int, int]) -> None:
    if target.exists():
        return
    with open_image(source) as image:
        if image.size == size and mask is None:
            _write(target, lambda path: shutil.copyfile(source, path))
            return
        picture = image.convert("RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if mask is not None:
        with open_image(mask) as counts:
            picture.putalpha(counts.convert("L").resize(size, Image.Resampling.BOX))
    _write(target, lambda path: picture.save(path, "PNG"))


def _text(caption: str, target: Path) -> None:
    if not target.exists():  # the id, and so the name, changes with the caption
        _write(target, lambda path: path.write_text(caption + "\n", encoding="utf-8"))


def _touch(folder: Path) -> None:
    """Make a folder and note when it was last used, for `prune`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written: {error.strerror or error}. Free space there, or allow writing to it."
        ) from error


def _write(target: Path, write: Callable[[Path], object]) -> None:
    """Have the file whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(target, write)
    except OSError as error:
        raise TrainingError(
            f"{target} cannot be written: {error.strerror or error}. Free space there, or allow writing to it."
        ) from error
