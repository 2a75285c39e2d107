"""Bad sets are named and left out; a build never ends because of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.report import Level
from incontext_lora.incontext.errors import DatasetError
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import columns
from incontext_lora.tests.dataset_builds import errors
from incontext_lora.tests.dataset_sets import RECIPE, joint, picture
from PIL import Image


def spoil_truncated(folder: Path) -> None:
    path = folder / "2.png"
    path.write_bytes(path.read_bytes()[:-200])


def spoil_animated(folder: Path) -> None:
    picture(1).save(folder / "2.png", save_all=True, append_images=[picture(2)])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "2.png").write_bytes(b""), "empty"),
        (lambda folder: (folder / "2.png").write_bytes(b"no image"), "damaged"),
        (spoil_truncated, "damaged"),
        (spoil_animated, "2 frames"),
        (lambda folder: (folder / "2.png").unlink(), "has 2 images"),
        (lambda folder: picture(1).save(folder / "4.png"), "has 4 images"),
        (lambda folder: picture(1).save(folder / "2.jpg"), "twice"),
        (lambda folder: (folder / "caption.txt").unlink(), "no caption"),
        (lambda folder: (folder / "caption.txt").write_bytes(b"\n"), "empty"),
        (lambda folder: (folder / "caption.txt").write_bytes(b"\0\1\2"), "cannot be read for certain as text"),
    ],
)
def test_a_bad_set_is_named_and_left_out(sets: Path, out: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(sets / "set-2")
    dataset = build(sets, out, RECIPE)
    assert [item.set for item in dataset.items] == ["set-1", "set-3"]
    (finding,) = dataset.report.of_level(Level.ERROR)
    assert finding.set == "set-2"
    assert said in finding.problem
    assert finding.remedy
    assert str(finding) in dataset.report.text() or finding.problem in dataset.report.text()


def test_everything_wrong_with_a_set_is_reported_at_once(sets: Path, out: Path) -> None:
    (sets / "set-2" / "1.png").write_bytes(b"")
    (sets / "set-2" / "3.png").write_bytes(b"no image")
    (sets / "set-2" / "caption.txt").write_bytes(b"")
    report = build(sets, out, RECIPE).report
    assert [finding.file for finding in report.of_level(Level.ERROR)] == [
        "set-2/caption.txt",
        "set-2/1.png",
        "set-2/3.png",
    ]


def test_duplicates_by_bytes_and_by_pixels(sets: Path, out: Path) -> None:
    shutil.copytree(sets / "set-1", sets / "set-4")
    (sets / "set-4" / "caption.txt").write_text(joint(4))
    shutil.copytree(sets / "set-2", sets / "set-5")
    for path in (sets / "set-5").glob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    for _ in range(2):  # the second time all others are kept
        dataset = build(sets, out, RECIPE)
        assert errors(dataset.report) == {
            "set-4": "The set shows the same images as set-1.",
            "set-5": "The set shows the same images as set-2.",
        }
        assert len(list(dataset.image_folder.iterdir())) == 6


def test_a_panel_that_is_there_twice_is_a_warning(sets: Path, out: Path) -> None:
    shutil.copy(sets / "set-1" / "1.png", sets / "set-1" / "2.png")
    report = build(sets, out, RECIPE).report
    assert [finding.set for finding in report.of_level(Level.WARNING) if "same file" in finding.problem] == ["set-1"]


def test_captions_over_the_limit_are_named(sets: Path, out: Path) -> None:
    (sets / "set-3" / "caption.txt").write_text(joint(3) + " word" * 600)
    counters = {"t5xxl": lambda text: len(text.split()), "clip_l": lambda text: 10 * len(text.split())}
    report = build(sets, out, RECIPE, count_tokens=counters).report
    assert [finding.set for finding in report.of_level(Level.WARNING) if "t5xxl" in finding.problem] == ["set-3"]
    assert [finding.problem[:6] for finding in report.of_level(Level.NOTE) if "clip_l" in finding.problem] == ["3 of 3"]


@pytest.mark.parametrize(("count", "warned"), [(19, "memorises"), (20, ""), (100, ""), (101, "no harm")])
def test_outside_the_intended_range_a_warning_says_why(tmp_path: Path, out: Path, count: int, warned: str) -> None:
    recipe = Recipe("tiny", columns(64, 64, 2))
    for number in range(count):
        for panel in (1, 2):
            Image.new("RGB", (32, 64), (number, panel, 0)).save(_made(tmp_path / "sets") / f"s{number}x_{panel}.png")
        (tmp_path / "sets" / f"s{number}x.txt").write_text("A pair. [LEFT] a [RIGHT] b")
    warnings = build(tmp_path / "sets", out, recipe).report.of_level(Level.WARNING)
    assert len(warnings) == bool(warned)
    assert not warned or warned in warnings[0].problem


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_nothing_usable_is_an_error_that_says_what_was_looked_for(sets: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no image sets.*\n?.*Expected: one folder per set, with 3 numbered"):
        build(tmp_path / "empty", out, RECIPE)
    for number in (1, 2, 3):
        (sets / f"set-{number}" / "caption.txt").unlink()
    with pytest.raises(DatasetError, match=r"(?s)None of the 3 sets.*set-1, set-2, set-3: The set has no caption"):
        build(sets, out, RECIPE)
    assert not (out / "sets" / "manifest.json").exists()


def test_a_build_without_a_usable_set_leaves_the_dataset_before_it(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE)
    with pytest.raises(DatasetError):
        build(sets, out, Recipe("pair", columns(128, 64, 2)))
    assert Dataset.load(first.folder) == first
