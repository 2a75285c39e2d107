"""Benchmarks that need a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def in_pack(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the pack, inside the pack."""
    return [sys.executable, str(ROOT / "launcher" / "pack.py"), module, *arguments]


def measured(command: Sequence[str], base: Path, what: str) -> Any:
    """What a child process prints last, one line of JSON.

    Args:
        command: what to run, in the repository's folder.
        base: ComfyUI's base folder with the demo models; the child finds it in ``INCONTEXT_LORA_BASE``.
        what: the benchmark's name, for the message.

    Raises:
        SystemExit: with the end of its errors, where it failed.
    """
    environment = {**os.environ, "INCONTEXT_LORA_BASE": str(base)}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    if child.returncode:
        raise SystemExit(f"The {what} benchmark failed:\n{child.stderr[-3000:]}")
    return json.loads(child.stdout.splitlines()[-1])
