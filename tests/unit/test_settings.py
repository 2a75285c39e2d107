from __future__ import annotations

import json
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.training.in_host.choices import Precision, Schedule, Targets, Timesteps
from incontext_lora.training.in_host.settings import TrainSettings


def test_settings_survive_json() -> None:
    settings = TrainSettings(
        steps=7,
        schedule=Schedule.COSINE,
        targets=Targets.MLP,
        timesteps=Timesteps.SHIFTED,
        precision=Precision.BF16,
        ema=0.99,
    )
    assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 0}, "Steps is 0; it must be at least 1"),
        ({"batch_size": 0}, "Batch size is 0"),
        ({"gradient_accumulation": 0}, "Gradient accumulation is 0"),
        ({"rank": 0}, "Rank is 0"),
        ({"warmup_steps": -1}, "Warmup steps is -1; it must be 0 or more"),
        ({"save_every": -1}, "Save every is -1"),
        ({"learning_rate": 0.0}, "more than 0"),
        ({"learning_rate": float("nan")}, "Learning rate is nan"),
        ({"alpha": -1.0}, "Alpha is -1.0"),
        ({"weight_decay": -0.1}, "Weight decay is -0.1"),
        ({"caption_dropout": 1.1}, "between 0 and 1"),
        ({"reference_share": -0.1}, "Reference share is -0.1"),
        ({"ema": 1.0}, "Ema is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_impossible_settings_are_refused_with_value_and_range(values: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        TrainSettings(**values)
