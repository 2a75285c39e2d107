"""A folder of sets in, composites with captions, masks and reports out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.options import BuildOptions, Shape
from incontext_lora.incontext.dataset.report import Level, Report
from incontext_lora.incontext.panels.choices import Fit
from incontext_lora.tests.dataset_builds import pixels
from incontext_lora.tests.dataset_sets import RECIPE, composite, folder_set, joint, numbered_set, picture
from PIL import Image


def test_a_folder_a_set_becomes_composites_with_one_line_captions(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE, BuildOptions(name="toys"))
    assert (dataset.folder, len(dataset), dataset.report.shape) == (out / "toys", 3, "one folder a set")
    expected = np.concatenate([np.array(picture(100 + panel)) for panel in range(3)])
    assert np.array_equal(pixels(dataset, 0), expected)
    assert dataset.text(dataset.items[0]).read_bytes() == joint(1).encode()
    assert all("_" not in path.name for path in dataset.image_folder.iterdir())
    assert dataset.mask_folder is None
    assert not dataset.report.of_level(Level.ERROR)


def test_numbered_files(tmp_path: Path, out: Path) -> None:
    for number in (1, 2):
        numbered_set(tmp_path / "flat", number)
    dataset = build(tmp_path / "flat", out, RECIPE)
    assert (dataset.name, dataset.report.shape, len(dataset)) == ("flat", Shape.NUMBERED.value, 2)
    assert [source.file for source in dataset.items[0].sources] == ["set1x_1.png", "set1x_2.png", "set1x_3.png"]


def test_composites_of_uneven_heights(tmp_path: Path, out: Path) -> None:
    for number, height in enumerate((1440, 1363, 1620, 1441), 1):
        composite(tmp_path / "shots", number, (1080, height))
    (tmp_path / "shots" / ".DS_Store").write_bytes(b"\0")
    dataset = build(tmp_path / "shots", out, RECIPE)
    assert dataset.report.shape == Shape.COMPOSITES.value
    assert [pixels(dataset, index).shape for index in range(4)] == [(192, 128, 3)] * 4
    assert not dataset.report.of_level(Level.ERROR)


def test_masks_are_white_where_panels_are_learned(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    assert dataset.references == (0,)
    for item in dataset.items:
        path = dataset.mask(item)
        assert path is not None
        mask = np.array(Image.open(path))
        assert (mask[:64] == 0).all()
        assert (mask[64:] == 255).all()
    without = build(sets, out, RECIPE)
    assert without.mask(without.items[0]) is None
    assert not list((without.folder / "masks").iterdir())


def test_a_dataset_is_read_again_as_it_was_built(sets: Path, out: Path) -> None:
    folder_set(sets, 4, size=(40, 20))
    (sets / "set-2" / "2.png").write_bytes(b"")
    built = build(sets, out, RECIPE, BuildOptions(fit=Fit.CONTAIN, references=(1,)), count_tokens={"t5xxl": len})
    loaded = Dataset.load(built.folder)
    assert loaded == built
    assert loaded.digest == built.digest
    assert loaded.items[0].tokens == {"t5xxl": len(joint(1))}


def test_the_reports_beside_the_manifest_say_the_same(sets: Path, out: Path) -> None:
    (sets / "set-2" / "caption.txt").unlink()
    dataset = build(sets, out, RECIPE)
    assert (dataset.folder / "report.txt").read_text(encoding="utf-8") == dataset.report.text()
    assert Report.from_json(json.loads((dataset.folder / "report.json").read_text(encoding="utf-8"))) == dataset.report


def test_the_digest_follows_captions_and_recipe(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE).digest
    assert build(sets, out, RECIPE).digest == first
    assert build(sets, out, replace(RECIPE, note="other")).digest != first
    (sets / "set-1" / "caption.txt").write_text(joint(1) + " more")
    assert build(sets, out, RECIPE).digest != first
