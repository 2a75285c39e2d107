"""job.json: what the runner does beyond the trainer's own options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What the runner does in one segment of a run.

    Attributes:
        script, trainer: the checkout's module, and the trainer class in it.
        converter: the checkout's module that renames the LoRA's tensors to the names ComfyUI expects; empty if none is
            needed.
        name: the run's name, with which the names of its checkpoints begin.
        steps: optimiser steps of the whole run.
        first_step: optimiser steps done in earlier segments.
        segment: number of this segment, from 1.
        save_every, sample_every: interval in steps; 0 for never.
        keep: number of newest checkpoints to keep; 0 for all.
        ema: decay of the moving average that is saved and sampled; 0 for none.
        average_in_main_memory: whether to keep the average in main memory instead of on the card.
        encoders_on_processor: whether to encode captions on the processor.
        caption_dropout: share of samples trained on the empty caption, 0 to 1.
        reference_share: share of samples in which some panels are references, 0 to 1.
        isolated: whether references attend to references only.
        references: indices of the panels that are always references; empty to draw them at random.
        canvas: width and height, px.
        panels: left, top, width and height per panel, px.
        public_metadata: whether the LoRA keeps the trainer's full metadata, captions and folder names included.
        seed: for everything random.
        loaders: option that names a text encoder's file → the checkout's function that loads it, and whether it also
            returns a tokenizer.
        cache: folder that keeps encodings between runs.
        recipe: JSON to write into the LoRA.
    """

    script: str
    trainer: str
    converter: str
    name: str
    steps: int
    first_step: int
    segment: int
    save_every: int
    sample_every: int
    keep: int
    ema: float
    average_in_main_memory: bool
    encoders_on_processor: bool
    caption_dropout: float
    reference_share: float
    isolated: bool
    references: Sequence[int]
    canvas: Sequence[int]
    panels: Sequence[Sequence[int]]
    public_metadata: bool
    seed: int
    loaders: Mapping[str, Mapping[str, Any]]
    cache: str
    recipe: str = ""

    @staticmethod
    def read(file: Path) -> Plan:
        return Plan(**json.loads(file.read_text(encoding="utf-8")))
