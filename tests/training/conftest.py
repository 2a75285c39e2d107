"""The real trainer, where `python run.py trainer check` passes; skipped with a sentence where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.options import BuildOptions
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import columns
from incontext_lora.launcher.pack import ROOT
from incontext_lora.training.sd_scripts import environment, preflight
from incontext_lora.training.sd_scripts.architectures import FLUX, architecture
from incontext_lora.training.sd_scripts.environment import Trainer
from incontext_lora.training.sd_scripts.machine import Machine, place_tokenizers
from incontext_lora.training.sd_scripts.order import Order
from incontext_lora.training.sd_scripts.settings import SdSettings, Sizes
from PIL import Image

TINY = Path(__file__).with_name("tiny.py")
SETTINGS = SdSettings(
    steps=6, batch_size=2, rank=4, alpha=4.0, sizes=Sizes.FULL, save_every=2, sample_every=0, validation_sets=0,
    learning_rate=1e-3, gradient_checkpointing=False,
).on_cpu()  # fmt: skip


@pytest.fixture(scope="session")
def trainer() -> Trainer:
    """The installed trainer, once `trainer check` has passed."""
    try:
        found = environment.find()
    except environment.TrainerNotInstalled as error:
        pytest.skip(f"`run.py trainer check` does not pass: {error}")
    command = [sys.executable, str(ROOT / "run.py"), "trainer", "check"]
    answer = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if answer.returncode:
        pytest.skip(f"`run.py trainer check` does not pass: {answer.stdout[-400:]}{answer.stderr[-400:]}")
    return found


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty sets of three panels."""
    from incontext_lora.demo import world

    folder = tmp_path_factory.mktemp("sets")
    for number, drawn in enumerate(world.relation_sets(20, 1), 1):
        target = folder / f"{number:03d}"
        target.mkdir()
        for place, panel in enumerate(drawn.panels, 1):
            Image.fromarray(world.draw_panel(panel)).resize((128, 128)).save(target / f"{place}.png")
        (target / "caption.txt").write_text(world.caption(drawn) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def dataset(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Composites of 384×128."""
    return build(
        sets, tmp_path_factory.mktemp("datasets"), Recipe("toy", columns(384, 128, 3)), BuildOptions(name="toy")
    )


@pytest.fixture(scope="session")
def referenced(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same with the first panel given, so with loss masks."""
    options = BuildOptions(name="referenced", references=(0,))
    return build(sets, tmp_path_factory.mktemp("datasets"), Recipe("toy", columns(384, 128, 3)), options)


@pytest.fixture(scope="session")
def models(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Architecture → a folder with its model files at tiny sizes."""
    written: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in written:
            folder = tmp_path_factory.mktemp(name)
            command = [str(trainer.python), str(TINY), "write", str(trainer.checkout), name, str(folder)]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            written[name] = folder
        return written[name]

    return write


@pytest.fixture
def machine(trainer: Trainer, comfyui: Path, tmp_path: Path) -> Machine:
    place_tokenizers(FLUX, comfyui, tmp_path / "tokenizers")  # `tiny` gives Lumina one of these
    return Machine(
        trainer, tmp_path / "runs", tmp_path / "loras", comfyui, tmp_path / "tokenizers", runner=TINY, on_cpu=True
    )


@pytest.fixture
def order(models: Callable[[str], Path], dataset: Dataset) -> Callable[..., Order]:
    """An order for an architecture, with settings changed by name."""

    def make(name: str, of: Dataset | None = None, **changed: object) -> Order:
        chosen = of or dataset
        folder = models(name)
        family = architecture(name)
        others = [path for path in sorted(folder.glob("*.safetensors")) if path.name != "model.safetensors"]
        files = preflight.assign(family, folder / "model.safetensors", others)
        return Order(chosen, family, files, replace(SETTINGS, **changed), name, chosen.recipe)

    return make
