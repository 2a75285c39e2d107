"""Joint captions before ComfyUI's own tokenizers and its reading of weights."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incontext_lora.incontext.captions.joint import JointCaption, build, count_tokens, escape, parse
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import grid

STORY = tasks.recipe("film-storyboard")
# as long as the captions of the method's own sample: about a hundred words, one line
LONG = build(
    STORY,
    "In a vibrant festival, <Leo>, a shy boy, overcomes his anxieties to join in the colorful crowd",
    [
        "<Leo>, standing on the edge of a bustling street in a striped jacket, gazes wide-eyed at the lanterns and the "
        "dancers who pass him in a swirl of red and gold",
        "<Leo> reaches out hesitantly for a paper kite that an old woman with silver hair hands him, his face glowing in "
        "the warm light of the stalls behind her",
        "finally <Leo> runs laughing through the square with the kite above his head, confetti in his hair, while the crowd "
        "cheers and the last sun falls between the roofs",
    ],
)


class Clip:
    """As much of a CLIP as counts: its tokenizers, and which encoders there are."""

    def __init__(self, tokenizer: Any, **encoders: Any) -> None:
        self.tokenizer = tokenizer
        self.cond_stage_model = SimpleNamespace(**encoders)


@pytest.fixture(scope="module")
def clips(host: Any) -> dict[str, Clip]:
    import comfy.sd1_clip
    import comfy.text_encoders.flux
    import comfy.text_encoders.sd3_clip

    return {
        "flux": Clip(comfy.text_encoders.flux.FluxTokenizer()),
        "sd3": Clip(comfy.text_encoders.sd3_clip.SD3Tokenizer()),
        "clip-l alone": Clip(comfy.text_encoders.sd3_clip.SD3Tokenizer(), clip_l="there", clip_g=None, t5xxl=None),
        "sd1": Clip(comfy.sd1_clip.SD1Tokenizer()),
    }


def counters(clip: Clip) -> Any:
    from incontext_lora.nodes.captions.tokens import counters

    return counters(clip)


@pytest.mark.parametrize(
    ("kind", "encoders"),
    [
        ("flux", {"clip_l", "t5xxl"}),
        ("sd3", {"clip_l", "clip_g", "t5xxl"}),
        ("clip-l alone", {"clip_l"}),
        ("sd1", {"clip_l"}),
    ],
)
def test_every_encoder_counts(clips: dict[str, Clip], kind: str, encoders: set[str]) -> None:
    assert set(counters(clips[kind])) == encoders


@pytest.mark.parametrize("text", ["", "a cat", LONG, "[SCENE-1] <Leo> \\(left\\), it's 3 o'clock — naïve 猫"])
def test_the_counts_are_those_of_the_tokenizers_themselves(clips: dict[str, Clip], text: str) -> None:
    flux = clips["flux"].tokenizer
    count = counters(clips["flux"])
    plain = text.replace("\\(", "(").replace("\\)", ")")
    assert count["clip_l"](text) == len(flux.clip_l.tokenizer(plain)["input_ids"])
    assert count["t5xxl"](text) == len(flux.t5xxl.tokenizer(plain)["input_ids"])


def test_a_long_caption_passes_77_tokens_but_not_512(clips: dict[str, Clip]) -> None:
    clip_l, t5 = count_tokens(LONG, counters(clips["flux"]))
    assert 77 < clip_l.count < t5.count < 512
    assert t5.cut is None
    assert clip_l.cut is not None
    count = counters(clips["flux"])["clip_l"]
    word = LONG[clip_l.cut :].split()[0]
    assert count(LONG[: clip_l.cut]) <= 77 < count(LONG[: clip_l.cut] + word)
    # what ComfyUI packs into the encoder's first 77 tokens is the text before the cut, and at most a part of that word
    tokenizer = clips["flux"].tokenizer.clip_l
    first, *_ = tokenizer.tokenize_with_weights(LONG, return_word_ids=True)
    read = letters(tokenizer.tokenizer.decode([token for token, _, word in first if word]))
    assert read.startswith(letters(LONG[: clip_l.cut]))
    assert letters(LONG[: clip_l.cut] + word).startswith(read)


def letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


@settings(max_examples=40)
@given(text=st.text("ab (),:1.\\[]<>", max_size=20).filter(lambda text: not text.endswith("\\")))
def test_escaped_text_has_no_weights(host: Any, text: str) -> None:
    from comfy.sd1_clip import escape_important, token_weights, unescape_important

    parsed = token_weights(escape_important(escape(text)), 1.0)
    assert {weight for _, weight in parsed} <= {1.0}
    plain = text.replace("\\(", "(").replace("\\)", ")")
    assert "".join(unescape_important(part) for part, _ in parsed) == plain


def test_the_node_writes_and_reports(host: Any, clips: dict[str, Clip]) -> None:
    caption, report = host.call(
        "InContextJointCaption",
        recipe=STORY,
        summary="Leo at a party (at night)",
        panel_1="Leo enters",
        panel_2="Leo dances",
        names="Leo, Mia",
        clip=clips["flux"],
    )
    assert caption == (
        "[MOVIE-SHOTS] <Leo> at a party \\(at night\\) [SCENE-1] <Leo> enters [SCENE-2] <Leo> dances [SCENE-3]"
    )
    missing, clip_l, t5 = report.splitlines()
    assert missing.startswith("No text follows [SCENE-3]")
    assert clip_l.startswith("clip_l: ")
    assert "of 77" in clip_l
    assert "of 512" in t5


def test_parentheses_are_left_where_that_is_wanted(host: Any) -> None:
    caption, report = host.call(
        "InContextJointCaption", recipe=STORY, summary="a (big) party", panel_1="a", panel_2="b", panel_3="c",
        escape_parentheses=False,
    )  # fmt: skip
    assert "(big)" in caption
    assert report == "ComfyUI reads (parentheses) as emphasis. Escape them, \\( \\), if they are meant as text."


def test_texts_beyond_the_layout_are_kept_and_not_sent(host: Any) -> None:
    fields = {f"panel_{n}": f"text {n}" for n in range(1, 10)}
    caption, report = host.call("InContextJointCaption", recipe=STORY, summary="a day", **fields, more_panels="ten\n\n")
    assert caption.endswith("[SCENE-1] text 1 [SCENE-2] text 2 [SCENE-3] text 3")
    assert report == "7 texts are not sent: the layout has 3 panels. A larger layout uses them again."


def test_as_many_panels_as_a_layout_can_have(host: Any) -> None:
    recipe = Recipe(name="many", layout=grid(1024, 1024, 16, 16))
    texts = [f"text {n}" for n in range(1, 257)]
    fields = {f"panel_{n}": text for n, text in enumerate(texts[:9], 1)}
    caption, report = host.call(
        "InContextJointCaption", recipe=recipe, summary="all", **fields, more_panels="\r\n".join(texts[9:])
    )
    assert parse(recipe, caption) == JointCaption("all", tuple(texts))
    assert not report


def test_a_wildcard_is_drawn_once_for_all_panels(host: Any) -> None:
    texts = {"summary": "{red|blue}", "panel_1": "a {red|blue} kite", "panel_2": "", "panel_3": "{red|blue}"}
    drawn = set()
    for seed in range(8):
        caption, _ = host.call("InContextJointCaption", recipe=STORY, **texts, wildcard_seed=seed)
        colour = caption.split()[1]
        assert caption == f"[MOVIE-SHOTS] {colour} [SCENE-1] a {colour} kite [SCENE-2] [SCENE-3] {colour}"
        drawn.add(colour)
    assert drawn == {"red", "blue"}
