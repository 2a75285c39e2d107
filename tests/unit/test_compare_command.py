"""`python run.py compare`: its options on the node of a workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from incontext_lora.demo import compare
from incontext_lora.demo.workflow import WorkflowError, find_node


def options(*arguments: str) -> Any:
    return compare.read(["--base", "b", "--comfyui", "c", *arguments])


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    inputs = {"run": "none", "loras": "demo.safetensors", "captions": "old", "seeds": 2, "use_chosen": True}
    made = {"7": {"class_type": compare.NODE, "inputs": inputs, "_meta": {"title": "Compare Checkpoints"}}}
    monkeypatch.setattr(compare, "load", lambda name: {"name": name, "nodes": [{"id": 7, "type": compare.NODE}]})
    monkeypatch.setattr(compare, "to_prompt", lambda workflow, info: made)
    return made


def inputs_of(prompt: dict[str, Any]) -> dict[str, Any]:
    return prompt[find_node(prompt, compare.NODE)]["inputs"]


def test_options_take_the_place_of_values(prompt: dict[str, Any], tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("\ufeffone\ntwo\n", encoding="utf-8")
    given = options("--run", "mine", "--captions", str(captions), "--seeds", "3", "--keep", "--name", "kept")
    inputs = inputs_of(compare.prompt_of(given, {}))
    assert inputs == {
        "run": "mine",
        "loras": "",
        "captions": "one\ntwo\n",
        "seeds": 3,
        "use_chosen": False,
        "name": "kept",
    }


def test_loras_take_the_place_of_a_run(prompt: dict[str, Any]) -> None:
    inputs = inputs_of(compare.prompt_of(options("--lora", "a.safetensors", "--lora", "b.safetensors"), {}))
    assert (inputs["run"], inputs["loras"]) == ("none", "a.safetensors\nb.safetensors")


def test_without_options_the_workflow_is_as_it_is(prompt: dict[str, Any]) -> None:
    assert inputs_of(compare.prompt_of(options(), {}))["loras"] == "demo.safetensors"


def test_captions_that_cannot_be_read_are_named(prompt: dict[str, Any], tmp_path: Path) -> None:
    wrong = tmp_path / "captions.txt"
    wrong.write_bytes("一颗星".encode("gb18030"))
    for path in (wrong, tmp_path / "nowhere.txt"):
        with pytest.raises(WorkflowError, match="save it as UTF-8"):
            options("--captions", str(path))
