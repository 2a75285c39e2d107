"""Hostile inputs for every parser of what others wrote: valid ones, changed where it hurts.

Each case follows from its number alone, so that one that fails can be tried again: ``case(number)``. Imported as part of the
package ``incontext_lora`` (see trust.py), since the trainer's side of the pack is too.
"""

from __future__ import annotations

import copy
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..incontext.captions import joint
from ..incontext.captions.describe import answer, servers
from ..incontext.dataset import Dataset, build, images, read_references, texts
from ..incontext.dataset.build import checked_name as dataset_name
from ..incontext.errors import InContextError
from ..incontext.files.strict_json import JsonError, parse
from ..incontext.lora import header, recipe_file, save, tasks
from ..incontext.lora.recipe import Recipe
from ..incontext.panels import arrange, box, fit, layout
from ..incontext.panels.colours import parse_colour
from ..training.runs import monitor
from ..training.runs.run_folder import Run, parse_event, safe_name

OURS = (InContextError, JsonError, images.UnreadableImage)
SECONDS = 1.0  # of processor time, which a case may take
MEMORY = 256 << 20  # bytes, by which a case may raise the process's peak

STORY = tasks.recipe("film-storyboard")
LINE = "[MOVIE-SHOTS] <Leo> walks. [SCENE-1] a (red) fox [SCENE-2] snow, \\(deep\\) [SCENE-3] the end"
ANSWERS = (
    "SUMMARY: A story of <Leo>.\n[SCENE-1] He wakes.\n[SCENE-2] He runs.\n[SCENE-3] He sleeps.",
    "<think>Let me see.</think>\n```json\n"
    + json.dumps({"summary": "A story", "panels": ["He wakes.", "He runs.", "He sleeps."]})
    + "\n```\nAnything else?",
    "Sure!\n\n**Panel 1:** He wakes.\n**Panel 2:** He runs.\n\n- *[scene 3]* - He sleeps.\n\nI hope this helps.",
)
RUN = {
    "version": 1,
    "name": "story",
    "trainer": "in-host",
    "settings": {"steps": 400, "rank": 16, "learning_rate": 2e-3},
    "recipe": STORY.to_json(),
    "dataset": {"name": "sets", "digest": "0" * 64},
}
EVENTS = (
    {"time": 1.5, "seconds": 0.1, "event": "started", "steps": 400},
    {"time": 2.5, "event": "phase", "phase": "training"},
    {"time": 3.5, "event": "step", "step": 1, "loss": 0.25, "smoothed": 0.25, "learning_rate": 1e-3},
    {"time": 4.5, "event": "sample", "step": 1, "file": "a.png"},
    {"time": 5.5, "event": "finished", "lora": "story.safetensors"},
)

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


@dataclass
class Outcome:
    """What a campaign showed.

    Attributes:
        cases: number of cases by parser.
        refused: how many of them were refused.
        foreign: case number, parser and error of each that ended in an error of another kind.
        slowest: seconds, case number and parser of the slowest.
        hungriest: bytes by which one case raised the peak, its number and parser.
    """

    cases: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    foreign: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: tuple[float, int, str] = (0.0, -1, "")
    hungriest: tuple[int, int, str] = (0, -1, "")


def campaign(numbers: Sequence[int], folder: Path) -> Outcome:
    """Try the cases of these numbers.

    Args:
        folder: an empty one, for parsers of files.
    """
    outcome = Outcome()
    places = Places(folder)
    for number in numbers:
        name, call = case(number, places)
        outcome.cases[name] += 1
        peak, began = _peak(), time.process_time()
        try:
            call()
        except OURS as error:
            outcome.refused[name] += 1
            problem = _unreadable(str(error))
            if problem:
                outcome.foreign.append((number, name, problem))
        except Exception as error:  # what the campaign looks for
            outcome.foreign.append((number, name, f"{type(error).__name__}: {str(error)[:200]!r}"))
        outcome.slowest = max(outcome.slowest, (time.process_time() - began, number, name))
        outcome.hungriest = max(outcome.hungriest, (_peak() - peak, number, name))
    return outcome


