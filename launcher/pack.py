"""Makes the checkout a package, so that the pack's relative imports work as they do in ComfyUI.

    python launcher/pack.py MODULE [arguments]      run a module of the pack, as `python -m` would

Any interpreter can run this: ComfyUI's, or the sd-scripts trainer's. `run.py` imports it before it checks the Python
version, so even an older Python must be able to read it.
"""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "incontext_lora"
"""The name under which the pack is imported."""
FOLDER = "incontext-lora"
"""The name under which the pack is published; its folder in ComfyUI's custom nodes and in the cache."""
ROOT = Path(__file__).resolve().parent.parent


def register() -> None:
    """Make the checkout importable as `NAME` in this process, without importing anything yet."""
    import importlib.machinery
    import types

    package = types.ModuleType(NAME)
    package.__path__ = [str(ROOT)]
    spec = importlib.machinery.ModuleSpec(NAME, None, is_package=True)
    spec.submodule_search_locations = [str(ROOT)]
    package.__spec__ = spec
    sys.modules.setdefault(NAME, package)


def command(python: str | Path, module: str, *arguments: str | Path) -> list[str]:
    """The command that runs a module of the pack in another interpreter.

    Args:
        module: its name within the pack, such as ``training.sd_scripts.cli``.
    """
    return [str(python), str(Path(__file__).resolve()), module, *map(str, arguments)]


def _run() -> None:
    # `python FILE` puts the file's folder on the path; the current folder belongs there instead, as with `python -m`
    if sys.path and sys.path[0] == str(Path(__file__).parent):
        sys.path[0] = ""
    import runpy

    module = sys.argv.pop(1)
    register()
    runpy.run_module(NAME + "." + module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run()
