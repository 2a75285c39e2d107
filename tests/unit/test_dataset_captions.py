from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.captions import SetCaption, compose, measure
from incontext_lora.incontext.dataset.options import Shape
from incontext_lora.incontext.dataset.report import Level
from incontext_lora.incontext.dataset.scan import SetFiles
from incontext_lora.tests.dataset_sets import RECIPE, joint


def written(folder: Path, **texts: str) -> SetFiles:
    """A set whose texts are joint, summary, and one for each panel: _1, _2, _3."""
    paths = {name: folder / f"{name}.txt" for name in texts}
    for name, path in paths.items():
        path.write_text(texts[name], encoding="utf-8")
    panels = tuple(paths.get(f"_{number}") for number in (1, 2, 3))
    images = tuple(folder / f"{number}.png" for number in (1, 2, 3))
    return SetFiles("hero", images, paths.get("joint"), panels if any(panels) else (), paths.get("summary"))


def composed(files: SetFiles, references: tuple[int, ...] = ()) -> SetCaption:
    return compose(files, RECIPE, Shape.FOLDERS, references, lambda path: path.name)


def levels(result: SetCaption) -> list[Level]:
    return [finding.level for finding in result.findings]


def test_a_joint_caption_is_taken_as_it_is(tmp_path: Path) -> None:
    assert composed(written(tmp_path, joint=joint(1))) == SetCaption(joint(1))


def test_the_prefix_is_put_in_front(tmp_path: Path) -> None:
    result = composed(written(tmp_path, joint=joint(1).removeprefix("[TOY] ")))
    assert result.caption == joint(1)
    assert levels(result) == [Level.NOTE]


def test_the_prefix_of_another_lora_is_replaced(tmp_path: Path) -> None:
    result = composed(written(tmp_path, joint=joint(1).replace("[TOY]", "[MOVIE-SHOTS]")))
    assert result.caption == joint(1)
    assert [finding.problem for finding in result.findings] == ["The prefix [MOVIE-SHOTS] was replaced by [TOY]."]


def test_the_texts_of_the_panels_are_joined(tmp_path: Path) -> None:
    result = composed(written(tmp_path, summary="A day.", _1="one", _2="[SCENE-2] two\nmore", _3="three"))
    assert result.caption == "[TOY] A day. [SCENE-1] one [SCENE-2] two more [SCENE-3] three"
    assert levels(result) == [Level.NOTE]  # the line break


def test_without_a_summary_that_is_noted(tmp_path: Path) -> None:
    result = composed(written(tmp_path, _1="one", _2="two", _3="three"))
    assert result.caption == "[TOY] [SCENE-1] one [SCENE-2] two [SCENE-3] three"
    assert levels(result) == [Level.NOTE]


def test_what_stands_above_the_panels_without_markers_is_their_summary(tmp_path: Path) -> None:
    result = composed(written(tmp_path, joint="A day.", _1="one", _2="two", _3="three"))
    assert result == SetCaption("[TOY] A day. [SCENE-1] one [SCENE-2] two [SCENE-3] three")


def test_a_joint_caption_comes_before_the_texts_of_the_panels(tmp_path: Path) -> None:
    result = composed(written(tmp_path, joint=joint(1), _1="one"))
    assert result.caption == joint(1)
    assert [(finding.level, finding.file) for finding in result.findings] == [(Level.WARNING, "_1.txt")]


def test_one_text_of_all_panels_under_the_first_image_is_the_joint_caption(tmp_path: Path) -> None:
    assert composed(written(tmp_path, _1=joint(1))) == SetCaption(joint(1))


@pytest.mark.parametrize(
    "texts", [{}, {"joint": " \n"}, {"_1": "one", "_3": "three"}, {"_1": "one", "_2": "", "_3": "a"}]
)
def test_missing_and_empty_captions_leave_the_set_out(tmp_path: Path, texts: dict[str, str]) -> None:
    result = composed(written(tmp_path, **texts))
    assert result.caption is None
    assert levels(result) == [Level.ERROR]
    assert result.findings[0].remedy


def test_a_given_panel_needs_no_text(tmp_path: Path) -> None:
    result = composed(written(tmp_path, summary="A day.", _2="two", _3="three"), references=(0,))
    assert result == SetCaption("[TOY] A day. [SCENE-1] [SCENE-2] two [SCENE-3] three")


@pytest.mark.parametrize(
    "text", ["[TOY] only prose", "[TOY] a [SCENE-1] b [SCENE-3] c", "[TOY] a [SCENE-2] b [SCENE-1] c [SCENE-3] d"]
)
def test_missing_and_disordered_markers_are_reported(tmp_path: Path, text: str) -> None:
    result = composed(written(tmp_path, joint=text))
    assert result.caption == text
    assert levels(result) == [Level.WARNING]


def test_a_panel_that_holds_the_marker_of_another(tmp_path: Path) -> None:
    result = composed(written(tmp_path, _1="one [SCENE-3]", _2="two", _3="three"))
    assert result.caption is None
    assert "SCENE-3" in result.findings[-1].problem


def test_parentheses_are_noted(tmp_path: Path) -> None:
    result = composed(written(tmp_path, joint=joint(1) + " (far away)"))
    assert levels(result) == [Level.NOTE]


def test_texts_that_were_not_understood_are_named(tmp_path: Path) -> None:
    files = replace(written(tmp_path), unused=(tmp_path / "a.txt", tmp_path / "b.txt"))
    assert "a.txt, b.txt" in composed(files).findings[0].remedy


def words(text: str) -> int:
    return len(text.split())


def test_a_caption_over_the_limit_says_where_it_is_cut() -> None:
    measured = measure("word " * 600 + "end", {"t5xxl": words})
    assert measured.tokens == {"t5xxl": 601}
    assert "“word word" in measured.problems[0]
    assert "512" in measured.problems[0]


def test_an_encoder_that_only_gives_the_tone_is_fine_beside_another() -> None:
    line = "word " * 100
    assert measure(line, {"t5xxl": words, "clip_l": words}).coarse == ("clip_l",)
    assert not measure(line, {"t5xxl": words, "clip_l": words}).problems
    assert len(measure(line, {"clip_l": words}).problems) == 1
