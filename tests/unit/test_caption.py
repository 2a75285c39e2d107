from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.captions.joint import (
    JointCaption,
    TokenCount,
    build,
    count_tokens,
    escape,
    mark_names,
    parenthesis_problems,
    parse,
    problems,
    token_report,
)
from incontext_lora.incontext.errors import CaptionError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange

STORY = tasks.recipe("film-storyboard")
WORDS = st.lists(st.text("aZé1<>.,()\\[]-", min_size=1, max_size=6), min_size=1, max_size=5).map(" ".join)
RECIPES = st.sampled_from(
    [
        *tasks.RECIPES.values(),
        Recipe("plain words", arrange.columns(128, 64, 3), prefix="story", markers=("IMAGE1", "IMAGE10", "IMAGE1-B")),
        Recipe("parentheses", arrange.rows(64, 128, 2), prefix="(trigger)", markers=("(1)", "[second (low)]")),
    ]
)


@st.composite
def captions(draw: st.DrawFn) -> tuple[Recipe, JointCaption]:
    recipe = draw(RECIPES)
    words = WORDS.filter(lambda text: not any(phrase in text for phrase in (*recipe.markers, recipe.prefix) if phrase))
    return recipe, JointCaption(draw(words), tuple(draw(words) for _ in recipe.markers))


@given(captions(), st.booleans())
def test_parse_is_the_inverse_of_build(drawn: tuple[Recipe, JointCaption], escaped: bool) -> None:
    recipe, caption = drawn
    if escaped:
        caption = JointCaption(escape(caption.summary), tuple(map(escape, caption.panels)))
    line = build(recipe, caption.summary, caption.panels, escape_parentheses=escaped)
    assert parse(recipe, line) == caption


@given(captions())
def test_a_caption_is_one_line_with_its_prefix_once(drawn: tuple[Recipe, JointCaption]) -> None:
    recipe, caption = drawn
    summary = f" {recipe.prefix}\n{recipe.prefix} {caption.summary}\r\n"
    panels = [f"{marker}\t{text}\n" for marker, text in zip(recipe.markers, caption.panels, strict=True)]
    line = build(recipe, summary, panels)
    assert line == build(recipe, caption.summary, caption.panels)
    assert line == " ".join(line.split())
    assert line.startswith(recipe.prefix)
    assert not problems(recipe, line) or "(" in line or ")" in line


def test_a_storyboard() -> None:
    line = build(STORY, "Leo at a party.", ["Leo enters", "Leo dances", "Leo leaves."], names=["Leo"])
    assert (
        line == "[MOVIE-SHOTS] <Leo> at a party. [SCENE-1] <Leo> enters [SCENE-2] <Leo> dances [SCENE-3] <Leo> leaves."
    )


def test_the_recipes_opening_stands_for_an_empty_summary() -> None:
    recipe = tasks.recipe("couple-profile")
    assert build(recipe, " \n", ["a", "b"]) == "This two-part image portrays a couple of [LEFT] a [RIGHT] b"
    with_prefix = Recipe("p", recipe.layout, prefix="[P]", opening="Two")
    assert build(with_prefix, "[P]", ["a", "b"]) == "[P] Two [LEFT] a [RIGHT] b"


def test_missing_texts_are_empty() -> None:
    assert build(STORY, "s", ["a"]) == "[MOVIE-SHOTS] s [SCENE-1] a [SCENE-2] [SCENE-3]"
    assert parse(STORY, "[MOVIE-SHOTS] s [SCENE-1] a [SCENE-2] [SCENE-3]").panels == ("a", "", "")


def test_the_prefix_of_another_lora_is_replaced() -> None:
    recipe = Recipe("toys", arrange.rows(64, 128, 2), prefix="[TOY]", opening="Two toys")
    own = "[TOY] a bear [TOP] sits [BOTTOM] sleeps"
    assert build(recipe, "[MOVIE-SHOTS] a bear", ["sits", "sleeps"]) == own
    assert build(recipe, "[TOY] [MOVIE-SHOTS] [TOY] a bear", ["sits", "sleeps"]) == own
    assert parse(recipe, own.replace("[TOY]", "[MOVIE-SHOTS]")).summary == "a bear"
    assert build(recipe, "[MOVIE-SHOTS]", ["sits", "sleeps"]).startswith("[TOY] Two toys [TOP]")
    assert "[Leo] plays" in build(recipe, "[Leo] plays", ["", ""]), "a word in brackets is not a trigger"
    with pytest.raises(CaptionError, match=r"holds the panel marker \[TOP\]"):
        build(recipe, "[TOP] a bear", ["sits", "sleeps"])
    without = replace(recipe, prefix="")
    assert build(without, "[MOVIE-SHOTS] a bear", ["", ""]).startswith("[MOVIE-SHOTS] a bear"), "nothing is doubled"


def test_a_prefix_is_not_part_of_a_longer_word() -> None:
    recipe = Recipe("p", arrange.rows(64, 128, 2), prefix="my")
    line = build(recipe, "mystery", ["a", "b"])
    assert line == "my mystery [TOP] a [BOTTOM] b"
    assert parse(recipe, line).summary == "mystery"
    assert any("does not begin with the prefix my" in found for found in problems(recipe, line[3:]))


