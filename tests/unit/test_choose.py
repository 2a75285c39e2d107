"""The choice among candidates: guards, the base model, and how sure it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from incontext_lora.incontext.evaluate.choose import BASE, ChoiceError, Guard, Result, Rule, choose

CAPTIONS = [f"caption {number}" for number in range(12)]


def _results(**means: float) -> list[Result]:
    """Results around a mean per candidate, the same difficulty per caption for all."""
    noise = np.random.Generator(np.random.PCG64(5))
    hardness = noise.normal(0, 0.1, len(CAPTIONS))
    return [
        Result(label, caption, seed, {"consistency": mean + hard + noise.normal(0, 0.01), "caption": 0.9})
        for label, mean in means.items()
        for caption, hard in zip(CAPTIONS, hardness, strict=True)
        for seed in (0, 1)
    ]


def test_the_best_candidate_is_chosen():
    choice = choose(_results(base=0.2, early=0.5, late=0.7))
    assert choice.chosen == "late"
    assert choice.confident
    assert choice.alike == ()
    assert [standing.candidate for standing in choice.standings] == ["late", "early", "base"]
    assert choice.standings[0].better == 1.0
    assert choice.standings[0].gain == pytest.approx(0.5, abs=0.02)
    assert choice.standings[0].low < choice.standings[0].mean < choice.standings[0].high


def test_no_candidate_may_be_better_than_the_base_model():
    choice = choose(_results(base=0.6, early=0.5, late=0.4))
    assert choice.chosen is None
    assert "None is better" in choice.reason


def test_a_gain_within_the_noise_is_not_a_reason():
    noise = np.random.Generator(np.random.PCG64(1))
    results = [
        Result(label, caption, 0, {"consistency": float(noise.normal(mean, 0.3))})
        for label, mean in ((BASE, 0.5), ("late", 0.52))
        for caption in CAPTIONS
    ]
    results = [*results, Result(BASE, "x", 0, {"consistency": 0.0}), Result("late", "x", 0, {"consistency": 2.0})]
    choice = choose(results)
    assert choice.chosen is None
    assert "better than the base model with a confidence of" in choice.reason


def test_a_guard_rejects_the_highest():
    results = [
        *_results(base=0.2, good=0.6),
        *(Result("copy", caption, 0, {"consistency": 0.99, "caption": 0.3}) for caption in CAPTIONS),
    ]
    rule = Rule(guards=(Guard("caption", below_base=0.1, meaning="It ignores the caption."),))
    choice = choose(results, rule)
    assert choice.chosen == "good"
    (copy,) = (standing for standing in choice.standings if standing.candidate == "copy")
    assert copy.rejected == ("caption 0.300; at least 0.800 is required. It ignores the caption.",)
    assert choose(results, Rule(guards=(Guard("caption", least=0.95),))).chosen is None
    assert choose(results, Rule(guards=(Guard("never measured", least=0.95),))).chosen == "copy"


def test_what_the_captions_cannot_tell_apart_is_named():
    choice = choose(_results(base=0.2, one=0.7, same=0.699, worse=0.5))
    assert {choice.chosen, *choice.alike} == {"one", "same"}


def test_few_captions_state_no_confidence():
    results = [Result(label, "only", 0, {"consistency": mean}) for label, mean in ((BASE, 0.1), ("late", 0.5))]
    choice = choose(results)
    assert choice.chosen == "late"
    assert not choice.confident
    assert "too few" in choice.reason
    assert choice.standings[0].better is None


def test_candidates_are_compared_on_common_captions_only():
    results = [r for r in _results(base=0.2, late=0.6) if r.candidate == BASE or r.caption in CAPTIONS[:6]]
    results.append(Result("late", CAPTIONS[7], 0, {"consistency": math.nan}))
    choice = choose(results)
    assert choice.captions == 6
    assert choice.chosen == "late"
    with pytest.raises(ChoiceError, match="no caption on which all 3"):
        choose([*results, Result("other", "another", 0, {"consistency": 1.0})])
    with pytest.raises(ChoiceError, match="no results"):
        choose([])


def test_without_a_base_model_the_best_is_chosen():
    assert choose(_results(early=0.5, late=0.7)).chosen == "late"


def test_the_same_results_give_the_same_choice():
    results = _results(base=0.2, one=0.5, other=0.51)
    assert choose(results) == choose(results)


def test_a_confidence_out_of_range_is_refused():
    with pytest.raises(ChoiceError, match=r"0\.5 to below 1"):
        Rule(confidence=1.0)
