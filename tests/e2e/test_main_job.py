"""The demo's main job with the bundled LoRAs, in the real server: fewer captions than `run.py demo`, the same judges."""

from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.demo import judge
from incontext_lora.demo.job import GeneratedSets, Job, Mode
from incontext_lora.demo.models import LORA_FILES
from incontext_lora.demo.server import ComfyServer
from incontext_lora.demo.tasks import COLOUR, TASKS, Task

CAPTIONS = 16

Sides = dict[str, dict[Mode, GeneratedSets]]


@pytest.fixture(scope="module", params=TASKS.values(), ids=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.fixture(scope="module")
def sides(server: ComfyServer, demo_models: Path | None, task: Task) -> Sides:
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set: the demo models are not there")
    job = Job(server, server.base, lambda text: None, task)
    asked = list(task.held_out_sets(CAPTIONS, 5))
    lora = LORA_FILES[task.name]
    modes = [Mode.PLAIN, Mode.ISOLATED]
    return {
        "base": job.generate(asked, lora=lora, strength=0.0, what="base"),
        "lora": job.generate(asked, lora=lora, strength=1.0, what="lora", modes=modes),
    }


def test_panels_have_the_relation_with_the_lora_and_not_without(sides: Sides) -> None:
    assert judge.set_agreement(sides["base"][Mode.PLAIN].judged) <= 0.4
    assert judge.set_agreement(sides["lora"][Mode.PLAIN].judged) >= 0.8


def test_painted_panels_have_the_relation_to_an_isolated_reference(sides: Sides) -> None:
    assert judge.reference_agreement(sides["lora"][Mode.ISOLATED].judged) >= 0.8


def test_panels_show_what_their_caption_says(sides: Sides, task: Task) -> None:
    assert judge.caption_accuracy(sides["lora"][Mode.PLAIN].judged) >= 0.9
    if task is COLOUR:  # the base model is the same for all
        assert judge.caption_accuracy(sides["base"][Mode.PLAIN].judged) >= 0.9
