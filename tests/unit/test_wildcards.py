"""Wildcards of captions: one option for each, the same in all panels, decided by the seed alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.captions.wildcards import DEEPEST, expand, has_wildcards
from incontext_lora.incontext.errors import CaptionError

SEEDS = st.integers(0, 2**64 - 1)


@given(SEEDS)
def test_a_wildcard_has_one_option_in_all_panels(seed: int) -> None:
    first, second, third = expand(["a {red|blue|green} coat", "{red|blue|green}", "no {red|blue|green}!"], seed)
    assert first in {"a red coat", "a blue coat", "a green coat"}
    assert (first, third) == (f"a {second} coat", f"no {second}!")


@given(SEEDS, st.text(max_size=40))
def test_an_option_depends_on_nothing_else_in_the_set(seed: int, other: str) -> None:
    assert expand(["{red|blue}", other.replace("{", "").replace("}", "")], seed)[0] == expand(["{red|blue}"], seed)[0]


def test_seeds_draw_all_options_about_as_often() -> None:
    drawn = Counter(expand(["{red|blue|green}"], seed)[0] for seed in range(3000))
    assert set(drawn) == {"red", "blue", "green"}
    assert min(drawn.values()) > 900


def test_different_wildcards_are_drawn_apart() -> None:
    pairs = {tuple(expand(["{red|blue}", "{old|new}"], seed)) for seed in range(64)}
    assert len(pairs) == 4


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("{|old }house", {"house", "old house"}),
        ("{a|{b|c}|d}", {"a", "b", "c", "d"}),
        ("{a { b|c} d", {"{a b d", "{a c d"} | {"{a  b d", "{ac d", "{a c d"}),
        (r"{a\|b|c}", {"a|b", "c"}),
    ],
)
def test_options_may_be_empty_nested_or_hold_escapes(text: str, possible: set[str]) -> None:
    assert {expand([text], seed)[0] for seed in range(100)} <= possible


@pytest.mark.parametrize(
    "text", ["", "plain", "{}", "{a}", "a|b", "}{", "{{a}}", "\\(left\\)", "{a", "b|c}", "naïve 👩‍🚀"]
)
def test_braces_without_options_are_text(text: str) -> None:
    assert expand([text], 3) == [text]
    assert not has_wildcards([text])


def test_escaped_braces_and_bars_lose_their_backslash() -> None:
    assert expand([r"\{red\|blue\}"], 1) == ["{red|blue}"]
    assert not has_wildcards([r"\{red|blue\}"])
    assert has_wildcards(["", "{red|blue}"])


def test_wildcards_that_lie_too_deep_are_refused_whatever_is_drawn() -> None:
    def nested(levels: int) -> str:
        return "{a|" * levels + "x" + "}" * levels

    assert expand([nested(DEEPEST) + nested(DEEPEST)], 1)
    with pytest.raises(CaptionError, match=f"more than {DEEPEST} levels"):
        expand([nested(DEEPEST + 1)], 1)
    assert expand(["{" * 1000], 1) == ["{" * 1000]


@given(SEEDS, st.text(alphabet="{}|\\ab", max_size=60))
def test_no_text_fails_or_grows(seed: int, text: str) -> None:
    try:
        (expanded,) = expand([text], seed)
    except CaptionError:
        return
    assert len(expanded) <= len(text)
