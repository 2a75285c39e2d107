"""The disk space that a training needs, and where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from .architectures import Architecture
from .settings import Optimiser, Precision, SdSettings

# bytes per weight of the optimiser's state; Adafactor only keeps rows and columns
_OPTIMISER = {Optimiser.ADAMW: 8.0, Optimiser.ADAMW_8BIT: 2.2, Optimiser.ADAFACTOR: 0.2}
LATENT = 1.0  # bytes per pixel of an encoded picture: 16 channels of 32 bits for 8×8 pixels
MASK = 4.0  # bytes per pixel of its loss mask
SAMPLE = 2.5  # bytes per pixel of a sample picture


@dataclass(frozen=True)
class Need:
    """Disk space that is needed.

    Attributes:
        folder: where.
        size: bytes.
        what: what for, in words.
    """

    folder: Path
    size: float
    what: str


def weights(model: Iterable[tuple[int, ...]], rank: int) -> int:
    """Number of weights of a LoRA of this rank on every matrix of a model: the most that it can have."""
    return rank * sum(sum(shape) for shape in model if len(shape) == 2)


def of_run(run: Path, loras: Path, settings: SdSettings, count: int) -> list[Need]:
    """What a run will write, minus what it has already written.

    Args:
        count: number of weights of the LoRA.
    """
    checkpoint = count * (4 if settings.precision is Precision.FP32 else 2)
    saved = (settings.steps - 1) // settings.save_every if settings.save_every else 0
    kept = min(settings.keep or saved, saved) + 1  # a new one is written before an old one is removed
    state = count * (4 + _OPTIMISER[settings.optimiser] + (4 if settings.ema else 0))
    return [
        Need(run, max(0.0, kept * checkpoint - size_of(run / "checkpoints")), "checkpoints"),
        Need(run, max(0.0, (2 if saved else 1) * state - size_of(run / "state")), "states to resume from"),
        Need(loras, checkpoint, "the finished LoRA"),
    ]


def of_samples(run: Path, settings: SdSettings, size: tuple[int, int]) -> Need:
    """The samples of a run; ``size`` is their width and height in pixels."""
    times = settings.steps // settings.sample_every + 2 if settings.sample_every else 0
    return Need(run, times * settings.samples * size[0] * size[1] * SAMPLE, "samples")


def of_data(dataset: Dataset, folder: Path, family: Architecture, sizes: Sequence[tuple[int, int]]) -> Need:
    """Pictures in each size, and the trainer's caches of pictures and captions, minus what already exists."""
    full = dataset.layout.width * dataset.layout.height
    total = 0.0
    for item in dataset.items:
        picture = dataset.image(item).stat().st_size
        for width, height in sizes:
            per_pixel = LATENT + (MASK if item.masked else 0.0) + picture / full
            total += family.caption_size + width * height * per_pixel
    return Need(folder, max(0.0, total - size_of(folder)), "encoded pictures and captions")


def check(needs: Iterable[Need]) -> None:
    """
    Raises:
        TrainingError: if a disk has less free space than is needed on it.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for group in disks.values():
        wanted = sum(need.size for need in group)
        place = _existing(group[0].folder)
        free = shutil.disk_usage(place).free
        if free < wanted:
            by_use: Mapping[str, float] = {need.what: need.size for need in group if need.size >= 1e6}
            parts = ", ".join(f"{size / 1e9:.2f} GB for {what}" for what, size in by_use.items())
            raise TrainingError(
                f"The training needs {wanted / 1e9:.2f} GB on the disk of {place} ({parts}), but only {free / 1e9:.2f} GB are "
                "free. Free some space, keep fewer checkpoints, or choose a lower rank."
            )


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; 0 if it does not exist."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.stat(os.path.join(place, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest existing one above it."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())
