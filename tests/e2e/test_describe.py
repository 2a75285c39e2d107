"""Captions from a vision-language model, through the real ComfyUI server and a real server of the protocol."""

from __future__ import annotations

import html
import json
import time
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.demo import sets
from incontext_lora.demo.server import ComfyServer, ExecutionFailed, ExecutionInterrupted
from incontext_lora.demo.workflow import Prompt, find_node, load, set_value, to_prompt
from incontext_lora.tests.vision_server import VisionServer, hangs, says

GOOD = "<think>three pictures …</think>\nSUMMARY: One star,\n[SCENE-1] <Leo> rises\n[SCENE-2] Leo shines\n[SCENE-3] Leo sets"
CAPTION = "[MOVIE-SHOTS] One star, [SCENE-1] <Leo> rises [SCENE-2] <Leo> shines [SCENE-3] <Leo> sets"
SECRET = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def comfy(server: ComfyServer) -> ComfyServer:
    sets.write_inputs(server.base / "input")
    return server


def template(comfy: ComfyServer, vision: VisionServer, seed: int) -> Prompt:
    """The bundled workflow; another seed, so that ComfyUI does not take the answer from before."""
    prompt = to_prompt(load("caption-panels"), comfy.object_info())
    set_value(prompt, "InContextCaptionPanels", "base_url", vision.url)
    set_value(prompt, "InContextCaptionPanels", "model", "seeing-model")
    set_value(prompt, "InContextCaptionPanels", "seed", seed)
    return prompt


def folder_prompt(vision: VisionServer, folder: str) -> Prompt:
    """The muted half of the workflow, with Build Dataset behind it."""
    widgets = {"existing": "keep", "shape": "detect", "base_url": vision.url, "model": "seeing-model"}
    widgets |= {"pictures": "one picture a panel", "side": 128, "max_tokens": 256, "timeout": 60, "seed": 0}
    widgets |= {"names": "", "invent_names": False, "hint": ""}
    layout = {
        "kind": "columns",
        "width": 192,
        "height": 64,
        "rows": 1,
        "columns": 3,
        "columns_per_row": "",
        "gutter": 0,
    }
    building = {
        "name": folder,
        "fit": "cover",
        "align": "center",
        "padding": "white",
        "references": "",
        "shape": "detect",
    }
    names = {"panel_step": "16", "boxes": "", "names": "SCENE-1, SCENE-2, SCENE-3", "prefix": "[MOVIE-SHOTS]"}
    return {
        "1": {"class_type": "InContextLayout", "inputs": {**layout, **names}},
        "2": {"class_type": "InContextCaptionDataset", "inputs": {"recipe": ["1", 0], "folder": folder, **widgets}},
        "3": {
            "class_type": "InContextBuildDataset",
            "inputs": {"recipe": ["1", 0], "folder": ["2", 0], "composites": "fit each panel", **building},
        },
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }


def uncaptioned(comfy: ComfyServer, name: str, count: int) -> Path:
    folder = comfy.base / "input" / name
    sets.write_sets(folder, count)
    for path in folder.glob("*/caption.txt"):
        path.unlink()
    return folder


def shown(prompt: Prompt, entry: dict[str, Any], title: str) -> str:
    return entry["outputs"][find_node(prompt, title)]["text"][0]


def test_the_template_captions_three_pictures(comfy: ComfyServer) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    with VisionServer(says(GOOD)) as vision:
        prompt = template(comfy, vision, 1)
        assert "InContextCaptionDataset" not in {node["class_type"] for node in prompt.values()}, "it is muted"
        entry = comfy.run(prompt, lambda name, data: events.append((name, data)))
    assert shown(prompt, entry, "Caption report") == ""
    (asked,) = vision.questions
    assert [picture.size for picture in asked.pictures] == [(768, 384)] * 3
    told = [data["text"] for name, data in events if name == "progress_text"]
    assert told == ["waiting for seeing-model", html.escape(CAPTION)]


def test_cancel_frees_the_queue_within_a_second(comfy: ComfyServer) -> None:
    times: list[float] = []
    with VisionServer(hangs) as vision:

        def cancel(name: str, data: dict[str, Any]) -> None:
            if name == "progress_text" and not times:
                comfy.interrupt()
                times.append(time.monotonic())

        with pytest.raises(ExecutionInterrupted):
            comfy.run(template(comfy, vision, 2), cancel)
        assert time.monotonic() - times[0] < 1.5  # with the way through the websocket


def test_an_error_reaches_the_page_in_words_and_without_the_key(comfy: ComfyServer) -> None:
    """The key lies in ComfyUI's own file; neither the page, nor the history, nor the log sees it."""

    def echoes(asked: Any, server: VisionServer) -> Any:
        return says(f"Your header was {asked.headers['authorization']}.")(asked, server)

    folder = comfy.base / "user" / "__incontext_lora"
    folder.mkdir(parents=True, exist_ok=True)
    with VisionServer(echoes) as vision:
        (folder / "vision_servers.json").write_text(json.dumps({vision.url: SECRET}))
        try:
            prompt = template(comfy, vision, 3)
            with pytest.raises(ExecutionFailed) as failed:
                comfy.run(prompt, lambda *_: None)
        finally:
            (folder / "vision_servers.json").unlink()
    assert failed.value.node_type == "InContextCaptionPanels"
    assert "did not describe the panels" in failed.value.message
    assert [asked.headers["authorization"] for asked in vision.questions] == [f"Bearer {SECRET}"] * 2
    everything = str(failed.value) + json.dumps(comfy.get_json("/history")) + comfy.log.read_text("utf-8", "replace")
    assert SECRET not in everything


def test_a_folder_is_captioned_then_built_and_goes_on_after_cancel(comfy: ComfyServer) -> None:
    folder = uncaptioned(comfy, "described-sets", 4)

    with VisionServer(says(GOOD), says(GOOD), hangs) as vision:

        def cancel(name: str, data: dict[str, Any]) -> None:
            if name == "progress_text" and data["text"] == "2 of 4 sets, waiting for seeing-model":
                comfy.interrupt()

        with pytest.raises(ExecutionInterrupted):
            comfy.run(folder_prompt(vision, folder.name), cancel)
    assert sorted(path.parent.name for path in folder.glob("*/caption.txt")) == ["001", "002"]

    with VisionServer(says(GOOD)) as vision:
        entry = comfy.run(folder_prompt(vision, folder.name), lambda *_: None)
    assert len(vision.questions) == 2
    assert entry["outputs"]["4"]["text"][0].startswith("described-sets: 2 written, 2 kept of 4 sets")
    assert {path.read_text("utf-8") for path in folder.glob("*/caption.txt")} == {CAPTION + "\n"}
    built = comfy.base / "output" / "incontext_datasets" / folder.name / "items"
    assert {path.read_text("utf-8") for path in built.glob("*.txt")} == {CAPTION}
