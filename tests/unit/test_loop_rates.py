"""The training loop: validation, learning rate and precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from incontext_lora.tests.toy_training import CHANNELS, CPU, ITEMS, PLAIN, Toy, run, same, seeded
from incontext_lora.training.choices import ReferenceKind
from incontext_lora.training.in_host.adapters import Adapters, new_adapters
from incontext_lora.training.in_host.choices import Schedule
from incontext_lora.training.in_host.learner import learning_rate_factor
from incontext_lora.training.in_host.loop import validation_loss
from torch import Tensor


def test_validation_is_measured_at_fixed_noise() -> None:
    toy = Toy()
    assert validation_loss(ITEMS, toy.predict, CPU, 3) == validation_loss(ITEMS, toy.predict, CPU, 3)
    assert validation_loss(ITEMS, toy.predict, CPU, 3) != validation_loss(ITEMS, toy.predict, CPU, 4)


def test_validation_comes_before_between_and_after_and_changes_nothing() -> None:
    settings = replace(PLAIN, steps=60, learning_rate=0.05, validate_every=25)
    ran = run(settings, ITEMS[:4], held_out=ITEMS[4:])
    assert [step for step, _ in ran.validated] == [0, 25, 50, 60]
    assert ran.validated[-1][1] < ran.validated[0][1]
    assert same(ran.lora, run(replace(settings, validate_every=0), ITEMS[:4], held_out=ITEMS[4:]).lora)
    still = run(replace(settings, learning_rate=1e-12), ITEMS[:4], held_out=ITEMS[4:]).validated
    assert {round(loss, 6) for _, loss in still} == {round(ran.validated[0][1], 6)}


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule.CONSTANT, {0: 0.25, 3: 1.0, 4: 1.0, 9: 1.0, 13: 1.0}),
        (Schedule.COSINE, {0: 0.25, 3: 1.0, 4: 1.0, 9: 0.505, 14: 0.01, 20: 0.01}),
    ],
)
def test_the_learning_rate_rises_and_falls(schedule: Schedule, factors: dict[int, float]) -> None:
    settings = replace(PLAIN, steps=14, warmup_steps=4, schedule=schedule)
    assert {step: learning_rate_factor(step, settings) for step in factors} == pytest.approx(factors)


def test_a_warm_up_longer_than_the_training() -> None:
    settings = replace(PLAIN, steps=2, warmup_steps=10)
    assert [learning_rate_factor(step, settings) for step in range(2)] == pytest.approx([0.1, 0.2])


def test_adapters_stay_float32_under_autocast() -> None:
    toy = Toy()
    adapters: Adapters = new_adapters({"layer": (CHANNELS, CHANNELS)}, 2, 2.0, seeded(0))
    with adapters.attached(toy), torch.autocast("cpu", torch.bfloat16):
        toy.predict(ITEMS[0].latent[None], torch.ones(1), [""]).float().sum().backward()
    assert {parameter.dtype for parameter in adapters.parameters()} == {torch.float32}
    assert adapters.layers["layer"].lora_up.grad is not None


def test_isolated_references_are_told_to_the_model_and_clean_ones_are_not() -> None:
    def told(kind: ReferenceKind) -> list[Tensor | None]:
        return run(replace(PLAIN, reference_share=1.0, references=kind)).isolated

    isolated = told(ReferenceKind.ISOLATED)
    assert len(isolated) == PLAIN.steps
    assert all(one is not None and one.any() and not one.all() for one in isolated)
    assert told(ReferenceKind.CLEAN) == told(ReferenceKind.NONE) == [None] * PLAIN.steps