def case(number: int, places: Places) -> tuple[str, Callable[[], object]]:
    """A parser's name, and the call of it with an input that follows from the number."""
    rng = random.Random(number)
    name = rng.choice(list(PARSERS))
    return name, PARSERS[name](rng, places)


class Places:
    """Files whose content changes from case to case."""

    def __init__(self, folder: Path) -> None:
        self.lora = folder / "a.safetensors"
        self.sidecar = folder / "a.incontext.json"
        self.dataset = folder / "dataset"
        self.run = folder / "run"
        for part in (self.dataset, self.run, self.run / "checkpoints", self.run / "samples"):
            part.mkdir(parents=True, exist_ok=True)
        self.manifest = _built(folder)


def _built(folder: Path) -> Any:
    """The manifest of a real dataset of two sets."""
    recipe = Recipe("pair", arrange.columns(128, 64, 2))
    for number in range(2):
        one = folder / "sets" / f"set-{number}"
        one.mkdir(parents=True, exist_ok=True)
        for panel in range(2):
            noise = np.random.default_rng(2 * number + panel).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(one / f"{panel + 1}.png")
        (one / "caption.txt").write_text(f"Set {number}. [LEFT] a [RIGHT] b", encoding="utf-8")
    return build(folder / "sets", folder / "built", recipe).to_json()


# --- parsers ----------------------------------------------------------------------------------------------------------


def _recipe(rng: random.Random, places: Places) -> Callable[[], object]:
    text = _json(rng, STORY.to_json())
    return lambda: Recipe.from_json(parse(text)).to_json()


def _recipe_value(rng: random.Random, places: Places) -> Callable[[], object]:
    value = _changed(rng, STORY.to_json())

    def call() -> None:
        recipe = Recipe.from_json(value)
        json.dumps(recipe.to_json(), ensure_ascii=False, allow_nan=False).encode()
        joint.problems(recipe, joint.build(recipe, "", []))

    return call


def _sidecar(rng: random.Random, places: Places) -> Callable[[], object]:
    places.sidecar.write_bytes(_json(rng, STORY.to_json()).encode("utf-8", "surrogatepass"))
    return lambda: recipe_file.read_sidecar(places.sidecar)


def _header(rng: random.Random, places: Places) -> Callable[[], object]:
    entries: dict[str, Any] = {"__metadata__": {"incontext_lora": _json(rng, STORY.to_json()), "format": "pt"}}
    end = 0
    for number in range(rng.randint(1, 4)):
        entries[f"a{number}.lora_up.weight"] = {"dtype": "F16", "shape": [2, 4], "data_offsets": [end, end + 16]}
        end += 16
    text = json.dumps(entries) if rng.random() < 0.3 else _json(rng, entries)
    raw = text.encode("utf-8", "surrogatepass")
    length = len(raw) if rng.random() < 0.9 else rng.choice([0, 1, len(raw) * 2, 2**63, len(raw) - 1])
    places.lora.write_bytes(max(0, length).to_bytes(8, "little") + raw + bytes(end))

    def call() -> None:
        header.read_header(places.lora)
        recipe_file.find_recipe(places.lora)

    return call


def _caption(rng: random.Random, places: Places) -> Callable[[], object]:
    text = _text(rng, LINE)
    recipe = _random_recipe(rng)

    def call() -> None:
        joint.problems(recipe, text)
        joint.marks(recipe, text)
        joint.parse(recipe, text)

    return call


def _built_caption(rng: random.Random, places: Places) -> Callable[[], object]:
    recipe = _random_recipe(rng)
    summary, names = _text(rng, LINE), _text(rng, "Leo, Mia").split(",")
    panels = [_text(rng, "a (red) fox") for _ in range(rng.randint(0, 4))]
    return lambda: joint.build(recipe, summary, panels, names=names, escape_parentheses=rng.random() < 0.5)


