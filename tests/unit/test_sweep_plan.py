"""Which trainings a sweep has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests import toy_sweep
from incontext_lora.tests.toy_sweep import toy_plan
from incontext_lora.training.sweep.choices import Strategy
from incontext_lora.training.sweep.plan import Plan, SweepSettings, parse_values


class TestPlan:
    def test_a_grid_has_every_combination_and_keeps_the_strength(self) -> None:
        plan = toy_plan({"rank": (2, 4), "learning_rate": (1e-3, 1e-2)})
        trials = plan.trials
        assert [trial.title for trial in trials] == [
            "rank 2, learning rate 0.001",
            "rank 2, learning rate 0.01",
            "rank 4, learning rate 0.001",
            "rank 4, learning rate 0.01",
        ]
        assert [trial.settings["alpha"] for trial in trials] == [2.0, 2.0, 4.0, 4.0]
        assert plan.rounds == (60,)

    def test_halving_trains_ever_fewer_ever_further(self) -> None:
        plan = toy_plan({"learning_rate": tuple(0.001 * n for n in range(1, 10))}, strategy=Strategy.HALVING, steps=90)
        assert plan.rounds == (10, 30, 90)
        assert plan.base["validate_every"] == plan.base["save_every"] == 5

    def test_trainings_are_measured_where_the_settings_do_not_say_it(self) -> None:
        base = {**toy_sweep.BASE.to_json(), "validation_sets": 0, "validate_every": 0}
        plan = Plan.of("in-host", SweepSettings({"rank": (2, 4)}), base, {}, sets=22)
        assert (plan.base["validation_sets"], plan.base["validate_every"]) == (4, 6)
        with pytest.raises(TrainingError, match="The dataset has 4 sets; a sweep holds"):
            Plan.of("in-host", SweepSettings({"rank": (2, 4)}), base, {}, sets=4)

    @pytest.mark.parametrize(
        ("axes", "said"),
        [
            ({"rank": (2,)}, "only one training"),
            ({}, "only one training"),
            ({"rank": (2, 2)}, "a value of rank twice"),
            ({"rank": tuple(range(1, 99))}, "98 trainings; at most 64 are possible"),
            ({"momentum": (1, 2)}, "cannot vary 'momentum'"),
        ],
    )
    def test_settings_that_are_not_a_sweep_are_refused(self, axes: dict[str, Any], said: str) -> None:
        with pytest.raises(TrainingError, match=said):
            SweepSettings(axes)

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("rank", "8, 16 32", (8, 16, 32)),
            ("steps", "1e3", (1000,)),
            ("learning_rate", "1e-4; 3e-4", (1e-4, 3e-4)),
            ("leave_out", "-; new-*, other", ("", "new-*, other")),
            ("sets", "", ()),
        ],
    )
    def test_values_are_read_as_written(self, name: str, text: str, expected: tuple[Any, ...]) -> None:
        assert parse_values(name, text) == expected

    @pytest.mark.parametrize(("name", "text"), [("rank", "8.5"), ("rank", "a"), ("learning_rate", "1e-4, x")])
    def test_others_are_named(self, name: str, text: str) -> None:
        with pytest.raises(TrainingError, match=r"The values of (rank|learning rate) are '.*'; write"):
            parse_values(name, text)

    @pytest.mark.parametrize("text", ["inf", "1e-4, nan", "1e999"])
    def test_numbers_without_end_are_refused(self, text: str) -> None:
        """JSON has none of them: a sweep that was written with one could not be read again."""
        with pytest.raises(TrainingError, match="The values of learning rate are"):
            parse_values("learning_rate", text)

    def test_a_plan_survives_the_disk(self) -> None:
        plan = toy_plan({"rank": (2, 4), "leave_out": ("", "a*")}, strategy=Strategy.HALVING)
        again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
        assert again.digest == plan.digest
        assert again.trials == plan.trials
