"""The settings of a training with sd-scripts, checked on creation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any

from ...incontext.errors import TrainingError
from ..choices import ReferenceKind

# far more than anyone needs, but not enough to fill a disk or never end
_MOST = {
    "steps": 1_000_000,
    "batch_size": 1024,
    "gradient_accumulation": 1024,
    "rank": 1024,
    "warmup_steps": 1_000_000,
    "samples": 100,
    "validation_sets": 10_000,
    "seed": (1 << 63) - 1,
    "sets": 100_000,
}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class Optimiser(Enum):
    ADAMW_8BIT = "AdamW8bit"  # needs an NVIDIA card
    ADAMW = "AdamW"
    ADAFACTOR = "Adafactor"  # the least memory


class Schedule(Enum):
    CONSTANT = "constant"
    COSINE = "cosine"


class Sizes(Enum):
    """The sizes in which each composite is trained. The proportions stay the same."""

    LADDER = "from 512 px up to the full size"
    FULL = "the full size only"


class Precision(Enum):
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "no"


class Device(Enum):
    """The device that the trainer uses. The 8-bit optimiser and 8-bit weights need an NVIDIA card."""

    NVIDIA = "nvidia"
    AMD = "amd"
    APPLE = "apple"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class SdSettings:
    """Everything that determines a training besides model and dataset.

    Attributes:
        steps: optimiser steps, including those of earlier segments of the run.
        batch_size: sets per forward pass.
        gradient_accumulation: forward passes per step.
        learning_rate, schedule, warmup_steps, optimiser: of the optimiser.
        max_grad_norm: gradients are clipped to it; 0 for no clipping.
        rank, alpha: of the LoRA; its strength is alpha / rank.
        ema: decay per step of the moving average that is saved instead of the raw weights; 0 for none.
        caption_dropout: share of samples that are trained with an empty caption, 0…1.
        references: how references take part; clean if the trainer cannot isolate them.
        reference_share: share of samples with references, which have no noise and no loss, 0…1.
        sizes: the sizes in which composites are trained.
        megapixels: largest size, in millions of pixels; 0 for the full size.
        validation_sets: number of sets held out from training to measure the loss on.
        validate_every, save_every, sample_every: in steps; 0 for never, but the end is always saved.
        samples: number of captions of the dataset to sample.
        keep: number of checkpoints to keep; 0 for all.
        precision: in which the model computes.
        fp8: keep the model in 8 bits.
        swapped: share of the blocks that is swapped to main memory, 0…1; the moving average is then kept there too.
        encoders_on_card: size of text encoders that fit on the card while captions are encoded, in GB; with larger ones,
            captions are encoded on the processor. 0 for any size.
        vae_chunk_size: most rows that the autoencoder works on at a time, if it supports this; 0 for all.
        gradient_checkpointing: less memory, but about a third more time.
        public_metadata: write the trainer's metadata into the LoRA, including folder names and words of the captions.
        seed: of everything random.
        sets: number of sets to train on; 0 for all.
        leave_out: comma-separated names of sets to leave out; ``*`` matches anything.
    """

    steps: int = 5000
    batch_size: int = 4
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    schedule: Schedule = Schedule.CONSTANT
    warmup_steps: int = 0
    optimiser: Optimiser = Optimiser.ADAMW_8BIT
    max_grad_norm: float = 1.0
    rank: int = 16
    alpha: float = 16.0
    ema: float = 0.99
    caption_dropout: float = 0.05
    reference_share: float = 0.5
    sizes: Sizes = Sizes.LADDER
    megapixels: float = 0.0
    validation_sets: int = 0
    validate_every: int = 250
    save_every: int = 250
    sample_every: int = 250
    samples: int = 1
    keep: int = 4
    precision: Precision = Precision.BF16
    fp8: bool = True
    swapped: float = 0.0
    encoders_on_card: float = 0.0
    vae_chunk_size: int = 0
    gradient_checkpointing: bool = True
    public_metadata: bool = False
    seed: int = 42
    references: ReferenceKind = ReferenceKind.ISOLATED
    sets: int = 0
    leave_out: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            value, expected = getattr(self, each.name), type(each.default)
            if expected is float and type(value) is int:
                continue
            self._require(each.name, type(value) is expected, _WORDS.get(expected, f"one of {expected.__name__}"))
            self._require(each.name, expected is not float or math.isfinite(value), "finite")
        for name, most in _MOST.items():
            self._require(name, getattr(self, name) <= most, f"at most {most}")
        for name in ("steps", "batch_size", "gradient_accumulation", "rank"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "warmup_steps",
            "validation_sets",
            "validate_every",
            "save_every",
            "sample_every",
            "samples",
            "keep",
            "megapixels",
            "encoders_on_card",
            "vae_chunk_size",
            "sets",
        ):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("learning_rate", "alpha"):
            self._require(name, getattr(self, name) > 0, "more than 0")
        self._require("max_grad_norm", self.max_grad_norm >= 0, "0 or more")
        for name in ("caption_dropout", "reference_share", "swapped"):
            self._require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        self._require("ema", 0 <= self.ema < 1, "at least 0 and below 1")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise TrainingError(
                f"{name.replace('_', ' ').capitalize()} is {getattr(self, name)!r}; it must be {expected}."
            )

    @property
    def drawn_share(self) -> float:
        """Share of samples with references; 0 if references are off."""
        return 0.0 if self.references is ReferenceKind.NONE else self.reference_share

    def on_cpu(self) -> SdSettings:
        """The settings that a machine without a graphics card supports."""
        return self.on(Device.CPU)

    def on(self, device: Device) -> SdSettings:
        """The settings that a device supports."""
        if device is Device.NVIDIA:
            return self
        optimiser = Optimiser.ADAMW if self.optimiser is Optimiser.ADAMW_8BIT else self.optimiser
        if device is Device.AMD:
            return replace(self, optimiser=optimiser, fp8=False)
        if device is Device.CPU:
            optimiser = Optimiser.ADAMW
        # Accelerate refuses mixed precision on Apple's GPU; blocks would be swapped within the same memory
        return replace(
            self, optimiser=optimiser, precision=Precision.FP32, fp8=False, swapped=0.0, encoders_on_card=0.0
        )

    def to_json(self) -> dict[str, Any]:
        return {name: value.value if isinstance(value, Enum) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SdSettings:
        data = {"references": ReferenceKind.CLEAN.value, **data}  # of a run that began before there were others
        try:
            values: dict[str, Any] = {
                name: _KINDS[name](value) if name in _KINDS else value for name, value in data.items()
            }
            return SdSettings(**values)
        except (TypeError, ValueError) as error:
            if isinstance(error, TrainingError):
                raise
            raise TrainingError(f"These settings cannot be read: {error}.") from error


_KINDS: dict[str, type[Enum]] = {
    "schedule": Schedule,
    "optimiser": Optimiser,
    "sizes": Sizes,
    "precision": Precision,
    "references": ReferenceKind,
}
