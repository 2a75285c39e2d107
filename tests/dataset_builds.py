"""What tests look at in a built dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.report import Level, Report
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Identity and time of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def item_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: stamp for name, stamp in stamps(folder).items() if name.startswith(("items/", "masks/"))}


def errors(report: Report) -> dict[str, str]:
    return {finding.set: finding.problem for finding in report.of_level(Level.ERROR)}


def pixels(dataset: Dataset, index: int) -> np.ndarray:
    return np.array(Image.open(dataset.image(dataset.items[index])))


def run_in_process(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    prelude = (
        "import sys, types; from pathlib import Path\n"
        "package = types.ModuleType('incontext_lora'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['incontext_lora'] = package\n"
        "from incontext_lora.incontext.dataset.build import build\n"
        "from incontext_lora.incontext.dataset.manifest import Dataset\n"
        "from incontext_lora.incontext.dataset.options import BuildOptions\n"
        "from incontext_lora.tests.dataset_sets import RECIPE\n"
    )
    command = [sys.executable, "-c", prelude + code, str(ROOT), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE
    )


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**data, **changes}), encoding="utf-8")
