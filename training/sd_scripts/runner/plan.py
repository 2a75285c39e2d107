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
        script, trainer: module and class of the checkout.
        converter: module of the checkout that renames the LoRA's tensors to the names ComfyUI expects; empty if none is
            needed.
        name: of the run; checkpoints are named after it.
        steps: optimiser steps of the whole run.
        first_step: steps done in earlier segments.
        segment: number of this segment, from 1.
        save_every, sample_every: in steps; 0 for never.
        keep: newest checkpoints to keep; 0 for all.
        ema: decay of the moving average that is saved and sampled; 0 for none.
        average_in_main_memory: keep the average off the card.
        encoders_on_processor: encode captions on the processor.
        caption_dropout: share of samples trained on the empty caption.
        reference_share: share of samples in which some panels are references.
        isolated: references attend to references only.
        references: panels that are always the references; empty if they are drawn at random.
        canvas: width and height, px.
        panels: left, top, width and height per panel, px.
        public_metadata: keep the trainer's full metadata in the LoRA, captions and folder names included.
        seed: of everything random.
        loaders: option of a text encoder's file → the checkout's function that loads it, and whether it returns a
            tokenizer too.
        cache: folder in which encodings are kept between runs.
        recipe: JSON that is written into the LoRA.
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
