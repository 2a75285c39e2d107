"""A megabyte of repeating text for every parser of outside text: each answers at once, and in our own words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from incontext_lora.incontext.captions import joint as captions
from incontext_lora.incontext.captions.describe import answer
from incontext_lora.incontext.captions.describe.options import CaptionRequest
from incontext_lora.incontext.dataset import texts
from incontext_lora.incontext.dataset.manifest import read_references
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.files import names
from incontext_lora.incontext.files.strict_json import JsonError, parse
from incontext_lora.incontext.lora import save
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange, fit
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.colours import parse_colour
from incontext_lora.incontext.panels.layout import MOST_PANELS, PanelLayout
from incontext_lora.training.runs.run_folder import parse_event, safe_name

SECONDS = 1.0  # of processor time; each case takes some hundredths
LARGE = 1_000_000
UNITS = [
    *(
        "a",
        " ",
        "\n",
        "\t",
        "*",
        "* ",
        "- ",
        "_",
        "`",
        "```\n",
        "```x\n[SCENE-1] a\n```\n",
        "~~~",
        "> ",
        "1. ",
        "1",
        "9, ",
    ),
    *(
        "<think>",
        "</think>",
        "<think></think>",
        "<|",
        "<Leo>",
        "[",
        "[]",
        "[SCENE-1",
        "[SCENE-1] x ",
        "Panel 1:",
        "summary:",
    ),
    *(
        "{",
        '{"a":',
        '"',
        "(",
        "\\(",
        ")",
        ",",
        ":",
        ";",
        "#",
        "0,0,64,64\n",
        "1: contain , ",
        "rgb(",
        "../",
        "CON.",
        "é",
        "字",
    ),
    *("\0", "\ud800", "\ufeff", "\u202e"),
]
STORY = Recipe("story", arrange.rows(1024, 1536, 3), prefix="[STORY]", opening="A story")
SEVERAL = Recipe(
    "several",
    PanelLayout(16384, 64, tuple(Box(16 * n, 0, 16, 16) for n in range(MOST_PANELS))),
    markers=tuple("a" * (1 + n % 100) + str(n // 100) for n in range(MOST_PANELS)),
)


def of_recipe(text: str) -> Recipe:
    return Recipe.from_json(STORY.to_json() | {"opening": text, "markers": [text, text + "1", text + "2"]})


PARSERS: dict[str, Callable[[str], object]] = {
    "caption": lambda text: captions.parse(STORY, text),
    "caption of many panels": lambda text: captions.parse(SEVERAL, text),
    "problems": lambda text: captions.problems(STORY, text),
    "marks": lambda text: captions.marks(STORY, text),
    "summary": lambda text: captions.build(STORY, text, []),
    "names": lambda text: captions.build(STORY, "Leo", [], names=text.split(",")),
    "wishes": lambda text: CaptionRequest.of(text, hint=text),
    "answer": lambda text: answer.read(STORY, text),
    "answer about many panels": lambda text: answer.read(SEVERAL, text),
    "recipe": of_recipe,
    "recipe file": lambda text: Recipe.from_json(parse(text)),
    "boxes": arrange.parse_boxes,
    "counts": arrange.parse_counts,
    "exceptions": lambda text: fit.settings_per_panel(STORY.layout, fit.PanelSettings(), text),
    "panel": lambda text: STORY.layout.index(text),
    "panels": lambda text: STORY.layout.select_some(text),
    "references": lambda text: read_references(text, STORY.layout),
    "colour": parse_colour,
    "LoRA's name": save.checked_name,
    "name": names.problem,
    "run's name": safe_name,
    "event": parse_event,
    "caption file": lambda text: texts.decode(text.encode("utf-8", "surrogatepass")),
}


def refusal(call: Callable[[], object]) -> str:
    """What is said of a text that is refused; nothing where it is taken. Other errors are not caught."""
    try:
        call()
    except (InContextError, JsonError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", PARSERS)
def test_a_megabyte_of_repeating_text(name: str) -> None:
    for unit in UNITS:
        for length in (captions.LONGEST - 1, LARGE):
            text = (unit * (length // len(unit) + 1))[:length]
            began = time.process_time()
            said = refusal(lambda text=text: PARSERS[name](text))
            assert len(said) < 10_000, unit
            said.encode()
            taken = time.process_time() - began
            assert taken < SECONDS, f"{unit!r}, {length} characters: {taken:.2f} s"


def test_answers_that_mix_marker_styles(tmp_path: Path) -> None:
    mixed = "".join(f"<think>{'*' * 50} [scene {n}] ```\n**Panel {n}:** x\n" for n in range(300))
    deep = '{"panels": ' + "[" * 9_000
    long_number = '{"summary": ' + "9" * 5_000 + ', "panels": ["a", "b", "c"]}'
    for text in (mixed, mixed * 40, deep, long_number, json.dumps({"panels": ["\ud800", "b", "c"]}), "a\0b"):
        began = time.process_time()
        with pytest.raises(answer.AnswerError) as refused:
            answer.read(STORY, text)
        str(refused.value).encode()
        assert time.process_time() - began < SECONDS
