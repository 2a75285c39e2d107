"""The pack as a package in another interpreter, and what an old Python is told."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from incontext_lora.launcher import pack
from incontext_lora.launcher.pack import ROOT

# what an unsupported Python has to read before it can be told so
FIRST = [ROOT / "run.py", *(ROOT / "launcher" / name for name in ("__init__.py", "pack.py", "versions.py"))]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A copy of the launcher's script beside a package with one module that says how it was run."""
    (tmp_path / "launcher").mkdir()
    script = tmp_path / "launcher" / "pack.py"
    script.write_bytes(Path(pack.__file__).read_bytes())
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("WORD = 'found'\n")
    (tmp_path / "room" / "shown.py").write_text(
        "import sys\nfrom . import WORD\nprint(__name__, __package__, WORD, sys.argv[1:], repr(sys.path[0]))\n"
    )
    return script


def test_a_module_runs_with_relative_imports_and_its_arguments(module: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, str(module), "room.shown", "--option", "a b"]
    answer = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "__main__ incontext_lora.room found ['--option', 'a b'] ''"


def test_the_command_names_this_checkout() -> None:
    assert pack.command("python", "a.b", Path("c"), "-d") == [
        "python", str(ROOT / "launcher" / "pack.py"), "a.b", "c", "-d",
    ]  # fmt: skip


def test_no_module_of_the_launcher_hides_one_of_pythons() -> None:
    """Python puts the folder of a script on its path while it starts."""
    assert not {path.stem for path in (ROOT / "launcher").glob("*.py")} & set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FIRST, ids=lambda path: path.name)
def test_an_old_python_can_read_what_refuses_it(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_an_old_python_is_told_which_to_use(tmp_path: Path) -> None:
    text = (ROOT / "run.py").read_text(encoding="utf-8").replace("sys.version_info", "(3, 9, 2)")
    (tmp_path / "run.py").write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "launcher", tmp_path / "launcher")
    command = [sys.executable, str(tmp_path / "run.py"), "demo"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == (
        "run.py: Python 3.9 is not supported: use 3.10 to 3.13, for example `python3.12 run.py ...`.\n"
    )
