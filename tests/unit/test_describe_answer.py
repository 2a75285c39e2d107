"""What models answer → captions: whatever form it has, the same parts come out, or an error says why not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.captions import joint
from incontext_lora.incontext.captions.describe.answer import AnswerError, build, read, remarks
from incontext_lora.incontext.captions.describe.instruction import instruction, once_more
from incontext_lora.incontext.captions.describe.options import CaptionRequest, Pictures
from incontext_lora.incontext.captions.joint import JointCaption
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import columns, custom, rows
from incontext_lora.incontext.panels.box import Box

STORY = tasks.recipe("film-storyboard")
PORTRAITS = tasks.recipe("portrait-photography")
RECIPES = [*tasks.OFFICIAL, *tasks.COMMUNITY]
SUMMARY = "In a quiet harbour <Leo> sets out"
TEXTS = ("a wide shot of <Leo> on the pier", "a close shot of his hands: a compass", "the boat, far out")
PLAIN = "\n".join([f"SUMMARY: {SUMMARY}", *(f"{m} {t}" for m, t in zip(STORY.markers, TEXTS, strict=True))])
EXPECTED = JointCaption(SUMMARY, TEXTS)


def sections(label: Callable[[int, str], str], between: str = "\n", summary: str = f"SUMMARY: {SUMMARY}") -> str:
    parts = [
        label(number, marker) + text for number, (marker, text) in enumerate(zip(STORY.markers, TEXTS, strict=True), 1)
    ]
    return between.join([summary, *parts])


# --- round trips ----------------------------------------------------------------------------------------------------

# sentences that hold no marker, do not begin like a list and have no quotes around all of them
words = st.text("abcdefghij'éü猫,()0123456789", min_size=1, max_size=8)
sentences = (
    st.lists(words, min_size=1, max_size=8).map(" ".join).filter(lambda text: text[0].isalpha() and text[-1] != "'")
)


def as_asked(recipe: Recipe, parts: JointCaption) -> str:
    lines = [f"{marker} {text}" for marker, text in zip(recipe.markers, parts.panels, strict=True)]
    return "\n".join([f"SUMMARY: {parts.summary}", *lines])


def as_caption(recipe: Recipe, parts: JointCaption) -> str:
    return joint.build(recipe, parts.summary, parts.panels)


def as_headings(recipe: Recipe, parts: JointCaption) -> str:
    lines = [f"### **{marker}**\n\n{text}" for marker, text in zip(recipe.markers, parts.panels, strict=True)]
    return "\n\n".join(["Here you go!", f"**Summary:** {parts.summary}", *lines])


def as_json(recipe: Recipe, parts: JointCaption) -> str:
    return json.dumps({"summary": parts.summary, "panels": list(parts.panels)})


def as_json_by_marker(recipe: Recipe, parts: JointCaption) -> str:
    panels = {marker: {"description": text} for marker, text in zip(recipe.markers, parts.panels, strict=True)}
    return json.dumps({"Summary": parts.summary, **panels}, ensure_ascii=False, indent=2)


def thinking(text: str) -> str:
    return f"<think>\nThe user wants [SCENE-1] … maybe\nSUMMARY: no\n</think>\n\n{text}"


def fenced(text: str) -> str:
    return f"Sure, here it is:\n\n```text\n{text}\n```\nLet me know!"


@given(
    recipe=st.sampled_from(RECIPES),
    form=st.sampled_from([as_asked, as_caption, as_headings, as_json, as_json_by_marker]),
    around=st.sampled_from([(), (thinking,), (fenced,), (fenced, thinking), (thinking, fenced)]),
    data=st.data(),
)
def test_what_was_written_is_read(
    recipe: Recipe,
    form: Callable[[Recipe, JointCaption], str],
    around: tuple[Callable[[str], str], ...],
    data: st.DataObject,
) -> None:
    count = len(recipe.markers)
    parts = JointCaption(data.draw(sentences), tuple(data.draw(st.lists(sentences, min_size=count, max_size=count))))
    text = form(recipe, parts)
    for wrap in around:
        text = wrap(text)
    read_parts = read(recipe, text).parts
    assert read_parts == parts
    # and what the node makes of it is a caption that the library reads back
    assert joint.parse(recipe, build(recipe, read_parts)) == parts


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        answer = read(STORY, text)
    except AnswerError:
        return
    assert all(answer.parts.panels)


# --- forms that models choose ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\n\n"),
        PLAIN.replace("\n", " "),
        PLAIN.replace("SUMMARY:", "[MOVIE-SHOTS]"),
        PLAIN.replace("SUMMARY:", "**Summary**:"),
        PLAIN.replace("SCENE-", "scene "),
        PLAIN.replace("SCENE-", "Scene_"),
        sections(lambda number, marker: f"**{marker}:** "),
        sections(lambda number, marker: f"**{marker}** – "),
        sections(lambda number, marker: f"- `{marker}`: "),
        sections(lambda number, marker: f"{number}. {marker} "),
        sections(lambda number, marker: f"\n## {marker}\n"),
        sections(lambda number, marker: f"SCENE-{number}: "),
        sections(lambda number, marker: f"**Panel {number}:** "),
        sections(lambda number, marker: f"Image #{number}： "),
        sections(lambda number, marker: f"{marker} ", summary=f"Here is the joint caption:\n\n{SUMMARY}"),
        "Okay.\n\n" + PLAIN,
        "Okay. " + PLAIN.replace("\n", " "),
        f"{PLAIN}\n\nLet me know if you want changes!",
        f"```\n{PLAIN}\n```",
        f"~~~markdown\n{PLAIN}\n~~~",
        f"```{PLAIN}",
        f"<think>first [SCENE-1], then [SCENE-1] again</think>{PLAIN}",
        f"the template began the thought [SCENE-1]</think>\n{PLAIN}",
        f"<THINKING>a</THINKING><think>b</think>{PLAIN}",
        f"<|start|>{PLAIN}<|im_end|>",
        "\ufeff" + PLAIN,
    ],
)
def test_a_usual_form_is_read(text: str) -> None:
    assert read(STORY, text).parts == EXPECTED


@pytest.mark.parametrize(
    "data",
    [
        {"summary": SUMMARY, "panels": TEXTS},
        {"Summary": SUMMARY, "panels": [{"caption": text} for text in TEXTS]},
        {"summary": SUMMARY, "panels": dict(zip(STORY.markers, TEXTS, strict=True))},
        {"summary": SUMMARY, "SCENE-1": TEXTS[0], "SCENE-2": TEXTS[1], "SCENE-3": TEXTS[2]},
        {"summary": SUMMARY, "panel_1": TEXTS[0], "panel_2": TEXTS[1], "panel_3": TEXTS[2]},
    ],
)
def test_json_is_read(data: dict[str, object]) -> None:
    assert read(STORY, json.dumps(data)).parts == EXPECTED
    assert read(STORY, f"Here is the JSON:\n```json\n{json.dumps(data, indent=2)}\n```").parts == EXPECTED


def test_panels_without_numbers_have_their_names() -> None:
    text = "Summary: one woman\nTop left: a\nTop right: b\n**Bottom-Left**: c\nBOTTOM RIGHT: d"
    assert read(PORTRAITS, text).parts == JointCaption("one woman", ("a", "b", "c", "d"))


def test_markers_that_are_words_and_one_panel() -> None:
    recipe = Recipe("x", columns(128, 64, 2), markers=("Left image:", "Right image:"))
    assert read(recipe, "A pair. Left image: a cup Right image: the cup").parts == JointCaption(
        "A pair.", ("a cup", "the cup")
    )
    single = Recipe("one", custom(64, 64, [Box(0, 0, 64, 64)], ["ONLY"]))
    assert read(single, "SUMMARY: s\n[ONLY] a cup").parts == JointCaption("s", ("a cup",))


def test_ten_panels_are_not_one() -> None:
    recipe = Recipe("long", rows(64, 1280, 10))
    lines = [f"{marker} shot {number}" for number, marker in enumerate(recipe.markers, 1)]
    assert read(recipe, "\n".join(["SUMMARY: s", *lines])).parts.panels[9] == "shot 10"
    bare = "\n".join(["SUMMARY: s", *(f"Panel {number}: shot {number}" for number in range(1, 11))])
    assert read(recipe, bare).parts.panels == tuple(f"shot {number}" for number in range(1, 11))


# --- repairs are reported ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN, []),
        (f"Sure!\n{PLAIN}", ["before the summary was left out: “Sure!”"]),
        (f"{PLAIN}\n\nLet me know!", ["after the last panel was left out: “Let me know!”"]),
        (PLAIN.replace("SCENE-", "Scene "), ["markers of the answer were repaired"]),
    ],
)
def test_repairs_that_could_lose_text_are_reported(text: str, words: list[str]) -> None:
    repairs = read(STORY, text).repairs
    assert len(repairs) == len(words)
    for repair, expected in zip(repairs, words, strict=True):
        assert expected in repair


def test_remarks_say_what_is_not_as_the_task_wants_it() -> None:
    answer = read(
        PORTRAITS, "SUMMARY: A woman\n[TOP-LEFT] a\n[TOP-RIGHT] b\n[BOTTOM-LEFT] c\n[BOTTOM-RIGHT] (d) " + "so " * 400
    )
    found = remarks(PORTRAITS, answer, build(PORTRAITS, answer.parts))
    assert "does not begin like the task's captions: “This [FOUR-PANEL] image illustrates”" in found[0]
    assert "words; text encoders drop text after about 350" in found[1]
    assert "emphasis" in found[2]
    good = read(
        PORTRAITS,
        "SUMMARY: This [four-panel] image illustrates a woman\n[TOP-LEFT] a\n[TOP-RIGHT] b\n[BOTTOM-LEFT] c\n[BOTTOM-RIGHT] d",
    )
    assert remarks(PORTRAITS, good, build(PORTRAITS, good.parts)) == ()


def test_a_missing_summary_is_the_recipes_opening() -> None:
    text = "\n".join(f"{marker} text" for marker in PORTRAITS.markers)
    answer = read(PORTRAITS, text)
    assert answer.parts.summary == ""
    assert build(PORTRAITS, answer.parts).startswith("This [FOUR-PANEL] image illustrates [TOP-LEFT]")


# --- what cannot be used --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "answer is empty"),
        (" \n\t", "answer is empty"),
        ("<think>what to say", "thought, but did not answer"),
        ("<think>hm</think>", "thought, but did not answer"),
        ("I'm sorry, I can't help with that.", "did not describe the panels. It says: “I'm sorry"),
        ("SUMMARY: s\n[SCENE-1] a\n[SCENE-2] b", r"lacks \[SCENE-3\]"),
        (PLAIN + "\n[SCENE-4] more", r"has \[SCENE-4\]; there are 3 panels"),
        (PLAIN + "\nPanel 4: more", "has Panel 4; there are 3 panels"),
        (PLAIN + "\n" + PLAIN, "more than once"),
        (
            PLAIN.replace("SCENE-2", "SCENE-9").replace("SCENE-1", "SCENE-2").replace("SCENE-9", "SCENE-1"),
            "in the order",
        ),
        ("SUMMARY: s\n[SCENE-1] a\n[SCENE-2]\n[SCENE-3] c", r"no text for \[SCENE-2\]"),
        (instruction(STORY, CaptionRequest()), "SCENE"),  # a model that repeats the question
        (json.dumps({"summary": "s", "panels": ["a", "b"]}), "describes 2 panels; there are 3"),
        (json.dumps({"summary": "s", "panels": ["a", "b", ""]}), r"no text for \[SCENE-3\]"),
        (json.dumps({"summary": "s", "panels": ["a", 7, "c"]}), r"no text for \[SCENE-2\]"),
        (json.dumps({"error": "no"}), "did not describe"),
        ("[" * 5000 + "{" * 5000, "did not describe"),
    ],
)
def test_an_unusable_answer_is_refused(text: str, words: str) -> None:
    with pytest.raises(AnswerError, match=words):
        read(STORY, text)


def test_a_long_answer_is_not_repeated_in_full() -> None:
    with pytest.raises(AnswerError) as error:
        read(STORY, "no " * 5000)
    assert len(str(error.value)) < 400


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_are_written_alike_everywhere() -> None:
    parts = JointCaption("<Leo> and Mia<br>", ("Leo runs", "Mia waits for Leo", "<Leo> and Mia"))
    assert build(STORY, parts, ["Mia"]) == (
        "[MOVIE-SHOTS] <Leo> and <Mia><br> [SCENE-1] <Leo> runs [SCENE-2] <Mia> waits for <Leo> [SCENE-3] <Leo> and <Mia>"
    )


# --- the instruction ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_instruction_asks_for_the_form_that_is_read(recipe: Recipe) -> None:
    text = instruction(recipe, CaptionRequest())
    *_, form = text.split("\n\n")
    assert form.splitlines() == ["SUMMARY: …", *(f"{marker} …" for marker in recipe.markers)]
    assert recipe.opening in text
    filled = form.replace("…", "text")
    assert read(recipe, filled).parts == JointCaption("text", ("text",) * len(recipe.markers))


def test_the_instruction_holds_what_the_user_wants() -> None:
    named = instruction(STORY, CaptionRequest.of(" Leo , <Mia>,, ", True, "two\nfriends"))
    assert "<Leo>, <Mia>." in named
    assert "Mind also: two friends" in named
    assert "of your choice" not in named
    assert "of your choice" in instruction(STORY, CaptionRequest.of("", True))
    assert "Do not make up names" in instruction(STORY, CaptionRequest())
    assert "The picture has 3 panels" in instruction(STORY, CaptionRequest(), Pictures.ALL)
    assert "lacks" in once_more("The answer lacks [SCENE-3].")
