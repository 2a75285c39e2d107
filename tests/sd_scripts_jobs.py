"""Jobs for sd-scripts, as tests look at them."""

from __future__ import annotations

from pathlib import Path

from incontext_lora.incontext.lora.tasks import OFFICIAL
from incontext_lora.training.sd_scripts import job
from incontext_lora.training.sd_scripts.architectures import FLUX, Architecture
from incontext_lora.training.sd_scripts.data import Portion
from incontext_lora.training.sd_scripts.settings import SdSettings


def build(
    settings: SdSettings,
    segment: job.Segment = job.Segment(),  # noqa: B008
    masked: bool = False,
    family: Architecture = FLUX,
    encoders: float = 0.0,
) -> job.Job:
    files = {"pretrained_model_name_or_path": Path("flux.safetensors"), "t5xxl": Path("t5.safetensors")}
    portions = [Portion(1024, 1536, Path("images"), masked, 20)]
    layout = OFFICIAL[1].layout
    return job.build(
        family,
        settings,
        files,
        portions,
        ["one", "two"],
        layout,
        (),
        run=Path("runs/a"),
        tokenizers=Path("t"),
        segment=segment,
        encoders=encoders,
    )
