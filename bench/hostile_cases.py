"""One case per parser: an input that was changed, and the call that reads it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..incontext.captions import joint
from ..incontext.captions.describe import answer, servers
from ..incontext.dataset import images, texts
from ..incontext.dataset.build import build
from ..incontext.dataset.build import checked_name as dataset_name
from ..incontext.dataset.manifest import Dataset, read_references
from ..incontext.files.strict_json import parse
from ..incontext.lora import header, recipe_file, save
from ..incontext.lora.recipe import Recipe
from ..incontext.panels import arrange, fit
from ..incontext.panels.colours import parse_colour
from ..training.runs import monitor
from ..training.runs.run_folder import Run, parse_event, safe_name
from .hostile_mutation import STORY, change, odd_json, odd_piece, odd_text, random_recipe

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


def _recipe(rng: random.Random, places: Places) -> Callable[[], object]:
    text = odd_json(rng, STORY.to_json())
    return lambda: Recipe.from_json(parse(text)).to_json()


def _recipe_value(rng: random.Random, places: Places) -> Callable[[], object]:
    value = change(rng, STORY.to_json())

    def call() -> None:
        recipe = Recipe.from_json(value)
        json.dumps(recipe.to_json(), ensure_ascii=False, allow_nan=False).encode()
        joint.problems(recipe, joint.build(recipe, "", []))

    return call


def _sidecar(rng: random.Random, places: Places) -> Callable[[], object]:
    places.sidecar.write_bytes(odd_json(rng, STORY.to_json()).encode("utf-8", "surrogatepass"))
    return lambda: recipe_file.read_sidecar(places.sidecar)


def _header(rng: random.Random, places: Places) -> Callable[[], object]:
    entries: dict[str, Any] = {"__metadata__": {"incontext_lora": odd_json(rng, STORY.to_json()), "format": "pt"}}
    end = 0
    for number in range(rng.randint(1, 4)):
        entries[f"a{number}.lora_up.weight"] = {"dtype": "F16", "shape": [2, 4], "data_offsets": [end, end + 16]}
        end += 16
    text = json.dumps(entries) if rng.random() < 0.3 else odd_json(rng, entries)
    raw = text.encode("utf-8", "surrogatepass")
    length = len(raw) if rng.random() < 0.9 else rng.choice([0, 1, len(raw) * 2, 2**63, len(raw) - 1])
    places.lora.write_bytes(max(0, length).to_bytes(8, "little") + raw + bytes(end))

    def call() -> None:
        header.read_header(places.lora)
        recipe_file.find_recipe(places.lora)

    return call


def _caption(rng: random.Random, places: Places) -> Callable[[], object]:
    text = odd_text(rng, LINE)
    recipe = random_recipe(rng)

    def call() -> None:
        joint.problems(recipe, text)
        joint.marks(recipe, text)
        joint.parse(recipe, text)

    return call


def _built_caption(rng: random.Random, places: Places) -> Callable[[], object]:
    recipe = random_recipe(rng)
    summary, names = odd_text(rng, LINE), odd_text(rng, "Leo, Mia").split(",")
    panels = [odd_text(rng, "a (red) fox") for _ in range(rng.randint(0, 4))]
    return lambda: joint.build(recipe, summary, panels, names=names, escape_parentheses=rng.random() < 0.5)


def _answer(rng: random.Random, places: Places) -> Callable[[], object]:
    recipe, text = random_recipe(rng), odd_text(rng, rng.choice(ANSWERS))

    def call() -> None:
        understood = answer.read(recipe, text)
        answer.remarks(recipe, understood, answer.build(recipe, understood.parts))

    return call


def _answer_json(rng: random.Random, places: Places) -> Callable[[], object]:
    text = odd_json(rng, {"summary": "A story", "panels": ["He wakes.", "He runs.", {"text": "He sleeps."}]})
    return lambda: answer.read(STORY, text)


def _caption_file(rng: random.Random, places: Places) -> Callable[[], object]:
    encoding = rng.choice(
        ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gbk", "shift_jis", "koi8-r"]
    )
    data = bytearray(odd_text(rng, LINE).encode(encoding, "replace"))
    for _ in range(rng.randint(0, 3)):
        data[rng.randint(0, len(data)) :][:0] = bytes([rng.randrange(256)])
    places.sidecar.write_bytes(bytes(data))
    return lambda: (texts.decode(bytes(data)), texts.read(places.sidecar))


def _manifest(rng: random.Random, places: Places) -> Callable[[], object]:
    (places.dataset / "manifest.json").write_bytes(odd_json(rng, places.manifest).encode("utf-8", "surrogatepass"))
    return lambda: Dataset.load(places.dataset)


def _run(rng: random.Random, places: Places) -> Callable[[], object]:
    (places.run / "run.json").write_bytes(odd_json(rng, RUN).encode("utf-8", "surrogatepass"))
    lines = [odd_json(rng, event) if rng.random() < 0.5 else json.dumps(event) for event in EVENTS]
    (places.run / "events.jsonl").write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    run = Run(places.run)

    def call() -> None:
        json.dumps(monitor.news(run), allow_nan=False)
        monitor.layout(run)
        json.dumps(monitor.summary(run), allow_nan=False)

    return call


def _event(rng: random.Random, places: Places) -> Callable[[], object]:
    line = odd_json(rng, rng.choice(EVENTS)) + "\n"
    return lambda: parse_event(line)


def _layout(rng: random.Random, places: Places) -> Callable[[], object]:
    numbers = (0, 1, 2, 3, 16, 64, 512, 1024, 16384, -1, -64, 10**9, 2**63)
    values = {
        "kind": rng.choice([*(kind.value for kind in arrange.LayoutKind), odd_piece(rng)]),
        **{name: rng.choice(numbers) for name in ("rows", "columns", "gutter")},
        **{name: rng.choice((64, 512, 1024, 1024, *numbers)) for name in ("width", "height")},
        "columns_per_row": odd_text(rng, "1, 2, 2"),
        "panel_step": rng.choice(["8", "16", "32", "64", odd_piece(rng)]),
        "boxes": odd_text(rng, "HERO: 0, 0, 512, 512\n[SIDE]: 512, 0, 512, 512"),
        "names": rng.choice(["", odd_text(rng, "HERO, SIDE")]),
    }
    return lambda: arrange.panel_layout(**values).to_json()


def _texts_of(parser: Callable[[str], object], *seeds: str) -> Callable[[random.Random, Places], Callable[[], object]]:
    def make(rng: random.Random, places: Places) -> Callable[[], object]:
        text = odd_text(rng, rng.choice(seeds))
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
