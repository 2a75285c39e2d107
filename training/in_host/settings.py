"""The settings of a training in ComfyUI, checked on creation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from ...incontext.errors import TrainingError
from ..choices import ReferenceKind
from .choices import Optimiser, Precision, Schedule, Targets, Timesteps


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that determines a training besides model and dataset. The same settings give the same result.

    Attributes:
        steps: optimiser steps.
        batch_size: sets per forward pass, all of the same size.
        gradient_accumulation: forward passes per optimiser step.
        optimiser: what updates the LoRA.
        learning_rate, schedule, warmup_steps, weight_decay: of the optimiser.
        max_grad_norm: gradients are clipped to it; 0 for no clipping.
        rank, alpha: of the LoRA; its strength is alpha / rank.
        targets: which layers are trained.
        timesteps: how noise levels are drawn.
        ema: decay per step of the moving average that is saved instead of the raw weights; 0 for none.
        caption_dropout: share of samples that are trained with an empty caption, 0…1.
        references: how references take part.
        reference_share: share of samples with references, which have no noise and no loss, 0…1.
        validation_sets: number of sets held out from training to measure the loss on.
        validate_every, save_every, sample_every: in steps; 0 for never, but the end is always saved.
        precision, gradient_checkpointing: trade speed for memory.
        seed: of everything random.
        sets: number of sets to train on; 0 for all.
        leave_out: comma-separated names of sets to leave out; ``*`` matches anything.

    Raises:
        TrainingError: if a value is out of range.
    """

    steps: int = 600
    batch_size: int = 1
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    schedule: Schedule = Schedule.CONSTANT
    warmup_steps: int = 20
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    rank: int = 16
    alpha: float = 16.0
    targets: Targets = Targets.ATTENTION_MLP
    timesteps: Timesteps = Timesteps.SIGMOID
    ema: float = 0.0
    caption_dropout: float = 0.05
    reference_share: float = 0.5
    validation_sets: int = 0
    validate_every: int = 100
    save_every: int = 250
    sample_every: int = 0
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = True
    seed: int = 0
    optimiser: Optimiser = Optimiser.ADAMW
    references: ReferenceKind = ReferenceKind.ISOLATED
    sets: int = 0
    leave_out: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "gradient_accumulation", "rank"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "validation_sets", "validate_every", "save_every", "sample_every", "sets"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("learning_rate", "alpha"):
            self._require(name, getattr(self, name) > 0, "more than 0")
        for name in ("weight_decay", "max_grad_norm"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("caption_dropout", "reference_share"):
            self._require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        self._require("ema", 0 <= self.ema < 1, "at least 0 and below 1")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise TrainingError(
                f"{name.replace('_', ' ').capitalize()} is {getattr(self, name)}; it must be {expected}."
            )

    @property
    def drawn_share(self) -> float:
        """Share of samples with references; 0 if references are off."""
        return 0.0 if self.references is ReferenceKind.NONE else self.reference_share

    def to_json(self) -> dict[str, Any]:
        return {name: value.value if isinstance(value, Enum) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> TrainSettings:
        """Settings from `to_json`.

        Raises:
            TrainingError: if a value is out of range.
            TypeError, ValueError: if a name or a choice is unknown.
        """
        kinds = {
            "schedule": Schedule,
            "targets": Targets,
            "timesteps": Timesteps,
            "precision": Precision,
            "optimiser": Optimiser,
            "references": ReferenceKind,
        }
        return TrainSettings(**{name: kinds[name](value) if name in kinds else value for name, value in data.items()})
