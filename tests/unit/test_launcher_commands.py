"""Commands that run a workflow in ComfyUI: files are read before anything is set up, and found from the user's folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.launcher import commands, trainer
from incontext_lora.launcher.arguments import parse
from incontext_lora.launcher.pack import ROOT
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_machine import small_dataset

SWEEP = ("sweep", "--vary", "rank=8,16")
ORDER = ("--dataset", "d", "--architecture", "flux", "--model", "m")


@pytest.fixture
def run_py(tmp_path: Path) -> Any:
    """`run.py` in a folder of the user's, where a set-up ends at once with a complaint about COMFYUI_PATH."""
    unusable = {
        "COMFYUI_PATH": str(tmp_path / "no-comfyui"),
        "INCONTEXT_LORA_CACHE": str(tmp_path / "cache"),
        "INCONTEXT_LORA_DATA": str(tmp_path / "data"),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments],
            cwd=tmp_path, env={**os.environ, **unusable}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return small_dataset(folder_sets(tmp_path / "sets", 2), tmp_path / "toy").folder


@pytest.mark.parametrize("command", [(*SWEEP, "--workflow"), ("compare", "--workflow"), ("compare", "--captions")])
def test_a_missing_file_is_named_before_anything_is_set_up(run_py: Any, command: Sequence[str]) -> None:
    answer = run_py(*command, "mine.json")
    assert answer.returncode == 1
    assert answer.stderr.startswith("run.py: ")
    assert "mine.json" in answer.stderr
    assert "COMFYUI_PATH" not in answer.stderr


def test_what_is_not_a_setting_is_named_before_anything_is_set_up(run_py: Any) -> None:
    answer = run_py("sweep", "--workflow", "train-in-host", "--vary", "momentum=1,2")
    assert (answer.returncode, "--vary is 'momentum=1,2'" in answer.stderr) == (1, True)


@pytest.mark.parametrize("command", [(*SWEEP, "--workflow"), ("compare", "--workflow")])
@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        ({"nodes": [{"id": 1, "type": "Note"}]}, "No node has the title or class"),
        (
            {"nodes": [{"id": 1, "type": "0a1b"}], "definitions": {"subgraphs": [{"id": "0a1b", "name": "Train"}]}},
            "The workflow has subgraphs (Train). Unpack them in ComfyUI",
        ),
    ],
)
def test_a_workflow_without_its_node_is_refused_before_anything_is_set_up(
    command: Sequence[str], workflow: Any, said: str, run_py: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(workflow), encoding="utf-8")
    answer = run_py(*command, "mine.json")
    assert (answer.returncode, said in answer.stderr) == (1, True), answer.stderr
    assert "COMFYUI_PATH" not in answer.stderr


def test_files_are_looked_for_in_the_users_folder(run_py: Any, tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "workflows" / "train-in-host.json", tmp_path / "mine.json")
    (tmp_path / "captions.txt").write_text("a caption\n", encoding="utf-8")
    for command in [(*SWEEP, "--workflow", "mine.json"), ("compare", "--captions", "captions.txt")]:
        assert run_py(*command).stderr.startswith("run.py: COMFYUI_PATH is ")


@pytest.mark.parametrize("command", [("compare",), ("sweep", "--workflow", "mine.json"), ("sweep",), ("train",)])
def test_help_needs_no_set_up(command: Sequence[str], run_py: Any) -> None:
    answer = run_py(*command, "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"usage: run.py {command[0]}")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "--rank", "many"), "argument --rank: invalid int value: 'many'"),
        (("train", "--mystery"), "unrecognized arguments: --mystery"),
        (("train", "--dataset", "d"), "--architecture and --model must be given"),
        (("sweep", "--vary", "rank=8,16", "--strategy", "luck"), "argument --strategy: invalid choice: 'luck'"),
        (("sweep", "--vary", "momentum=1,2"), "--vary is 'momentum=1,2'"),
        (SWEEP, "--dataset and --architecture and --model must be given"),
    ],
)
def test_wrong_options_are_named_before_anything_is_set_up(command: Sequence[str], said: str, run_py: Any) -> None:
    answer = run_py(*command)
    assert answer.returncode in (1, 2)
    assert said in answer.stderr
    assert "COMFYUI_PATH" not in answer.stderr


@pytest.mark.parametrize("command", [("train",), SWEEP])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--dataset": "missing"}, "missing holds no dataset: there is no manifest.json"),
        ({"--model": "{folder}/missing.safetensors"}, "There is no model file "),
        ({"--model": "small.safetensors"}, "small.safetensors is not a safetensors file"),
        ({"--continue": "missing.safetensors"}, "There is no file "),
        ({}, "The sd-scripts trainer is not installed"),
    ],
)
def test_missing_files_are_named_before_anything_is_set_up(
    command: Sequence[str], change: dict[str, str], said: str, run_py: Any, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.safetensors").write_bytes(b"{}")
    order = {"--dataset": str(dataset), "--architecture": "flux", "--model": "flux.safetensors", **change}
    answer = run_py(*command, *(word.format(folder=tmp_path) for option in order.items() for word in option))
    assert (answer.returncode, said in answer.stderr) == (1, True), answer.stderr
    assert "COMFYUI_PATH" not in answer.stderr


def test_a_missing_run_is_named_before_anything_is_set_up(run_py: Any) -> None:
    answer = run_py("train", "--resume", "my-run")
    assert (answer.returncode, "my-run is not a training run" in answer.stderr) == (1, True)


def test_options_are_read_by_a_bare_python() -> None:
    """`run.py` runs in any Python, which may have neither numpy nor torch; Python's `-S` has no installed packages."""
    code = (
        f"import runpy; runpy.run_path({str(ROOT / 'launcher' / 'pack.py')!r})['register']()\n"
        "import incontext_lora.launcher.arguments, sys\n"
        "from incontext_lora.training.sd_scripts import arguments\n"
        "from incontext_lora.training.sweep import arguments as sweep\n"
        "arguments.parser(), sweep.parser()\n"
        "print(*{'numpy', 'torch', 'PIL'} & {*sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (answer.stdout.strip(), answer.stderr) == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare",),
        ("sweep", "--workflow", "train-in-host", "--vary", "rank=8,16"),
        (*SWEEP, *ORDER),
        ("train", *ORDER),
    ],
)
def test_relative_paths_mean_the_same_to_what_is_run(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders: list[Path] = []

    def run_child(command: Any, cwd: Path, environment: Any, patience: float = 5.0) -> int:
        folders.append(Path(cwd))
        return 0

    class Host:
        managed, python, comfyui = True, Path("python"), Path("comfyui")

    class Work:
        host, base, environment = Host, tmp_path / "base", os.environ

    monkeypatch.setattr(trainer.training_options, "require_files", lambda options: None)
    monkeypatch.setattr(trainer.environment, "find", lambda: None)
    for module in (commands, trainer):
        monkeypatch.setattr(module, "set_up", lambda: Work)
        monkeypatch.setattr(module, "run_child", run_child)
    monkeypatch.chdir(tmp_path)
    options, extra = parse(arguments)
    assert options.run(options, extra) == 0
    assert folders == [tmp_path]
