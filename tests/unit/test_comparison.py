"""The grid, its keys, the table and the folder of a comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from incontext_lora.incontext.evaluate import grid
from incontext_lora.incontext.evaluate.choose import BASE, ChoiceError, Result
from incontext_lora.incontext.evaluate.comparison import Comparison, decide, standard_rule
from incontext_lora.incontext.evaluate.grid import Candidate
from incontext_lora.incontext.evaluate.grid_picture import SIDE, Row, grid_picture
from incontext_lora.incontext.evaluate.store import Store, read_comparison
from PIL import Image

CAPTIONS = tuple(f"a set [LEFT] {number} [RIGHT] {number}" for number in range(6))
LATE = Candidate("=late.safetensors", "my-run", 0.8, "digest of late")


def comparison(name: str = "first", run: str = "my-run") -> Comparison:
    candidates = (Candidate(), LATE)
    cells = tuple(grid.cells(candidates, CAPTIONS, (0, 1), {"models": "m"}))
    scores = tuple(
        {"consistency": 0.1 if cell.candidate.label == BASE else 0.5 + 0.01 * cell.seed, "composition": 0.4}
        for cell in cells
    )
    choice = decide(cells, scores, CAPTIONS)
    return Comparison(name, run, CAPTIONS, candidates, cells, scores, choice, "a test", grids=("grid-001.png",))


def test_a_key_depends_on_everything() -> None:
    def keys(**changes: object) -> set[str]:
        values = {"candidates": [LATE], "captions": ["one"], "seeds": [0], "context": {"models": "m"}, "references": []}
        return {cell.key for cell in grid.cells(**{**values, **changes})}  # type: ignore[arg-type]

    others = [
        keys(candidates=[Candidate("x", "", 0.8, "another digest")]),
        keys(candidates=[Candidate("x", "", 0.9, "digest of late")]),
        keys(captions=["two"]),
        keys(seeds=[1]),
        keys(context={"models": "other"}),
        keys(references=["picture"]),
        keys(candidates=[Candidate()]),
    ]
    assert len({*keys(), *(key for each in others for key in each)}) == 1 + len(others)
    assert keys() == keys(candidates=[Candidate("renamed", "moved", 0.8, "digest of late")])


def test_too_large_a_grid_is_refused() -> None:
    with pytest.raises(ChoiceError, match="1 candidates × 300 captions × 100 seeds are 30,000 pictures"):
        grid.cells([LATE], [str(number) for number in range(300)], range(100), {})


def test_checkpoints_are_spread_with_the_last_among_them() -> None:
    assert grid.spread(range(10), 0) == list(range(10))
    assert grid.spread(range(10), 3) == [3, 6, 9]
    assert grid.spread(range(2), 5) == [0, 1]
    assert grid.spread(range(7), 1) == [6]


def test_strengths_and_captions_as_a_user_writes_them() -> None:
    assert grid.parse_strengths("0.8, 1  0.8") == [0.8, 1.0]
    for wrong in ("strong", "0", "nan", "11", ""):
        with pytest.raises(ChoiceError, match="strength"):
            grid.parse_strengths(wrong)
    assert grid.parse_captions(" one  caption \n\n two\none caption\n") == ["one caption", "two"]
    with pytest.raises(ChoiceError, match="no captions"):
        grid.parse_captions(" \n ")


def test_the_rule_has_guards_by_what_is_known() -> None:
    results = [Result(BASE, "a", 0, {"consistency": 0.1, "composition": 0.6})]
    guards = {guard.score: guard for guard in standard_rule(results).guards}
    assert guards["composition"].least == pytest.approx(0.3)
    guards = {guard.score: guard for guard in standard_rule(results, 0.2).guards}
    assert guards["composition"].least == pytest.approx(0.1)
    assert standard_rule([Result(BASE, "a", 0, {"within": 0.1})]).score == "within"


def test_a_frozen_layout_is_not_chosen() -> None:
    candidates = (Candidate(), LATE, Candidate("copies.safetensors", "", 1.0, "c"))
    cells = grid.cells(candidates, CAPTIONS, (0,), {})
    values = {BASE: (0.1, 0.6), LATE.label: (0.5, 0.5), "copies × 1": (0.9, 0.1)}
    scores = [dict(zip(("consistency", "composition"), values[cell.candidate.label], strict=True)) for cell in cells]
    choice = decide(cells, scores, CAPTIONS)
    assert choice.chosen == LATE.label
    assert "copies, or their layout is frozen" in choice.standings[-1].rejected[0]


def test_the_table_is_written_for_people_and_programs() -> None:
    made = comparison()
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [row["chosen"] for row in rows] == ["yes", ""]
    assert rows[0]["candidate"] == "'=late × 0.8", "a spreadsheet takes it for text"
    assert float(rows[0]["consistency"]) == pytest.approx(0.505)
    assert float(rows[0]["gain"]) == pytest.approx(0.405)
    report = made.report()
    assert "=late × 0.8 has the highest consistency" in report
    assert "composition" in report
    data = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert data["choice"]["chosen"] == "=late × 0.8"
    assert len(data["cells"]) == 2 * 6 * 2


def test_pictures_and_comparisons_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "comparisons")
    made = comparison()
    key = made.cells[0].key
    assert not store.has(key)
    picture = torch.rand(8, 12, 3, generator=torch.Generator().manual_seed(1))
    store.save(key, picture, {"caption": "a star ★"})
    assert store.has(key)
    torch.testing.assert_close(store.read(key)[0], picture, atol=1 / 255, rtol=0)
    store.keep_answers(key, "abc", {"share": 0.75})
    assert store.answers(key, "abc") == 0.75
    assert store.answers(key, "other") is None
    assert store.of_run("my-run") is None
    folder = store.write(made, {"grid-001.png": Image.new("RGB", (4, 4))})
    assert store.of_run("my-run") == folder
    assert store.of_run("another") is None
    assert read_comparison(folder)["choice"]["chosen"] == LATE.label
    with pytest.raises(ChoiceError, match="cannot be read"):
        read_comparison(tmp_path)
    store.picture(key).write_bytes(b"cut short")
    with pytest.raises(ChoiceError, match="Delete it and run the comparison again"):
        store.read(key)


@pytest.mark.parametrize("key", ["../../x", "", "0" * 31, "0" * 32 + "/x", "Z" * 32])
def test_nothing_but_a_key_becomes_a_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(ChoiceError, match="is not the key"):
        Store(tmp_path).has(key)


@pytest.mark.parametrize("name", ["../out", "cells", "a/b", "", "a\\b", "CON"])
def test_a_name_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ChoiceError, match="cannot be the name of a comparison"):
        Store(tmp_path).write(comparison(name), {})


def test_grids_of_one_comparison_have_one_size() -> None:
    rows = [Row("base", ("consistency 0.1", "")), Row("a-very-long-name-of-a-checkpoint × 1", ("", ""), True)]
    cell = Image.new("RGB", (800, 400), (10, 20, 30))
    asked: list[tuple[int, int]] = []

    def open_cell(row: int, column: int) -> Image.Image:
        asked.append((row, column))
        return cell

    short, long = (grid_picture(text, rows, (0, 1), open_cell) for text in ("short", "很长的提示词 " * 100))
    assert short.size == long.size
    assert len(asked) == 8
    assert short.width > 2 * SIDE
    assert (10, 20, 30) in {colour for _, colour in short.getcolors(1 << 20) or []}
