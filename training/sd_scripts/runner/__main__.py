"""The script to start: ``python __main__.py CHECKOUT JOB_FOLDER``. Makes the pack importable and runs the job."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def import_runner(module: str = "main") -> Any:
    """Import a module of this folder as part of the pack, so that its relative imports work.

    The pack's folders stay off `sys.path`, where they could hide the checkout's modules.
    """
    pack = runpy.run_path(str(HERE.parents[2] / "launcher" / "pack.py"))
    pack["register"]()
    return importlib.import_module(f"{pack['NAME']}.training.sd_scripts.runner.{module}")


if __name__ == "__main__":
    sys.path[:] = [folder for folder in sys.path if not folder or Path(folder).resolve() != HERE]
    sys.exit(import_runner().main(sys.argv[1:]))
