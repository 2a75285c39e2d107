"""On Windows a virus scanner may hold a file or folder that was just written; what a training saves waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from incontext_lora.incontext.files import atomic
from incontext_lora.training.in_host import saved_state
from incontext_lora.training.sd_scripts.runner import disk


def in_host_state(folder: Path) -> Path:
    return saved_state.save(folder, {"step": 5, "layers": {"one": torch.zeros(2)}})


def sd_scripts_state(folder: Path) -> Path:
    unfinished, state = folder / "state" / ".step5", folder / "state" / "step5"
    unfinished.mkdir(parents=True)
    (unfinished / "optimizer.bin").write_bytes(b"state")
    disk.keep_state(unfinished, state)
    return state


def sd_scripts_lora(folder: Path) -> Path:
    target = folder / "a.safetensors"
    disk.write_lora(target, lambda path: path.write_bytes(b"lora") and None)
    return target


@pytest.mark.parametrize("save", [in_host_state, sd_scripts_state, sd_scripts_lora])
def test_what_is_saved_waits_for_a_virus_scanner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Path], Path]
) -> None:
    replace, refused = os.replace, [2]

    def refusing(source: Path, target: Path) -> None:
        if refused[0]:
            refused[0] -= 1
            raise PermissionError(13, "Access is denied", str(target), 5)
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    monkeypatch.setattr(atomic.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(atomic, "PATIENT_TRIES", 50)  # as on Windows
    saved = save(tmp_path)
    assert saved.exists()
    assert refused == [0]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
