"""How long the paths of a run may be on Windows."""

from __future__ import annotations

import sys
from pathlib import Path

from ...incontext.errors import TrainingError
from ..sd_scripts.environment import LONGEST_PATH, long_paths_enabled


def check_length(runs: Path, name: str, system: str = sys.platform, enabled: bool | None = None) -> None:
    """Check the length of a run's paths on Windows.

    Args:
        runs: folder of all runs.
        name: of the run.
        enabled: whether long paths are enabled; None to ask Windows.

    Raises:
        TrainingError: if the paths would be too long.
    """
    longest = len(str(runs / name / "checkpoints" / f".{name}-step000000.converted.safetensors"))
    spare = LONGEST_PATH - longest
    if system != "win32" or spare >= 0 or (long_paths_enabled() if enabled is None else enabled):
        return
    possible = len(name) + spare // 2  # the name is in the path twice
    remedy = f"Choose a name of {possible} characters" if possible > 0 else "Move ComfyUI to a shorter folder"
    raise TrainingError(
        f"The files of the run {name!r} would have paths of {longest} characters; Windows allows {LONGEST_PATH}. "
        f"{remedy}, or enable long paths in Windows."
    )
