"""Who may import whom: the library knows nothing of ComfyUI, and one module of the nodes touches its globals."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from incontext_lora.launcher import pack

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARY = sorted([*(ROOT / "incontext").rglob("*.py"), *(ROOT / "training").rglob("*.py"), ROOT / "demo" / "world.py"])
NODES = sorted((ROOT / "nodes").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))

HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "nodes",
    "server",
}
GLOBALS = {"folder_paths", "server", "execution"}
OURS = {"incontext", "training", "demo", "bench", "launcher", "run"}  # absolute, "nodes" is ComfyUI's module


def imports(path: Path) -> Iterator[str]:
    """Absolute imports by their first name; relative ones as a path from the root, e.g. ``/incontext/layout``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1].relative_to(ROOT)
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ("/" + "/".join([*folder.parts, *name.split(".")]) for name in names)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_walk() -> None:
    assert {"incontext/panels/layout.py", "training/in_host/loop.py", "demo/world.py"} <= {
        relative(path) for path in LIBRARY
    }
    assert "torch" in imports(ROOT / "training" / "in_host" / "loop.py")
    assert "/incontext/errors" in imports(ROOT / "training" / "in_host" / "loop.py")


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_the_library_does_not_know_comfyui(path: Path) -> None:
    assert not set(imports(path)) & HOST


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_the_library_depends_on_nothing_above_it(path: Path) -> None:
    below = {"incontext": {"incontext"}, "training": {"incontext", "training"}, "demo": {"incontext", "demo"}}
    folder = path.relative_to(ROOT).parts[0]
    used = {name.split("/")[1] for name in imports(path) if name.startswith("/")}
    assert used <= below[folder]


@pytest.mark.parametrize("path", [path for path in NODES if path.name != "host.py"], ids=relative)
def test_one_module_touches_the_hosts_globals(path: Path) -> None:
    assert not set(imports(path)) & GLOBALS
    assert "PromptServer" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [*LIBRARY, *NODES, *BENCH], ids=relative)
def test_the_pack_imports_itself_relatively(path: Path) -> None:
    assert not set(imports(path)) & OURS


@pytest.mark.parametrize("path", [*LIBRARY, *NODES], ids=relative)
def test_nothing_is_imported_that_comfyui_does_not_bring(path: Path) -> None:
    brought = {"torch", "numpy", "PIL", "einops", "safetensors", "aiohttp", "psutil"}
    absolute = {name for name in imports(path) if not name.startswith("/")}
    if path.is_relative_to(ROOT / "training" / "sd_scripts"):
        return  # a process and an environment of its own
    assert absolute - HOST - set(sys.stdlib_module_names) <= brought


def test_the_root_is_inert() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr, ast.Assign, ast.AsyncFunctionDef]


def test_the_one_command_needs_the_standard_library_only() -> None:
    for path in (ROOT / "run.py", *(ROOT / "launcher").rglob("*.py")):
        absolute = {name for name in imports(path) if not name.startswith("/")}
        assert absolute - set(sys.stdlib_module_names) <= {"launcher"}, relative(path)
    without_packages = [sys.executable, "-S", str(ROOT / "run.py"), "--help"]
    assert "python run.py demo" in subprocess.run(without_packages, capture_output=True, text=True, check=True).stdout


def test_the_benchmarks_load_as_their_command_runs_them() -> None:
    child = subprocess.run(
        pack.command(sys.executable, "bench", "--help"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert "panels" in child.stdout
