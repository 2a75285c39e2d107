"""The first part: what machine it is, and the model files."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import psutil

from . import weights
from .context import Context


def main() -> None:
    context = Context.read()
    context.answer(figure="machine", limit=context.card, tiny=context.tiny, **machine())
    began = time.monotonic()
    files = weights.write_all(context.models, weights.TINY if context.tiny else weights.FULL)
    context.answer(figure="weights", gigabytes=files, seconds=round(time.monotonic() - began, 1))


def machine() -> dict[str, str]:
    """Names and versions, for the document."""
    import torch

    found = {
        "RAM": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "date": datetime.date.today().isoformat(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "ComfyUI": comfyui_version(Path(os.environ["COMFYUI_PATH"])),
    }
    program = shutil.which("nvidia-smi")
    if torch.cuda.is_available():
        found["card"] = torch.cuda.get_device_name()
        found["memory"] = f"{torch.cuda.mem_get_info()[1] / 2**30:.0f}"
    if program:
        command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return found


def comfyui_version(folder: Path) -> str:
    spec = importlib.util.spec_from_file_location("comfyui_version", folder / "comfyui_version.py")
    if spec is None or spec.loader is None:
        return ""
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.__version__)


if __name__ == "__main__":
    main()
