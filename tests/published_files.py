"""What the registry publishes: the files of the repository without those that `.comfyignore` names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .repository_files import ROOT

# never tracked, so never published; `comfy node publish` asks git
_UNTRACKED = {".git", "__pycache__", "out", "build", ".pytest_cache", ".ruff_cache", ".hypothesis", "node_modules"}


def ignored() -> list[str]:
    """The entries of `.comfyignore`: paths from the root, folders with a slash at the end."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def published() -> list[str]:
    """Paths from the root."""
    left_out = ignored()
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in _UNTRACKED]
        for name in names:
            path = Path(folder, name).relative_to(ROOT).as_posix()
            if not any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in left_out):
                found.append(path)
    return sorted(found)


def copy_published(target: Path) -> Path:
    """A copy of what is published, as it lies among ComfyUI's custom nodes."""
    for path in published():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target / path)
    return target
