"""Errors of the disk, told the same way wherever they happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from incontext_lora.incontext.dataset import files as dataset_files
from incontext_lora.incontext.errors import DatasetError, InContextError, LoraError, SetError, TrainingError
from incontext_lora.incontext.lora.save import save_new
from incontext_lora.incontext.sets.add import add_set
from incontext_lora.training.runs import claims, run_folder
from incontext_lora.training.sd_scripts.processes import Processes

REMEDY = "Check its permissions and free space, that its disk is connected, and that no other program has it open."


def claim(folder: Path) -> None:
    with claims.deciding(folder, claims.BRIEF):
        pass


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (DatasetError, lambda folder: dataset_files.make_folder(folder)),
        (LoraError, lambda folder: save_new(folder, "style", {"block.lora_up.weight": torch.zeros(1, 1)}, None)),
        (SetError, lambda folder: add_set(folder, "hero", [b"png"], "A caption.")),
        (TrainingError, lambda folder: run_folder.RunWriter.create(folder, "run", {})),
        (TrainingError, claim),
        (TrainingError, lambda folder: Processes().save(folder / "processes.json")),
    ],
)
def test_a_folder_that_cannot_be_written_has_one_remedy(
    kind: type[InContextError], write: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    folder = tmp_path / "file" / "folder"
    with pytest.raises(kind) as error:
        write(folder)
    said = str(error.value)
    assert said.startswith(str(tmp_path / "file"))
    assert " cannot be written: " in said
    assert said.endswith(f". {REMEDY}")
