"""Names, foreign folders, damaged manifests and links."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.options import BuildOptions
from incontext_lora.incontext.errors import DatasetError
from incontext_lora.tests.dataset_builds import edit, errors
from incontext_lora.tests.dataset_sets import RECIPE, folder_set, joint


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "con", "a:b", " a", "x\n"])
def test_names_that_cannot_be_folders_on_every_system(sets: Path, out: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be called"):
        build(sets, out, RECIPE, BuildOptions(name=name))


def test_source_and_dataset_may_not_lie_within_each_other(sets: Path, out: Path) -> None:
    with pytest.raises(DatasetError, match="within each other"):
        build(sets, sets, RECIPE, BuildOptions(name="built"))
    dataset = build(sets, out, RECIPE)
    with pytest.raises(DatasetError, match="within each other"):
        build(dataset.image_folder, out, RECIPE, BuildOptions(name="sets"))


def test_a_folder_with_other_files_is_not_taken_over(sets: Path, out: Path) -> None:
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        build(sets, out, RECIPE, BuildOptions(name="mine"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no dataset"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest"),
        (lambda folder: edit(folder, version=99), "version 99"),
        (lambda folder: edit(folder, items=[{"id": "../../x"}]), "damaged"),
        (lambda folder: edit(folder, options={}), "damaged"),
        (lambda folder: next((folder / "items").glob("*.png")).unlink(), "missing"),
    ],
)
def test_a_folder_that_is_not_a_dataset_is_refused(
    sets: Path, out: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = build(sets, out, RECIPE).folder
    spoil(folder)
    with pytest.raises(DatasetError, match=said):
        Dataset.load(folder)


def test_a_manifest_of_another_version_is_replaced(sets: Path, out: Path) -> None:
    folder = build(sets, out, RECIPE).folder
    edit(folder, version=99)
    assert build(sets, out, RECIPE).report.written == 3
    Dataset.load(folder)


def test_file_names_that_are_not_valid_text(sets: Path, out: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    try:
        (sets / "set-1").rename(sets / odd)
    except OSError:
        pytest.skip("this file system takes text only")
    (sets / odd / "1.png").write_bytes(b"")
    (sets / "set-2").rename(sets / (odd + "2"))
    dataset = build(sets, out, RECIPE)
    assert Dataset.load(dataset.folder) == dataset
    assert {item.set for item in dataset.items} == {odd + "2", "set-3"}
    dataset.report.text().encode()
    (sets / odd / "caption.txt").unlink()
    for path in sets.glob("*/caption.txt"):
        path.unlink()
    with pytest.raises(DatasetError) as caught:
        build(sets, out, RECIPE)
    str(caught.value).encode()


NESTED = "(" * 3_000 + "a fox" + ")" * 3_000


def test_one_bad_set_never_ends_a_build(sets: Path, out: Path) -> None:
    """Names and captions that once ended the whole build: here each costs its own set at most."""
    for number in range(4, 10):
        folder_set(sets, number)
    (sets / "set-1").rename(sets / "set\n1\x07")
    (sets / "set-2" / "caption.txt").write_text(f"{NESTED} {joint(2)}", encoding="utf-8")
    (sets / "set-4" / "caption.txt").write_bytes(b"[SCENE-1] \xed\xa0\x80 [SCENE-2] b [SCENE-3] c")
    (sets / "set-5" / "caption.txt").write_bytes(b"[SCENE-1] a\0 [SCENE-2] b [SCENE-3] c")
    (sets / "set-6" / "caption.txt").write_text("[SCENE-1] a " * 20_000, encoding="utf-8")
    (sets / "set-7" / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")

    def count(text: str) -> int:
        if "Set 8" in text:
            raise RecursionError("a tokenizer's own")
        return len(text.split())

    dataset = build(sets, out, RECIPE, count_tokens={"t5xxl": count})
    assert {item.set for item in dataset.items} == {"set\n1\x07", "set-2", "set-3", "set-9"}
    left_out = errors(dataset.report)
    assert set(left_out) == {f"set-{number}" for number in (4, 5, 6, 7, 8)}
    assert "RecursionError" in left_out["set-8"]
    assert Dataset.load(dataset.folder) == dataset
    assert "set\n1" not in dataset.report.text()
    again = build(sets, out, RECIPE, count_tokens={"t5xxl": count})
    assert again.report.kept == 4


@pytest.mark.parametrize(
    "content",
    [
        *("[1]", "null", "[" * 100_000, '{"kind": "incontext dataset", "version": 1e999}', '{"kind": NaN}', "\0"),
        *('{"kind": "incontext dataset", "version": 1}', '{"kind": "incontext dataset", "version": [1]}'),
    ],
)
def test_an_invalid_manifest_is_refused_in_our_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("id", "../../x"), ("id", 5), ("set", None), ("caption", 1), ("sources", {}), ("size", "1"), ("tokens", [])),
        *(("remarks", [5]), ("remarks", [{"level": "loud"}]), ("sources", [{"file": 1}]), ("pixels", ["x"])),
    ],
)
def test_an_item_of_another_form_is_refused(sets: Path, out: Path, place: str, value: object) -> None:
    folder = build(sets, out, RECIPE).folder
    data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    data["items"][0][place] = value
    (folder / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DatasetError, match="damaged"):
        Dataset.load(folder)


def test_items_that_are_links_out_of_the_dataset_are_not_read(sets: Path, out: Path, tmp_path: Path) -> None:
    dataset = build(sets, out, RECIPE)
    image = dataset.image(dataset.items[0])
    elsewhere = tmp_path / "private.png"
    image.rename(elsewhere)
    try:
        image.symlink_to(elsewhere)
    except OSError:
        pytest.skip("links are not allowed here")
    with pytest.raises(DatasetError, match="outside the dataset"):
        Dataset.load(dataset.folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_pipes_are_not_waited_for(sets: Path, out: Path) -> None:
    os.mkfifo(sets / "set-1" / "4.png")
    (sets / "set-2" / "caption.txt").unlink()
    os.mkfifo(sets / "set-2" / "caption.txt")
    report = build(sets, out, RECIPE).report
    assert errors(report) == {"set-2": "The set has no caption."}
    assert [finding.file for finding in report.findings if "not a file" in finding.problem] == [
        "set-1/4.png",
        "set-2/caption.txt",
    ]