def _answer(rng: random.Random, places: Places) -> Callable[[], object]:
    recipe, text = _random_recipe(rng), _text(rng, rng.choice(ANSWERS))

    def call() -> None:
        understood = answer.read(recipe, text)
        answer.remarks(recipe, understood, answer.build(recipe, understood.parts))

    return call


def _answer_json(rng: random.Random, places: Places) -> Callable[[], object]:
    text = _json(rng, {"summary": "A story", "panels": ["He wakes.", "He runs.", {"text": "He sleeps."}]})
    return lambda: answer.read(STORY, text)


def _caption_file(rng: random.Random, places: Places) -> Callable[[], object]:
    encoding = rng.choice(
        ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gbk", "shift_jis", "koi8-r"]
    )
    data = bytearray(_text(rng, LINE).encode(encoding, "replace"))
    for _ in range(rng.randint(0, 3)):
        data[rng.randint(0, len(data)) :][:0] = bytes([rng.randrange(256)])
    places.sidecar.write_bytes(bytes(data))
    return lambda: (texts.decode(bytes(data)), texts.read(places.sidecar))


def _manifest(rng: random.Random, places: Places) -> Callable[[], object]:
    (places.dataset / "manifest.json").write_bytes(_json(rng, places.manifest).encode("utf-8", "surrogatepass"))
    return lambda: Dataset.load(places.dataset)


def _run(rng: random.Random, places: Places) -> Callable[[], object]:
    (places.run / "run.json").write_bytes(_json(rng, RUN).encode("utf-8", "surrogatepass"))
    lines = [_json(rng, event) if rng.random() < 0.5 else json.dumps(event) for event in EVENTS]
    (places.run / "events.jsonl").write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    run = Run(places.run)

    def call() -> None:
        json.dumps(monitor.news(run), allow_nan=False)
        monitor.layout(run)
        json.dumps(monitor.summary(run), allow_nan=False)

    return call


def _event(rng: random.Random, places: Places) -> Callable[[], object]:
    line = _json(rng, rng.choice(EVENTS)) + "\n"
    return lambda: parse_event(line)


def _layout(rng: random.Random, places: Places) -> Callable[[], object]:
    numbers = (0, 1, 2, 3, 16, 64, 512, 1024, 16384, -1, -64, 10**9, 2**63)
    values = {
        "kind": rng.choice([*(kind.value for kind in arrange.LayoutKind), _piece(rng)]),
        **{name: rng.choice(numbers) for name in ("rows", "columns", "gutter")},
        **{name: rng.choice((64, 512, 1024, 1024, *numbers)) for name in ("width", "height")},
        "columns_per_row": _text(rng, "1, 2, 2"),
        "panel_step": rng.choice(["8", "16", "32", "64", _piece(rng)]),
        "boxes": _text(rng, "HERO: 0, 0, 512, 512\n[SIDE]: 512, 0, 512, 512"),
        "names": rng.choice(["", _text(rng, "HERO, SIDE")]),
    }
    return lambda: arrange.panel_layout(**values).to_json()


def _texts_of(parser: Callable[[str], object], *seeds: str) -> Callable[[random.Random, Places], Callable[[], object]]:
    def make(rng: random.Random, places: Places) -> Callable[[], object]:
        text = _text(rng, rng.choice(seeds))
        return lambda: parser(text)

    return make


def _picture(rng: random.Random, places: Places) -> Callable[[], object]:
    buffer = io.BytesIO()
    noise = np.random.default_rng(rng.randrange(1000)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA"]))
    data = bytearray(buffer.getvalue())
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(data))
        data[place : place + rng.choice([0, 1, 4])] = rng.choice(
            [b"", b"\xff" * 4, bytes([rng.randrange(256)]), b"\0\0\0\1"]
        )
        data = data or bytearray(b"\0")
    return lambda: images.decode(bytes(data), fit.WHITE, (64, 64))


