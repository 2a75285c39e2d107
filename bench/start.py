"""What loading the pack adds to ComfyUI's start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .figure import Figure

RUNS = 5
ROOT = Path(__file__).parent.parent

# Times ComfyUI's own loader on an empty pack and on this one, in a process that has ComfyUI imported as a start does.
_TIME_BOTH = """
import asyncio, json, os, sys, time
sys.argv = sys.argv[:1] + ["--cpu"]
sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.options
comfy.options.enable_args_parsing()
import utils.install_util
import nodes, server
import comfy_extras.nodes_train
server.PromptServer(asyncio.new_event_loop())
seconds = []
for folder in json.loads(os.environ["PACKS"]):
    began = time.perf_counter()
    if not asyncio.run(nodes.load_custom_node(folder)):
        raise SystemExit(f"{folder} does not load")
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""


def added_milliseconds() -> Figure:
    """Time to load this pack, once compiled, less the time to load an empty one."""
    added = []
    with tempfile.TemporaryDirectory() as temporary:
        empty = Path(temporary) / "empty-pack"
        empty.mkdir()
        (empty / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        warm = Path(temporary) / "warm-pack"
        warm.mkdir()
        (warm / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        pack = Path(temporary) / "incontext-lora"
        pack.symlink_to(ROOT, target_is_directory=True)
        environment = {**os.environ, "PACKS": json.dumps([str(warm), str(empty), str(pack)])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every start compiles the pack, not only the first
        for _ in range(1 + RUNS):
            output = subprocess.run(
                [sys.executable, "-c", _TIME_BOTH], env=environment, capture_output=True, text=True, check=True
            ).stdout
            _, without, with_pack = json.loads(output.splitlines()[-1])
            added.append(1000 * (with_pack - without))
    return Figure.of("start.added_ms", added[1:], "ms", "<= 50", f"{RUNS} starts, an empty pack and this one in each")
