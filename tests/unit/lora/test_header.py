"""Headers: what is written leaves the tensors alone, and what is read is checked."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LoraError
from incontext_lora.incontext.lora.header import read_header, read_metadata
from incontext_lora.incontext.lora.recipe_file import (
    METADATA_KEY,
    read_recipe,
    write_recipe,
)
from incontext_lora.tests.lora_files import RECIPE, lora, raw_tensors
from safetensors.torch import load_file, save_file
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool)


@st.composite
def random_tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), unique=True, max_size=6))
    found = {}
    for name in names:
        if name == "__metadata__":
            continue
        shape = draw(st.lists(st.integers(0, 5), max_size=3))
        bits = torch.randint(0, 256, (*shape, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        dtype = draw(st.sampled_from(DTYPES))
        found[name] = (bits[..., 0] > 127) if dtype == torch.bool else bits.contiguous().view(dtype)
    return found


@given(
    random_tensors(),
    st.none()
    | st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=4),
)
def test_writing_a_recipe_leaves_every_byte_of_the_tensors_and_foreign_metadata(
    tensors: dict[str, Tensor], metadata: dict[str, str] | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_file(tensors, str(path), metadata or None)
        before = raw_tensors(path)
        write_recipe(path, RECIPE)
        write_recipe(path, replace(RECIPE, title="again"))
        assert raw_tensors(path) == before
        assert read_recipe(path) == replace(RECIPE, title="again")
        assert {**read_metadata(path), METADATA_KEY: ""} == {**(metadata or {}), METADATA_KEY: ""}
        assert read_header(path).data_start % 8 == 0
        assert load_file(str(path)).keys() == tensors.keys()  # the real reader takes it
        assert os.listdir(folder) == ["a.safetensors"]


def test_header_tells_types_shapes_and_places(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(3, 4, dtype=torch.bfloat16)}, str(path))
    header = read_header(path)
    assert (header.tensors["x"].dtype, header.tensors["x"].shape) == ("BF16", (3, 4))
    assert header.data_start + header.tensors["x"].end == path.stat().st_size


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
def test_files_cut_short_are_refused(tmp_path: Path, cut: int) -> None:
    path = lora(tmp_path / "a.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    with pytest.raises(LoraError, match="Download the file again"):
        read_header(path)
    with pytest.raises(LoraError):
        write_recipe(path, RECIPE)
    assert path.read_bytes() == content[:cut]


def test_bytes_behind_the_tensors_are_refused(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(LoraError, match="damaged"):
        read_header(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "a web page"),
        (b"\xef\xbb\xbf\n<html lang='en'><body>404 not found</body></html>", "a web page"),
        (b'{"error": "you must log in to download this file"}', "JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 171969408\n", "git lfs pull"),
        (b"GGUF\x03\0\0\0" + bytes(64), "a GGUF file"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "pickle"),
        (bytes(4096), "unfinished download"),
        (b"\xff" * 64, "not a safetensors file"),
        ((1 << 62).to_bytes(8, "little") + b'{"a":' + bytes(50), "not a safetensors file"),
        ((3).to_bytes(8, "little") + b"{]}", "header cannot be read"),
        ((40).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}                ', "metadata must be strings"),
        ((16).to_bytes(8, "little") + b'{"a":[1,2,3,4] }', "cannot be read"),
        ((60_000).to_bytes(8, "little") + b"{" + b'"a":[' * 11_999 + b"    ", "header cannot be read"),
        (
            (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}'.ljust(64),
            "cannot be read",
        ),
    ],
)
def test_other_files_are_called_by_their_kind(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "downloaded.safetensors"
    path.write_bytes(content)
    with pytest.raises(LoraError, match=words) as raised:
        read_header(path)
    assert "downloaded.safetensors" in str(raised.value)


def described(path: Path, entries: dict[str, tuple[str, list[int], int, int]], data: int) -> Path:
    """A file whose header says so, with so many bytes behind it."""
    header = json.dumps(
        {
            name: {"dtype": dtype, "shape": shape, "data_offsets": [a, b]}
            for name, (dtype, shape, a, b) in entries.items()
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return path


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"a": ("F32", [2], 0, 8), "b": ("F32", [2], 4, 12)}, "'a' and 'b' overlap"),
        ({"a": ("F32", [3], 0, 12), "b": ("F32", [3], 0, 12)}, "'a' and 'b' overlap"),
        ({"a": ("F32", [1], 0, 4), "b": ("F32", [1], 8, 12)}, "4 bytes before the tensor 'b' belong to no tensor"),
        ({"a": ("F32", [1], 8, 12)}, "8 bytes before the tensor 'a' belong to no tensor"),
        ({"a": ("F16", [3], 0, 12)}, "'a' is declared as F16 of 3, but has 12 bytes"),
        ({"a": ("F32", [1 << 40, 1 << 40], 0, 12)}, "declared as F32 of 1099511627776×1099511627776"),
        ({"a": ("F32", [], 0, 12)}, "declared as F32 of one value"),
        ({"a": ("BOOL", [0], 0, 12)}, "declared as BOOL of 0"),
        ({"a": ("F32", [1] * 17, 0, 12)}, "cannot be read"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(
    tmp_path: Path, entries: dict[str, tuple[str, list[int], int, int]], says: str
) -> None:
    with pytest.raises(LoraError, match=says):
        read_header(described(tmp_path / "a.safetensors", entries, 12))


def test_types_of_a_newer_safetensors_are_left_to_it(tmp_path: Path) -> None:
    path = described(tmp_path / "a.safetensors", {"a": ("F128", [3], 0, 12)}, 12)
    assert read_header(path).tensors["a"].dtype == "F128"


def test_pytorch_files_and_archives_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "new.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / "lora.zip", "w") as archive:
        archive.writestr("lora.safetensors", b"")
    for name, kind in (("new.pt", "zip archive or a PyTorch"), ("old.pt", "pickle"), ("lora.zip", "zip archive")):
        with pytest.raises(LoraError, match=kind):
            read_header(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="There is no file"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(LoraError, match="is a folder"):
        read_header(tmp_path)


def test_large_files_are_copied_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    size = 200 << 20
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    tracemalloc.start()
    write_recipe(path, RECIPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert path.stat().st_size > size
    assert read_recipe(path) == RECIPE
    path.unlink()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lora(tmp_path / "a.safetensors")
    content = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_recipe(path, RECIPE)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = lora(tmp_path / "real.safetensors")
    link = tmp_path / "link.safetensors"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system allows no links here")
    write_recipe(link, RECIPE)
    assert link.is_symlink()
    assert read_recipe(target) == RECIPE
