"""Yes-or-no questions to a vision-language model: what is asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from incontext_lora.incontext.evaluate.questions import UnclearAnswer, ask_about, questions, read
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange

RECIPE = Recipe("pair", arrange.columns(128, 64, 2))
YES = "1: yes\n2: no\n3: yes\n4: yes\n5: no"


def test_each_panel_with_a_text_and_the_whole_set_are_asked_about() -> None:
    asked = questions(RECIPE, ["a star", ""])
    assert len(asked) == 4
    assert "[LEFT] show this: a star" in asked[0]


def test_answers_are_read_by_their_numbers() -> None:
    assert read(YES, 5) == [True, False, True, True, False]
    assert read("<think>1: no</think>\n**1.** Yes, it does\n2) no.", 2) == [True, False]


@pytest.mark.parametrize("text", ["", "yes", "1: maybe\n2: no", "1: yes\n1: no\n2: yes", "<think>1: yes\n2: yes"])
def test_an_unclear_answer_is_refused(text: str) -> None:
    with pytest.raises(UnclearAnswer, match="no clear yes or no for question"):
        read(text, 2)


def test_a_set_costs_one_question_and_an_unclear_answer_a_second() -> None:
    said: list[Sequence[Mapping[str, Any]]] = []
    answers = iter(["I cannot tell.", YES])

    def ask(messages: Sequence[Mapping[str, Any]]) -> str:
        said.append(messages)
        return next(answers)

    found = ask_about(RECIPE, "two shapes", ["a star", "a moon"], ["data:1", "data:2"], ask)
    assert found.panels == (True, False)
    assert found.whole == {"identity": True, "style": True, "story": False}
    assert found.share == pytest.approx(0.6)
    assert len(said) == 2
    assert "question 1, 2, 3, 4, 5" in said[1][-1]["content"]
    pictures = [part["image_url"]["url"] for part in said[0][0]["content"] if part["type"] == "image_url"]
    assert pictures == ["data:1", "data:2"]
