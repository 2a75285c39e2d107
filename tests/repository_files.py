"""The files of the repository, for tests that look at all of them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = (".py", ".js", ".mjs", ".css")
TEXT = (*CODE, ".md", ".json", ".toml", ".yml", ".yaml")
# what is not written here, or not in English
_NOT_OURS = {".git", ".venv", "venv", "node_modules", "__pycache__", "vendor", "out", "build", "data"}


@functools.cache
def files(*endings: str) -> dict[str, Path]:
    """Our files with these endings, by their path from the root; none that were copied from others or made by tools."""
    found: dict[str, Path] = {}
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in _NOT_OURS and (not name.startswith(".") or name == ".github")]
        for name in names:
            path = Path(folder, name)
            if name.endswith(endings):
                found[path.relative_to(ROOT).as_posix()] = path
    return found


@functools.cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
