"""The published set of files, without the rest of the repository, in the real ComfyUI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from incontext_lora.tests.published_files import copy_published

# Loads a pack as ComfyUI does, and then every module of it, also those that only a node or a command would import.
LOAD = """
import asyncio, importlib, json, os, pkgutil, sys
sys.path.insert(0, os.environ["COMFYUI_PATH"])
pack = sys.argv[1]
sys.argv = [sys.argv[0], "--cpu", "--base-directory", sys.argv[2]]
import comfy.options
comfy.options.enable_args_parsing()
import utils.install_util
import nodes, server
server.PromptServer(asyncio.new_event_loop())
assert asyncio.run(nodes.load_custom_node(pack)), "ComfyUI could not load the pack"
ours = [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("InContext")]
name = pack.replace(".", "_x_")
failed = []
for module in pkgutil.walk_packages([pack], name + "."):
    # run.py is a script; the runner and what it starts belong to the trainer's interpreter
    inside = module.name[len(name) + 1:]
    if inside == "run" or inside.startswith("training.sd_scripts.runner") or inside.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except Exception as error:
        failed.append(f"{inside}: {type(error).__name__}: {error}")
print(json.dumps({"nodes": ours, "failed": failed, "web": nodes.EXTENSION_WEB_DIRS}))
"""
# modules that need a package which only the trainer, or only one who trains the demo's models, has
NEED_MORE = {"toml", "accelerate", "transformers", "library", "networks"}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_published(tmp_path_factory.mktemp("published") / "custom_nodes" / "incontext-lora")


def test_loads_in_comfyui(comfyui: Path, pack: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOAD, str(pack), str(tmp_path)]
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    answer = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    failed = [line for line in found["failed"] if not any(f"No module named '{name}" in line for name in NEED_MORE)]
    assert failed == []
    assert len(found["nodes"]) > 20
    assert str(pack / "js") in found["web"].values()
    for template in sorted((pack / "workflows").glob("*.json")):
        kinds = {node["type"] for node in json.loads(template.read_text(encoding="utf-8"))["nodes"]}
        assert {kind for kind in kinds if kind.startswith("InContext")} <= set(found["nodes"]), template.name


def test_the_one_command_works_and_says_what_is_not_there(pack: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(pack / "run.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "python run.py demo" in run("--help").stdout
    assert run("trainer", "--help").returncode == 0
    for command, what in (("test", "The tests"), ("bench", "The benchmarks")):
        answer = run(command)
        assert answer.returncode == 1
        assert answer.stderr.startswith(f"run.py: {what} are in the repository")
