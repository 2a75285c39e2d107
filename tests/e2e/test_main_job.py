"""The demo's main job with the bundled LoRA, in the real server: fewer captions than `run.py demo`, the same judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.demo import judge, world
from incontext_lora.demo.job import GeneratedSets, Job, Mode
from incontext_lora.demo.models import LORA_FILE
from incontext_lora.demo.server import ComfyServer

CAPTIONS = 16


@pytest.fixture(scope="module")
def sides(server: ComfyServer, demo_models: Path | None) -> dict[str, dict[Mode, GeneratedSets]]:
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set: the demo models are not there")
    job = Job(server, server.base, lambda text: None)
    asked = list(world.held_out_sets(CAPTIONS, seed=5))
    return {
        "base": job.generate(asked, lora=LORA_FILE, strength=0.0, what="base"),
        "lora": job.generate(asked, lora=LORA_FILE, strength=1.0, what="lora", modes=[Mode.PLAIN, Mode.ISOLATED]),
    }


def test_panels_agree_with_the_lora_and_not_without(sides: dict[str, dict[Mode, GeneratedSets]]) -> None:
    assert judge.set_agreement(sides["base"][Mode.PLAIN].judged) <= 0.4
    assert judge.set_agreement(sides["lora"][Mode.PLAIN].judged) >= 0.8


def test_painted_panels_take_the_colour_of_a_clean_reference(sides: dict[str, dict[Mode, GeneratedSets]]) -> None:
    assert judge.reference_agreement(sides["lora"][Mode.ISOLATED].judged) >= 0.8


@pytest.mark.parametrize("side", ["base", "lora"])
def test_panels_show_what_their_caption_says(sides: dict[str, dict[Mode, GeneratedSets]], side: str) -> None:
    assert judge.caption_accuracy(sides[side][Mode.PLAIN].judged) >= 0.9
