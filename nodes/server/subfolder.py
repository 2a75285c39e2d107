"""Names that requests give to folders."""

from __future__ import annotations

from pathlib import Path


def subfolder(root: Path, name: str) -> Path | None:
    """The folder of this name right below another; None for a name that leads anywhere else."""
    if not name.isprintable():  # no path has a null byte
        return None
    try:
        root = root.resolve()
        folder = (root / name).resolve()
        folder.is_dir()
    except (OSError, ValueError):  # too long, or not text
        return None
    return folder if folder.is_relative_to(root) and folder.parent == root else None
