"""The contact sheet and the report stay bounded, and so does memory."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset import sheet
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.report import Finding, Level, Report
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.tests.dataset_builds import pixels, run_in_process
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets, picture
from PIL import Image


def test_the_contact_sheet_shows_every_set(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE)
    tensor = sheet.read(dataset.contact_sheet)
    assert tensor.shape[0] == 1
    assert tensor.shape[3] == 3
    before = dataset.contact_sheet.stat().st_mtime_ns
    assert build(sets, out, RECIPE).contact_sheet.stat().st_mtime_ns == before
    shutil.rmtree(sets / "set-2")
    assert build(sets, out, RECIPE).contact_sheet.stat().st_mtime_ns != before


@pytest.mark.parametrize("count", [1, 20, 100, 3000])
@pytest.mark.parametrize("proportions", [0.5, 1.0, 3.0])
def test_the_contact_sheet_stays_bounded(tmp_path: Path, count: int, proportions: float) -> None:
    path = tmp_path / "a.png"
    picture(1, (64, round(64 / proportions))).save(path)
    data = sheet.contact_sheet((("名前 set", path) for _ in range(count)), count, proportions)
    (tmp_path / "sheet.jpg").write_bytes(data)
    width, height = Image.open(tmp_path / "sheet.jpg").size
    assert width <= sheet.LARGEST[0]
    assert height <= sheet.LARGEST[1]


def test_findings_that_sets_share_become_one_line() -> None:
    findings = [Finding(Level.NOTE, "Converted.", set=f"set-{number}") for number in range(20)]
    text = Report("toys", "/sets", "one folder a set", 20, 20, 20, 0, 0, tuple(findings)).text()
    assert text.count("Converted.") == 1
    assert "set-0, set-1" in text
    assert "and 12 more" in text


PEAK = (
    "import resource\n"
    "build(Path(sys.argv[2]), Path(sys.argv[3]), RECIPE, BuildOptions(name='toys'))\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured in Linux's units")
def test_memory_does_not_grow_with_the_number_of_sets(tmp_path: Path, out: Path) -> None:
    def peak(count: int) -> float:
        source = folder_sets(tmp_path / f"sets-{count}", count, size=(768, 384))
        process = run_in_process(PEAK, source, out / str(count))
        output, _ = process.communicate()
        assert process.returncode == 0
        return int(output) / 1024

    few, many = peak(10), peak(60)
    # the contact sheet grows up to 25 MB and no further; 50 more sets hold 127 MB of pixels
    assert many - few < 32, f"{few:.0f} MB for 10 sets, {many:.0f} MB for 60"


def test_another_layout_is_another_dataset(sets: Path, out: Path) -> None:
    wide = replace(RECIPE, layout=rows(256, 192, 3))
    dataset = build(sets, out, wide)
    assert pixels(dataset, 0).shape == (192, 256, 3)
