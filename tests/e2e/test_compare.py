"""Comparing checkpoints in the real ComfyUI, with the demo's real models at few steps."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.demo import sets, world
from incontext_lora.demo.server import ComfyServer, ExecutionFailed, ExecutionInterrupted
from incontext_lora.demo.workflow import Prompt, find_node, load, set_value, to_prompt
from incontext_lora.incontext.evaluate.store import Store, read_comparison
from incontext_lora.incontext.lora.recipe_file import read_recipe

NODE = "InContextCompareCheckpoints"
CAPTIONS = [world.caption(drawn) for drawn in world.held_out_sets(2, seed=21)]


@pytest.fixture(scope="module")
def ready(server: ComfyServer, demo_models: Path | None) -> ComfyServer:
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set; `python run.py test` writes the demo models and sets it.")
    sets.write_inputs(server.base / "input")
    return server


def prompt_of(server: ComfyServer, **values: Any) -> Prompt:
    """The bundled workflow at two steps, with other values on Compare Checkpoints."""
    prompt = to_prompt(load("compare-and-choose"), server.object_info())
    usual = {"captions": "\n".join(CAPTIONS), "steps": 2, "strengths": "1.0"}
    for name, value in {**usual, **values}.items():
        if name in prompt[find_node(prompt, NODE)]["inputs"]:
            set_value(prompt, NODE, name, value)
        else:
            prompt[find_node(prompt, NODE)]["inputs"][name] = value
    return prompt


def store_of(server: ComfyServer) -> Store:
    return Store(server.base / "output" / "incontext_comparisons")


def cells_made(server: ComfyServer) -> int:
    return len(list((store_of(server).folder / "cells").glob("*.png")))


def test_a_comparison_is_made_chosen_and_written(ready: ComfyServer) -> None:
    prompt = prompt_of(ready, name="first")
    before = cells_made(ready)
    history = ready.run(prompt)
    assert cells_made(ready) == before + 2 * len(CAPTIONS)
    comparison = read_comparison(store_of(ready).folder / "first")
    assert [one["label"] for one in comparison["candidates"]] == ["base", "incontext-demo × 1"]
    assert {"consistency", "within", "content", "composition", "novelty"} <= set(comparison["scores"])
    assert all(0 <= cell["scores"]["novelty"] <= 1 for cell in comparison["cells"])
    folder = store_of(ready).folder / "first"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.json",
        "grid-001.png",
        "grid-002.png",
        "table.csv",
    ]
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert {row["candidate"] for row in rows} == {"base", "incontext-demo × 1"}
    report = history["outputs"][find_node(prompt, "Report")]["text"][0]
    assert comparison["choice"]["reason"] in report
    shown = [image for output in history["outputs"].values() for image in output.get("images", [])]
    assert [image["filename"] for image in shown] == ["grid-001.png", "grid-002.png"]
    if comparison["choice"]["chosen"]:
        chosen = read_recipe(ready.base / "output" / "loras" / comparison["lora"])
        assert chosen is not None
        assert chosen.strength == 1.0
        assert chosen.evidence.captions == len(CAPTIONS)


def test_what_is_made_is_not_made_again(ready: ComfyServer) -> None:
    ready.run(prompt_of(ready, name="first"))
    before = cells_made(ready)
    texts: list[str] = []

    def watch(event: str, data: dict[str, Any]) -> None:
        if event == "progress_text":
            texts.append(str(data.get("text", "")))

    ready.run(prompt_of(ready, name="again", strengths="1.0, 0.5"), watch)
    assert cells_made(ready) == before + len(CAPTIONS), "only the new strength"
    assert sum("making set" in text for text in texts) == len(CAPTIONS)
    ready.run(prompt_of(ready, name="again", strengths="0.5"))
    assert cells_made(ready) == before + len(CAPTIONS)


def test_a_cancelled_comparison_goes_on_where_it_stopped(ready: ComfyServer) -> None:
    before = cells_made(ready)
    made: list[str] = []

    def cancel(event: str, data: dict[str, Any]) -> None:
        text = str(data.get("text", ""))
        if event == "progress_text" and "making set" in text:
            made.append(text)
            if len(made) == 2:
                ready.interrupt()

    with pytest.raises(ExecutionInterrupted):
        ready.run(prompt_of(ready, name="cancelled", seed=900, steps=40), cancel)
    kept = cells_made(ready) - before
    assert 1 <= kept < 2 * len(CAPTIONS)
    texts: list[str] = []
    ready.run(
        prompt_of(ready, name="cancelled", seed=900, steps=40),
        lambda event, data: texts.append(str(data.get("text", ""))) if event == "progress_text" else None,
    )
    assert sum("making set" in text for text in texts) == 2 * len(CAPTIONS) - kept


def test_given_panels_are_kept_and_scored(ready: ComfyServer) -> None:
    prompt = prompt_of(ready, name="given", reference_panel=2)
    prompt["90"] = {
        "class_type": "LoadImage",
        "inputs": {"image": sets.REFERENCE_FILE},
        "_meta": {"title": "Reference"},
    }
    prompt[find_node(prompt, NODE)]["inputs"]["references"] = ["90", 0]
    ready.run(prompt)
    comparison = read_comparison(store_of(ready).folder / "given")
    assert all("reference" in cell["scores"] for cell in comparison["cells"])


def test_a_run_whose_checkpoints_are_gone_is_named(ready: ComfyServer) -> None:
    with pytest.raises(ExecutionFailed, match=r"cannot be used to compare\. The caption lacks"):
        ready.run(prompt_of(ready, captions="a caption without markers"))
    with pytest.raises(ExecutionFailed, match="There is nothing to compare"):
        ready.run(prompt_of(ready, loras=""))
