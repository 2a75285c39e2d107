"""Other packs beside ours: how exactly pictures come back, on the same pictures.

They are measured where they are installed: in ``custom_nodes`` of the ComfyUI that ``COMFYUI_PATH`` names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .figure import Figure


def peer_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Largest errors, of 1, by pack; ours are bound to be none. A peer that is not installed is named and left out."""
    child = subprocess.run(
        [sys.executable, "-m", "bench.peer_rounds"],
        env={**os.environ, "INCONTEXT_LORA_BASE": str(base)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    if child.returncode:
        raise SystemExit(f"The benchmark of other packs failed:\n{child.stderr[-3000:]}")
    measured = json.loads(child.stdout.splitlines()[-1])
    for name in measured["missing"]:
        say(f"{name} is not in ComfyUI's custom_nodes and is left out")
    return [
        Figure.of(f"peers.{pack}_{what}_max_error", [error], "of 1", "<= 0" if pack == "ours" else "", detail)
        for pack, errors in measured["errors"].items()
        for what, (error, detail) in errors.items()
    ]
