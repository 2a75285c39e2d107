"""Saving under a free name, complete or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LoraError
from incontext_lora.incontext.lora.header import read_metadata
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.lora.recipe_file import (
    METADATA_KEY,
    read_recipe,
    write_recipe,
)
from incontext_lora.incontext.lora.save import checked_name, save_new
from incontext_lora.tests.lora_files import RECIPE
from safetensors import safe_open
from safetensors.torch import load_file


def test_saving_counts_up_and_overwrites_nothing(tmp_path: Path) -> None:
    first = save_new(tmp_path, "set/rooms", {"a.lora_up.weight": torch.ones(2, 2)}, RECIPE)
    content = first.read_bytes()
    second = save_new(
        tmp_path, "set\\rooms.safetensors", {"a.lora_up.weight": torch.zeros(2, 2)}, RECIPE, {"more": "x"}
    )
    assert [path.relative_to(tmp_path).as_posix() for path in (first, second)] == [
        "set/rooms.safetensors",
        "set/rooms_00002.safetensors",
    ]
    assert first.read_bytes() == content
    assert read_recipe(second) == RECIPE
    assert read_metadata(second)["more"] == "x"
    assert len(list((tmp_path / "set").iterdir())) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
def test_saving_leaves_the_umask_of_the_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads: a file that another one makes meanwhile would be open to everybody."""
    previous = os.umask(0o027)
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the process's umask was changed"))
    try:
        saved = save_new(tmp_path, "x", {"a": torch.ones(1)}, RECIPE)
        assert saved.stat().st_mode & 0o777 == 0o640
        saved.chmod(0o600)
        write_recipe(saved, RECIPE)
        assert saved.stat().st_mode & 0o777 == 0o600
    finally:
        monkeypatch.undo()
        os.umask(previous)


def test_saving_takes_tensors_that_share_memory_or_are_not_contiguous(tmp_path: Path) -> None:
    whole = torch.arange(16.0).reshape(4, 4)
    with torch.inference_mode():
        inference = torch.ones(3)
    tensors = {"a": whole, "b": whole, "c": whole[:2], "d": whole.T, "e": torch.nn.Parameter(whole), "f": inference}
    loaded = load_file(str(save_new(tmp_path, "x", tensors, None)))
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_saving_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("this file system has no links")

    monkeypatch.setattr(os, "link", no_links)
    for expected in ("x.safetensors", "x_00002.safetensors", "x_00003.safetensors"):
        assert save_new(tmp_path, "x", {"a": torch.ones(1)}, RECIPE).name == expected
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "/",
            "/etc/x",
            "..",
            "../x",
            "..\\x",
            "a/../../x",
            "a/..",
            "a/",
            "a//b",
            "C:\\x",
            "c:x",
            ".hidden",
            "x.",
        ),
        *("nul", "COM1.v2", "a\0b", "a\nb", "a?b", "x" * 300, ".safetensors"),
    ],
)
def test_names_that_escape_or_cannot_be_stored_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoraError, match="cannot be the name"):
        save_new(tmp_path / "loras", name, {"a": torch.ones(1)}, RECIPE)
    assert not list(tmp_path.rglob("*.safetensors"))


@given(st.text(max_size=30))
def test_accepted_names_stay_inside(name: str) -> None:
    try:
        accepted = checked_name(name)
    except LoraError:
        return
    root = Path("/loras")
    assert Path(os.path.normpath(root / f"{accepted}.safetensors")) == root / f"{accepted}.safetensors"
    assert checked_name(accepted) == accepted


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    loras, elsewhere = tmp_path / "loras", tmp_path / "elsewhere"
    loras.mkdir()
    elsewhere.mkdir()
    try:
        (loras / "link").symlink_to(elsewhere)
    except OSError:
        pytest.skip("this system allows no links here")
    with pytest.raises(LoraError, match="leaves the folder"):
        save_new(loras, "link/x", {"a": torch.ones(1)}, RECIPE)
    assert not list(elsewhere.iterdir())


def test_saving_nothing_or_no_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="holds no tensors"):
        save_new(tmp_path, "x", {}, RECIPE)
    with pytest.raises(LoraError, match="'a' is not a tensor"):
        save_new(tmp_path, "x", {"a": [1.0]}, RECIPE)  # type: ignore[dict-item]


def test_the_real_reader_sees_the_recipe(tmp_path: Path) -> None:
    path = save_new(tmp_path, "x", {"a": torch.ones(1)}, RECIPE)
    with safe_open(str(path), "pt") as file:
        assert Recipe.from_json(json.loads(file.metadata()[METADATA_KEY])) == RECIPE
