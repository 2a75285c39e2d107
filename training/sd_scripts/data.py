"""The dataset in the trainer's form: one folder per size, in a folder named by everything that its caches depend on.

The trainer caches encoded pictures and captions beside the files and only checks that the caches exist, so it would ignore
an edited caption. Here the folder's name changes with the captions, pictures, encoders and settings behind the caches.
Whatever has changed is encoded again, and a second training on the same data encodes nothing.

    <dataset>/training/<architecture>-<key>/1024x1536/<id>.png, <id>.txt, and the trainer's caches

Loss masks are the pictures' alpha channel. (The trainer also accepts masks in a second folder, but then it cannot measure on
held-out sets.)
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
from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files.atomic import replace_atomically
from ...incontext.files.images import open_image
from .settings import Sizes

FOLDER = "training"
SMALLEST = 512  # px: side of a square with the area of the smallest size
NEARLY = 0.02  # largest difference in proportions if no size has exactly the same

DAY = 24 * 3600.0  # seconds
RECENT, OLD = 2 * DAY, 30 * DAY  # prepared data is kept for the first and removed after the second, from its last use
LARGEST = 20_000_000_000  # bytes of prepared data that a dataset keeps for later trainings


@dataclass(frozen=True)
class Portion:
    """Composites of one size.

    Attributes:
        width, height: of every picture, in pixels.
        images: their folder, which also has their captions.
        masked: whether the alpha channel is a loss mask.
        count: number of pictures.
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
        width, height: the full size, in pixels.
        megapixels: largest size, in millions of pixels; 0 for no limit. If no size with exactly these proportions is small
            enough, as with 23:16, the result is one whose proportions differ by at most 2 %.

    Raises:
        TrainingError: if the sides of the full size are not multiples of ``step``.
    """
    if width % step or height % step:
        raise TrainingError(
            f"The composites are {width}×{height}, but this trainer crops sides that are not multiples of {step}. Choose a "
            "recipe with such a canvas, and build the dataset again."
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
    """The largest size of at most so many pixels with nearly these proportions, else the one with the nearest proportions."""

    def stretch(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] * height / (size[1] * width)))

    sides = ((w, h) for w in range(step, width + 1, step) for h in range(step, height + 1, step))
    small = [size for size in sides if size[0] * size[1] <= pixels]
    close = [size for size in small if stretch(size) <= NEARLY]
    return max(close, key=math.prod) if close else min(small, key=stretch)


def key(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def folder_of(dataset: Dataset, name: str, validation_sets: int, depends_on: Sequence[str]) -> Path:
    """The folder that `prepare` writes to."""
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
    """Write the pictures and captions that do not exist yet.

    Args:
        name: of the architecture.
        sizes: largest first.
        validation_sets: number of sets to hold out, the last ones of the dataset.
        depends_on: everything that the trainer's caches depend on besides the items.
        go_on: called between pictures; raises to stop.

    Returns:
        The sets to train on in each size, and the held-out sets in the largest.

    Raises:
        TrainingError: if no set is left to train on, or a file cannot be written.
    """
    if len(dataset) <= validation_sets:
        raise TrainingError(
            f"The dataset has {len(dataset)} sets, and {validation_sets} are held out for validation, so none is left to "
            "train on. Hold out fewer, or build a larger dataset."
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
    """Prepared data that was removed: its folder's name, and its size in bytes."""

    name: str
    size: int


def prune(dataset: Path, in_use: Collection[Path], now: float | None = None, largest: int = LARGEST) -> list[Removal]:
    """Remove prepared data that no training has used for `OLD`, and the least recently used data beyond ``largest``.

    A training that needs it makes it again, which only costs the time to encode it.

    Args:
        dataset: the dataset's folder.
        in_use: folders to keep at any age.
        now: in seconds since 1970; the current time by default.
        largest: bytes to keep.
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
    if not target.exists():  # the id, and so the name, depends on the caption
        _write(target, lambda path: path.write_text(caption + "\n", encoding="utf-8"))


def _touch(folder: Path) -> None:
    """Create a folder, and set its time of last use for `prune`."""
    with explain_write_errors(folder, TrainingError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)


def _write(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file, complete or not at all."""
    with explain_write_errors(target, TrainingError):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(target, write)
