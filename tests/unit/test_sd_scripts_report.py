"""What the runner writes down of a validation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from incontext_lora.training.sd_scripts.runner.events import Events
from incontext_lora.training.sd_scripts.runner.report import VALIDATION_LEVELS, Report


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Validate with these losses, as the checkout gives them: per batch all noise levels, one after the other."""

    def validate(*losses: float) -> list[dict[str, Any]]:
        training = SimpleNamespace(events=Events(tmp_path / "events.jsonl"), step=6, is_over=False)
        report = Report(training)  # type: ignore[arg-type]
        for loss in losses:
            report.add_validation(loss)
        assert report.is_validating == bool(losses)
        report.write_validation()
        assert not report.is_validating
        path = tmp_path / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for line in lines if (event := json.loads(line))["event"] == "validation"]

    return validate


def test_the_mean_and_the_loss_of_each_batch(written: Any) -> None:
    assert VALIDATION_LEVELS == 4
    (event,) = written(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    assert (event["step"], event["loss"], event["each"]) == (6, 4.5, [2.5, 6.5])


def test_nothing_is_written_where_nothing_was_measured(written: Any) -> None:
    assert written() == []
