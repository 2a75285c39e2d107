"""The device that the trainer's own torch uses."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from ...incontext.errors import TrainingError
from ..runs.process import no_window
from . import launch
from .settings import Device


def has_gpu(trainer_python: Path) -> bool:
    """Whether the trainer's own torch finds a graphics card."""
    return find(trainer_python) is not Device.CPU


@functools.cache
def find(trainer_python: Path) -> Device:
    """The device that the trainer's own torch uses. Asking takes seconds, so the answer is kept.

    Raises:
        TrainingError: if that torch does not start.
    """
    probe = (
        "import torch; print('amd' if torch.version.hip else 'nvidia') if torch.cuda.is_available() else "
        "print('apple' if torch.backends.mps.is_available() else 'cpu')"
    )
    answer = subprocess.run(
        [str(trainer_python), "-c", probe],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=launch.without_detours(os.environ) | {"PYTHONUTF8": "1"},
        check=False,
        creationflags=no_window(),
    )
    if answer.returncode:
        raise TrainingError(
            f"The trainer's torch does not start: {answer.stderr.strip()[-300:]} Install the trainer again."
        )
    return Device(answer.stdout.split()[-1])
