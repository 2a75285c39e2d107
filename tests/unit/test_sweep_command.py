"""`python run.py sweep`: by sd-scripts, or in ComfyUI with a workflow and the sweep connected to its training node."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.demo import sweep
from incontext_lora.demo.workflow import WorkflowError
from incontext_lora.launcher import commands
from incontext_lora.launcher.arguments import parse
from incontext_lora.training.sweep.choices import AXES

ROOT = Path(__file__).resolve().parent.parent.parent


def options(*arguments: str) -> Any:
    return sweep.read(["--base", "b", "--comfyui", "c", "--workflow", "mine.json", *arguments])


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    node = {"class_type": sweep.TRAIN, "inputs": {"name": "mine", "rank": 16}, "_meta": {"title": "Train"}}
    made = {"7": node}
    monkeypatch.setattr(sweep, "load", lambda name: {"name": name, "nodes": [{"id": 7, "type": sweep.TRAIN}]})
    monkeypatch.setattr(sweep, "to_prompt", lambda workflow, info: made)
    return made


def test_the_sweep_is_connected_to_the_training_node(prompt: dict[str, Any]) -> None:
    given = options("--vary", "learning-rate=1e-4,3e-4", "--vary", "rank=8,16", "--keep-hopeless", "--name", "night")
    made = sweep.prompt_of(given, {})
    assert made["7"]["inputs"] == {"name": "night", "rank": 16, "sweep": ["sweep", 0]}
    assert made["sweep"] == {
        "class_type": sweep.SWEEP,
        "inputs": {
            **dict.fromkeys(AXES, ""),
            "learning_rate": "1e-4,3e-4",
            "rank": "8,16",
            "strategy": "grid",
            "keep_one_in": 3,
            "stop_hopeless": False,
        },
    }


@pytest.mark.parametrize("vary", [("rank",), ("momentum=1,2",), ("rank=1,2", "rank=3,4")])
def test_what_cannot_be_varied_is_named(prompt: dict[str, Any], vary: Sequence[str]) -> None:
    with pytest.raises(WorkflowError, match="--vary"):
        options(*(word for each in vary for word in ("--vary", each)))


def test_a_workflow_is_run_in_comfyui_and_anything_else_by_sd_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(commands, "_run_in_comfyui", lambda module, read, extra: called.append(module) or 0)
    monkeypatch.setattr(commands, "sweep_with_sd_scripts", lambda options, extra: called.append("sd-scripts") or 0)
    for words in (["--workflow", "mine.json"], ["--workflow=mine.json"], ["--vary", "rank=8,16"]):
        given, extra = parse(["sweep", *words])
        assert given.run(given, extra) == 0
    assert called == ["demo.sweep", "demo.sweep", "sd-scripts"]


def test_the_benchmark_sweeps_what_the_node_takes() -> None:
    tree = ast.parse((ROOT / "bench" / "sweeping.py").read_text(encoding="utf-8"))
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {*AXES, "strategy", "keep_one_in", "stop_hopeless"} <= names
