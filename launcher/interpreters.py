"""Other Python interpreters: which modules they have, and how to run one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Runs a module with a folder appended to the path and without the current folder on it: in a checkout of this
# repository, our `nodes` would otherwise hide ComfyUI's.
_RUN_TOOL = """
import os, runpy, sys
folder, module = sys.argv[1:3]
del sys.argv[1:3]
sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != os.getcwd()]
if folder:
    sys.path.append(folder)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_MISSING = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"


def environment_python(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def missing_modules(python: Path, *names: str) -> list[str] | None:
    """The modules that an interpreter does not find; None if it does not run."""
    command = [str(python), "-c", _MISSING, *names]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", cwd=python.parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.split()


def tool_command(python: Path, tools: Path | None, module: str, *arguments: str) -> list[str]:
    """The command that runs a module which may be in the tools folder."""
    return [str(python), "-c", _RUN_TOOL, str(tools or ""), module, *arguments]
