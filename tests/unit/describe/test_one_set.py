"""One set: pictures in, a joint caption out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from incontext_lora.incontext.captions.describe import joint
from incontext_lora.incontext.captions.describe.answer import AnswerError
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.options import CaptionRequest, Pictures, Settings
from incontext_lora.incontext.captions.describe.servers import address
from incontext_lora.incontext.captions.joint import JointCaption
from incontext_lora.incontext.errors import PanelError
from incontext_lora.tests.vision_questions import GOOD, RECIPE
from incontext_lora.tests.vision_server import (
    VisionServer,
    says,
)


def panel(value: int, height: int = 64, width: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def describe(server: VisionServer, panels: list[np.ndarray], shown: Pictures = Pictures.EACH) -> Any:
    settings = Settings("seeing-model", side=96, pictures=shown)
    return joint.describe(
        RECIPE, panels, CaptionRequest(), settings, lambda messages: complete(address(server.url), settings, messages)
    )


def test_all_panels_are_in_one_question() -> None:
    with VisionServer(says(GOOD)) as server:
        answer = describe(server, [panel(10), panel(120, 32, 32), panel(230)])
    assert answer.parts == JointCaption("three cups", ("one", "two", "three"))
    (asked,) = server.questions
    assert [text for text in asked.texts if text.startswith("Picture")] == [
        f"Picture {n} is panel [SCENE-{n}]:" for n in (1, 2, 3)
    ]
    assert [picture.size for picture in asked.pictures] == [(96, 48), (32, 32), (96, 48)]
    for picture, value in zip(asked.pictures, (10, 120, 230), strict=True):
        assert abs(float(np.asarray(picture).mean()) - value) < 3


def test_a_picture_of_the_whole_set_is_cut() -> None:
    whole = np.concatenate([panel(value, 50, 90) for value in (10, 120, 230)])
    with VisionServer(says(GOOD)) as server:
        describe(server, [whole])
    assert [picture.size for picture in server.questions[0].pictures] == [(90, 50)] * 3
    with (
        VisionServer(says(GOOD)) as server,
        pytest.raises(PanelError, match=r"2 pictures for 3 panels \(SCENE-1, SCENE-2"),
    ):
        describe(server, [panel(1)] * 2)
    assert server.asked == []


def test_a_model_that_reads_one_picture_gets_the_whole_set() -> None:
    several = [panel(10), panel(120, 32, 32), panel(230)]
    whole = np.concatenate([panel(value, 50, 90) for value in (10, 120, 230)])
    with VisionServer(says(GOOD)) as server:
        describe(server, several, Pictures.ALL)
        describe(server, [whole], Pictures.ALL)
        with pytest.raises(PanelError, match="2 pictures for 3 panels"):
            describe(server, several[:2], Pictures.ALL)
    stitched, given = (asked.pictures for asked in server.questions)
    assert [picture.size for picture in (*stitched, *given)] == [(64, 96), (58, 96)]
    lines = np.asarray(stitched[0]).mean(axis=(1, 2))
    assert lines[16] == pytest.approx(10, abs=6)
    assert lines[80] == pytest.approx(230, abs=6)
    assert 140 < lines[48] < 250, "the square is shown in full, with padding at its sides"
    assert "The picture has 3 panels" in server.questions[0].texts[0]


def test_an_unusable_answer_is_asked_for_once_more() -> None:
    with VisionServer(says("Three cups."), says(GOOD)) as server:
        answer = describe(server, [panel(1)] * 3)
    assert answer.repairs == ("Asked twice. The model did not describe the panels.",)
    first, second = server.questions
    question, said, complaint = second.body["messages"]
    assert [question] == first.body["messages"]
    assert said == {"role": "assistant", "content": "Three cups."}
    assert "did not describe the panels. Answer once more" in complaint["content"]


def test_two_unusable_answers_are_enough() -> None:
    with VisionServer(says("")) as server, pytest.raises(AnswerError, match="answer is empty"):
        describe(server, [panel(1)] * 3)
    assert [len(asked.body["messages"]) for asked in server.questions] == [1, 2]