PARSERS: dict[str, Callable[[random.Random, Places], Callable[[], object]]] = {
    "recipe": _recipe,
    "recipe value": _recipe_value,
    "sidecar": _sidecar,
    "LoRA header": _header,
    "caption": _caption,
    "caption's fields": _built_caption,
    "answer": _answer,
    "JSON answer": _answer_json,
    "caption file": _caption_file,
    "manifest": _manifest,
    "run": _run,
    "event": _event,
    "layout": _layout,
    "boxes": _texts_of(arrange.parse_boxes, "0, 0, 64, 64\nA: 64, 0, 64, 64"),
    "counts": _texts_of(arrange.parse_counts, "1, 2, 2"),
    "colour": _texts_of(parse_colour, "white", "#ff8800", "255, 136, 0", "hsl(120, 50%, 50%)"),
    "LoRA's name": _texts_of(save.checked_name, "storyboard", "my-style/storyboard.safetensors"),
    "run's name": _texts_of(safe_name, "my run 2"),
    "dataset's name": _texts_of(dataset_name, "my-shots"),
    "panels": _texts_of(lambda text: STORY.layout.select_some(text), "1, 3", "SCENE-2"),
    "references": _texts_of(lambda text: read_references(text, STORY.layout), "1; 2", "SCENE-1, SCENE-3"),
    "exceptions": _texts_of(
        lambda text: fit.settings_per_panel(STORY.layout, fit.PanelSettings(), text),
        "1: contain, top\nSCENE-2: stretch",
    ),
    "server's address": _texts_of(
        servers.address, "http://127.0.0.1:11434/v1", "https://api.example.com/v1/chat/completions"
    ),
    "picture": _picture,
}


# --- mutation ---------------------------------------------------------------------------------------------------------


def _piece(rng: random.Random) -> str:
    return rng.choice(_PIECES)


def _text(rng: random.Random, seed: str) -> str:
    """A valid text with pieces put in, repeated, moved and left out."""
    longest = _LARGE if rng.random() < 0.01 else _LONGEST
    text = seed
    for _ in range(rng.choice([0, 1, 1, 2, 3, 6])):
        place, end = sorted(rng.randint(0, len(text)) for _ in range(2))
        match rng.randrange(6):
            case 0:
                text = text[:place] + _piece(rng) + text[place:]
            case 1:
                unit = text[place:end] or _piece(rng)
                text = text[:place] + (unit * rng.choice(_REPEATS))[:longest] + text[end:]
            case 2:
                text = text[:place] + text[end:]
            case 3:
                text = text[end:] + text[place:end] + text[:place]
            case 4:
                text = text[:place] + rng.choice([str.upper, str.lower, str.swapcase])(text[place:end]) + text[end:]
            case _:
                unit = _piece(rng)
                text = text[:place] + (unit * rng.choice(_REPEATS))[:longest] + text[place:]
    return text[: 2 * longest]


def _json(rng: random.Random, value: Any) -> str:
    """JSON text of a changed value; now and then the text itself is changed too."""
    text = json.dumps(_changed(rng, value), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.2:
        text = _text(rng, text)
    if rng.random() < 0.02:
        depth = rng.choice([10, 70, 1_000, 100_000])
        text = text[:-1] + ', "deep": ' + "[" * depth + "]" * rng.choice([depth, 0]) + "}"
    return text


def _changed(rng: random.Random, value: Any) -> Any:
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
                holder[at] = _text(rng, here)
            case 2 if isinstance(holder, list):
                holder.extend(copy.deepcopy(here) for _ in range(rng.choice((1, 2, 300))))
            case 3 if isinstance(holder, dict):
                holder[_piece(rng)] = copy.deepcopy(here)
            case _:
                holder[at] = copy.deepcopy(rng.choice(_VALUES))
    return value


def _random_recipe(rng: random.Random) -> Recipe:
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
        return Recipe("other", layout.PanelLayout(64 * 64, 64, boxes), markers=tuple(marks), prefix=_piece(rng)[:100])
    except InContextError:
        return STORY


def _unreadable(message: str) -> str:
    """What is wrong with one of our own messages; empty where a person can read it."""
    if not message.strip():
        return "an empty message"
    if len(message) > 20_000:
        return f"a message of {len(message)} characters"
    return ""


def _peak() -> int:
    """Bytes of memory that the process has had at most; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
