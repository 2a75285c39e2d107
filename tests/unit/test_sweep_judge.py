"""Which trainings of a sweep are hopeless, on the curves of real trainings of milliseconds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from incontext_lora.tests.toy_sweep import ToyTrainer, toy_plan
from incontext_lora.training.sweep import judge
from incontext_lora.training.sweep.curve import Curve
from incontext_lora.training.sweep.judge import Rule


def curve(*losses: float, every: int = 10) -> Curve:
    return Curve(tuple((number * every, loss) for number, loss in enumerate(losses)))


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Curve]]:
    """Learning rate → the curve of a real training, after each of its measurements."""
    folder = tmp_path_factory.mktemp("curves")
    found: dict[float, list[Curve]] = {}
    for rate in (1e-4, 1e-2, 3e-2, 1e-1, 3.0, 30.0):
        events: list[Any] = []
        plan = toy_plan({"learning_rate": (rate, 2 * rate)})
        ToyTrainer(folder).train(plan.trials[0], None, lambda run, event, events=events: bool(events.append(event)))
        whole = Curve.of(events)
        cuts = [[e for e in events if e.get("step", 0) <= step] for step, _ in whole.held_out]
        found[rate] = [Curve.of(cut) for cut in cuts]
    return found


class TestJudge:
    rule = Rule(steps=100)

    def test_a_learning_rate_that_is_much_too_high_is_stopped_early(self, curves: dict[float, list[Curve]]) -> None:
        rule = Rule(steps=60)
        for rate in (3.0, 30.0):
            first = next(c for c in curves[rate] if judge.hopeless(c, [curves[3e-2][-1]], rule))
            assert first.step <= 12

    def test_good_ones_are_never_stopped(self, curves: dict[float, list[Curve]]) -> None:
        good = (1e-2, 3e-2, 1e-1)
        for rate in good:
            others = [curves[other][-1] for other in good if other != rate]
            assert not any(judge.hopeless(so_far, others, Rule(steps=60)) for so_far in curves[rate])

    def test_one_that_hardly_learns_is_stopped_once_there_is_a_better_one(
        self, curves: dict[float, list[Curve]]
    ) -> None:
        slow, rule = curves[1e-4], Rule(steps=60)
        assert not any(judge.hopeless(so_far, [], rule) for so_far in slow)
        reason = next(said for c in slow if (said := judge.hopeless(c, [curves[3e-2][-1]], rule)))
        assert "where another training has" in reason

    def test_more_curves_never_pardon_one(self, curves: dict[float, list[Curve]]) -> None:
        rule, final = Rule(steps=60), [each[-1] for each in curves.values()]
        for each in curves.values():
            for so_far in each:
                verdicts = [bool(judge.hopeless(so_far, final[:count], rule)) for count in range(len(final) + 1)]
                assert verdicts == sorted(verdicts)

    def test_a_single_measurement_above_the_start_is_forgiven(self) -> None:
        assert not judge.hopeless(curve(1.0, 1.2, 0.9, 0.8), [], self.rule)
        assert "above the 1.0000 before" in judge.hopeless(curve(1.0, 1.3, 1.3, 1.4), [], self.rule)

    def test_a_ruined_model_is_known_at_once(self) -> None:
        assert "learning rate is too high" in judge.hopeless(curve(1.0, 2.1), [], self.rule)
        assert "not a finite number" in judge.hopeless(curve(1.0, math.nan), [], self.rule)

    def test_without_a_measurement_before_the_first_step_the_training_loss_tells(self) -> None:
        rising = Curve(((50, 4.0),), trained=(*[1.0] * 20, *[3.0] * 20))
        assert "training loss has risen from 1.0000 to 3.0000" in judge.hopeless(rising, [], self.rule)
        assert not judge.hopeless(replace(rising, trained=(*[1.0] * 20, *[1.5] * 20)), [], self.rule)

    def test_a_falling_learning_rate_may_still_bring_something(self) -> None:
        """With a cosine schedule the loss falls once more at the end, which no pace so far foretells."""
        mine, best = curve(1.0, *[0.7] * 5), curve(1.0, *[0.5] * 5)
        assert judge.hopeless(mine, [best], self.rule)
        assert not judge.hopeless(mine, [best], replace(self.rule, annealing=0.5))

    def test_overfitting_is_seen(self) -> None:
        assert "has risen since step 20, from 0.5000 to 0.7500" in judge.overfitted(
            curve(1.0, 0.6, 0.5, 0.6, 0.7, 0.75), self.rule
        )
        assert not judge.overfitted(curve(1.0, 0.6, 0.5, 0.51, 0.52, 0.53), self.rule)  # hardly
        assert not judge.overfitted(curve(1.0, 0.6, 0.5, 0.7, 0.6, 0.75), self.rule)  # not steadily

    def test_a_good_training_whose_loss_rises_at_first_continues(self) -> None:
        """As measured on the demo, whose LoRAs are good although this loss hardly falls in the first steps."""
        measured = curve(
            0.075437, 0.075581, 0.07699, 0.079829, 0.082829, 0.08098, 0.078929, 0.078646, 0.079157, every=6
        )
        lower_rate = curve(0.075437, 0.0754, 0.0753, 0.0752, 0.0751, 0.0750, 0.0749, 0.0748, 0.0747, every=6)
        for warmup in (0, 5, 20):
            rule = Rule(steps=60, warmup=warmup, annealing=0.5)
            for count in range(1, len(measured.held_out) + 1):
                so_far = Curve(measured.held_out[:count])
                assert not judge.hopeless(so_far, [lower_rate], rule)
                assert not judge.overfitted(so_far, rule)

    def test_losses_between_measurements_are_on_the_line(self) -> None:
        assert curve(1.0, 0.5).at(4) == pytest.approx(0.8)
        assert math.isnan(curve(1.0, 0.5).at(11))