def test_the_prefix_may_stand_directly_before_the_summary() -> None:
    assert build(STORY, "[MOVIE-SHOTS]In a city", ["a"]).startswith("[MOVIE-SHOTS] In a city [SCENE-1]")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: build(STORY, "", ["a"] * 4), ["4 panel texts for 3 panels", "[SCENE-3]", "Remove"]),
        (lambda: build(STORY, "", ["a", "b [SCENE-3] c"]), ["panel [SCENE-2] holds the marker [SCENE-3]"]),
        (lambda: build(STORY, "", ["[SCENE-1] a [SCENE-1] b"]), ["panel [SCENE-1] holds the marker [SCENE-1]"]),
        (lambda: build(STORY, "x [SCENE-1] a", []), ["summary holds the panel marker [SCENE-1]", "Move"]),
        (lambda: parse(STORY, "x [SCENE-2] a"), ["lacks [SCENE-1], [SCENE-3]", "film-storyboard needs [SCENE-1]"]),
        (lambda: parse(STORY, "[SCENE-1] a [SCENE-1] [SCENE-2] [SCENE-3]"), ["[SCENE-1] more than once", "Remove"]),
        (lambda: parse(STORY, "[SCENE-2] [SCENE-1] [SCENE-3]"), ["order [SCENE-2] [SCENE-1] [SCENE-3]; expected"]),
    ],
)
def test_misplaced_markers_are_refused(make: Callable[[], object], says: list[str]) -> None:
    with pytest.raises(CaptionError) as refused:
        make()
    for words in says:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[MOVIE-SHOTS] s\n[SCENE-1] a [SCENE-2] b [SCENE-3] c", "line breaks"),
        ("s [SCENE-1] a [SCENE-2] b [SCENE-3] c", "prefix [MOVIE-SHOTS]"),
        ("[MOVIE-SHOTS] s [SCENE-1] a [SCENE-3] c", "lacks [SCENE-2]"),
        ("[MOVIE-SHOTS] [SCENE-1] a [SCENE-2] b [SCENE-3] c", "no summary"),
        ("[MOVIE-SHOTS] s [SCENE-1] a [SCENE-2] [SCENE-3]", "No text follows [SCENE-2], [SCENE-3]"),
        ("[MOVIE-SHOTS] s (so) [SCENE-1] a [SCENE-2] b [SCENE-3] c", "as emphasis"),
        ("[MOVIE-SHOTS] s ( [SCENE-1] a [SCENE-2] b [SCENE-3] c", "not balanced"),
    ],
)
def test_problems_are_named_one_by_one(line: str, says: str) -> None:
    (found,) = problems(STORY, line)
    assert says in found


def test_a_good_caption_has_no_problems() -> None:
    assert problems(STORY, "[MOVIE-SHOTS] s \\(so\\) [SCENE-1] a [SCENE-2] b [SCENE-3] c\n") == ()


@given(st.text("a ()\\", max_size=12))
def test_escaping_twice_is_escaping_once_and_leaves_nothing_to_report(text: str) -> None:
    assert escape(escape(text)) == escape(text)
    assert parenthesis_problems(escape(text)) == []


@pytest.mark.parametrize("text", ["(", ")", ")(", "(a))", "((a)"])
def test_unbalanced_parentheses(text: str) -> None:
    assert "not balanced" in parenthesis_problems(text)[0]


@pytest.mark.parametrize(
    ("text", "names", "name_format", "expected"),
    [
        ("Leo and Leonie", ["Leo"], "<{}>", "<Leo> and Leonie"),
        ("<Leo>'s cat, Leo's dog", ["Leo"], "<{}>", "<Leo>'s cat, <Leo>'s dog"),
        ("Leo Smith and Leo", ["Leo", "Leo Smith"], "<{}>", "<Leo Smith> and <Leo>"),
        ("Leo", ["<Leo>", " ", ""], "<{}>", "<Leo>"),
        ("Leo (cat)", ["Leo (cat)"], "<{}>", "<Leo (cat)>"),
        ("李雷 和 Leo", ["李雷"], "<{}>", "<李雷> 和 Leo"),
        ("Leo", ["Leo"], "{}", "Leo"),
        ("Leo", ["Leo"], "@{}", "@Leo"),
        ("Leo", [], "<{}>", "Leo"),
    ],
)
def test_names_are_written_in_the_recipes_form(text: str, names: list[str], name_format: str, expected: str) -> None:
    assert mark_names(text, names, name_format) == expected


@given(st.text("ab <>", max_size=12), st.lists(st.text("ab ", max_size=3), max_size=3))
def test_names_are_marked_once(text: str, names: list[str]) -> None:
    marked = mark_names(text, names, "<{}>")
    assert mark_names(marked, names, "<{}>") == marked


# --- tokens ---------------------------------------------------------------------------------------------------------


def letters(text: str) -> int:
    """A tokenizer of letters, with a start and an end token."""
    return 2 + len(re.sub(r"\s", "", text))


@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=12).map(" ".join), st.integers(2, 40))
def test_the_cut_is_the_first_word_that_does_not_fit(caption: str, limit: int) -> None:
    (entry,) = count_tokens(caption, {"letters": letters}, {"letters": limit})
    assert entry.count == letters(caption)
    if entry.cut is None:
        assert entry.count <= limit
        return
    word = caption[entry.cut :].split()[0]
    assert letters(caption[: entry.cut]) <= limit < letters(caption[: entry.cut] + word)
    assert entry.cut == 0 or caption[entry.cut - 1] == " "


def test_an_encoder_without_a_limit_is_only_counted() -> None:
    assert count_tokens("a b", {"gemma": letters}) == (TokenCount("gemma", 4, None, None),)


def test_the_report_names_counts_limits_and_the_word_at_the_limit() -> None:
    counts = count_tokens("aaaa bbbb", {"clip_l": letters, "t5xxl": letters}, {"clip_l": 7, "t5xxl": 512})
    assert token_report("aaaa bbbb", counts) == (
        "clip_l: 10 tokens of 7; the limit falls before “bbbb”\nt5xxl: 10 tokens of 512"
    )
