"""Texts, JSON and values changed as a stranger, an accident or an attacker might."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from ..incontext.errors import InContextError
from ..incontext.lora import tasks
from ..incontext.lora.recipe import Recipe
from ..incontext.panels import box, layout

STORY = tasks.recipe("film-storyboard")

_PIECES = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\0",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\u202e",
        "\u200b",
        "\ud800",
        "\udcff",
    ),
    *("é", "e\u0301", "字", "👩‍👧", "١٢", "²", "½", "Ⅷ", "ß", "İ", "％"),
    *(
        "[",
        "]",
        "[]",
        "[SCENE-1]",
        "[SCENE-4]",
        "[scene 2]",
        "[MOVIE-SHOTS]",
        "<Leo>",
        "<",
        ">",
        "{}",
        "{",
        "}",
        '"',
        "'",
        "`",
    ),
    *(
        "```",
        "```json\n",
        "~~~\n",
        "<think>",
        "</think>",
        "<|im_end|>",
        "**",
        "* ",
        "- ",
        "1. ",
        "# ",
        "SUMMARY:",
        "Panel 2:",
    ),
    *(
        "(",
        ")",
        "\\(",
        "\\",
        "((((",
        ",",
        ";",
        ":",
        "：",
        ", ,",
        "=",
        "%",
        "$(id)",
        "; rm -rf",
        "--option",
        "../",
        "..\\",
        "/",
        "~x",
    ),
    *(
        "CON",
        "aux .png",
        "COM¹",
        "NUL.",
        ".safetensors",
        "con.safetensors",
        "http://",
        "https://user:key@host:99999/v1",
        "#",
    ),
    *(
        "0",
        "-1",
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "nan",
        "inf",
        "9" * 400,
        "9" * 5_000,
        "1_0",
        "0x10",
        "1.5",
        "true",
        "null",
    ),
    *(
        "#ff",
        "rgb(",
        "hsl(1,1%,1%)",
        "rgb(999,0,0)",
        "red",
        "gray",
        "contain, extend edges",
        "top left",
        "LEFT",
        "1: contain",
    ),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        5,
        64,
        2**31,
        2**63,
        2**64,
        10**30,
        10**9,
        -(10**9),
        0.5,
        -0.0,
        1e300,
        1e400,
        -1e400,
    ),
    *(float("nan"), "", "a", "\0", "\ud800", "x" * 300, "x" * 30_000, "64", [], [1], [[]], {}, {"a": 1}, [None] * 300),
    *([64] * 5, ["a"] * 3, {"width": 64}, "../../x", "[SCENE-1]", "{}{}", "1e400"),
)
_REPEATS = (2, 3, 10, 100, 1_000, 20_000)
_LONGEST = 60_000  # characters of most cases; one of a hundred is `_LARGE`
_LARGE = 1_000_000


def odd_piece(rng: random.Random) -> str:
    return rng.choice(_PIECES)


def odd_text(rng: random.Random, seed: str) -> str:
    """A valid text with pieces put in, repeated, moved and left out."""
    longest = _LARGE if rng.random() < 0.01 else _LONGEST
    text = seed
    for _ in range(rng.choice([0, 1, 1, 2, 3, 6])):
        place, end = sorted(rng.randint(0, len(text)) for _ in range(2))
        match rng.randrange(6):
            case 0:
                text = text[:place] + odd_piece(rng) + text[place:]
            case 1:
                unit = text[place:end] or odd_piece(rng)
                text = text[:place] + (unit * rng.choice(_REPEATS))[:longest] + text[end:]
            case 2:
                text = text[:place] + text[end:]
            case 3:
                text = text[end:] + text[place:end] + text[:place]
            case 4:
                text = text[:place] + rng.choice([str.upper, str.lower, str.swapcase])(text[place:end]) + text[end:]
            case _:
                unit = odd_piece(rng)
                text = text[:place] + (unit * rng.choice(_REPEATS))[:longest] + text[place:]
    return text[: 2 * longest]


def odd_json(rng: random.Random, value: Any) -> str:
    """JSON text of a changed value; now and then the text itself is changed too."""
    text = json.dumps(change(rng, value), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.2:
        text = odd_text(rng, text)
    if rng.random() < 0.02:
        depth = rng.choice([10, 70, 1_000, 100_000])
        text = text[:-1] + ', "deep": ' + "[" * depth + "]" * rng.choice([depth, 0]) + "}"
    return text


def change(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value, changed at some places."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        holder: Any = None
        at: Any = None
        here = value
        while isinstance(here, dict | list) and here and (holder is None or rng.random() < 0.75):
            holder, at = here, rng.choice(list(here) if isinstance(here, dict) else range(len(here)))
            here = holder[at]
        if holder is None:
            return copy.deepcopy(rng.choice(_VALUES))
        match rng.randrange(5):
            case 0:
                holder.pop(at)
            case 1 if isinstance(here, str):
                holder[at] = odd_text(rng, here)
            case 2 if isinstance(holder, list):
                holder.extend(copy.deepcopy(here) for _ in range(rng.choice((1, 2, 300))))
            case 3 if isinstance(holder, dict):
                holder[odd_piece(rng)] = copy.deepcopy(here)
            case _:
                holder[at] = copy.deepcopy(rng.choice(_VALUES))
    return value


def random_recipe(rng: random.Random) -> Recipe:
    """A published one, or one with other markers, as a stranger may give."""
    if rng.random() < 0.7:
        return STORY
    count = rng.choice([1, 2, 40, 256])
    boxes = tuple(box.Box(16 * n, 0, 16, 16) for n in range(count))
    marks = rng.choice(
        [
            [f"[P{n}]" for n in range(count)],
            [f"{n}." for n in range(count)],
            ["a" * (1 + n % 120) + str(n // 120) for n in range(count)],
            [f"- {'_' * n} x" if n < 100 else f"- {n}" for n in range(count)],
        ]
    )
    try:
        return Recipe(
            "other", layout.PanelLayout(64 * 64, 64, boxes), markers=tuple(marks), prefix=odd_piece(rng)[:100]
        )
    except InContextError:
        return STORY
