"""The cases by which the interface's layout mathematics is held to the library's: tests/js/layout_cases.json is current.

Write it again with ``python tests/unit/test_layout_cases.py`` after a change of incontext/panels/layout.py.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "js" / "layout_cases.json"
ROOT = Path(__file__).parents[2]
BOXES = [
    "",
    " \n",
    "0, 0, 512, 512",
    "0 0 256 512\r\n256 0 256 512\n",
    "HERO: 0, 0, 512, 256\n\n[SIDE]: 0, 256, 256, 256\nTIME: 12:30: 256, 256, 256, 256",
    "A: 0, 0, 256, 256\n256, 0, 256, 256",
    "0, 0, 300, 256\n256, 0, 256, 256",
    "0, 0, 640, 256",
    "-1, 0, 64, 64",
    "0, 0, 0, 64",
    "0, 0, 64",
    "0, 0, 64, 6.5",
    "it's wrong",
    'say "it\'s"',
    "A: 0, 0, 64, 64\nA: 64, 0, 64, 64",
    ": 0, 0, 64, 64",
    "0, 256, 256, 256\n0, 0, 256, 256",
    "256, 0, 256, 256\n0, 0, 256, 256",
    "256, 256, 256, 256\n0, 0, 256, 256\n256, 0, 256, 256\n0, 256, 256, 256",
    "+16, 1_6, 64, 64",
]
NAMES = ["", "A, B, C", " [ONE] , TWO ,, [[THREE]]", "A, B", "A, A, B", "[], B, C"]
DEFAULTS = {
    "kind": "rows",
    "width": 512,
    "height": 768,
    "rows": 3,
    "columns": 2,
    "columns_per_row": "1, 2",
    "gutter": 0,
    "panel_step": "16",
    "boxes": "",
    "names": "",
}


def values() -> list[dict[str, Any]]:
    """What the widgets of Panel Layout hold, case by case."""
    wanted: list[dict[str, Any]] = []
    for kind, (width, height), gutter, step in product(
        ("rows", "columns", "grid", "nested rows"),
        ((512, 768), (1024, 1536), (704, 1056)),
        (0, 8, 16, 24, 7),
        ("16", "32", "8", "64"),
    ):
        wanted.append({"kind": kind, "width": width, "height": height, "gutter": gutter, "panel_step": step})
    for rows, columns in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (5, 2), (7, 3), (16, 16)):
        for kind in ("rows", "columns", "grid"):
            wanted.append({"kind": kind, "rows": rows, "columns": columns})
            wanted.append({"kind": kind, "rows": rows, "columns": columns, "gutter": 16, "width": 1024})
    for counts in ("1", "2, 1", "1 2 3", "3,3,3", "", "0, 1", "-1", "1, x", "1.5", "2,\n2"):
        wanted.append({"kind": "nested rows", "columns_per_row": counts, "height": 832})
    for width, height in ((100, 512), (512, 0), (96, 512), (160, 64), (64, 64), (32, 32), (31, 64)):
        wanted.append({"width": width, "height": height, "rows": 1})
    wanted += [{"kind": "boxes", "boxes": boxes, "height": 512} for boxes in BOXES]
    wanted += [{"names": names} for names in NAMES]
    wanted += [{"kind": "boxes", "boxes": "A: 0, 0, 64, 64\nB: 64, 0, 64, 64", "names": names} for names in NAMES]
    return [{**DEFAULTS, **case} for case in wanted]


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """The layout that the library makes, or what it says against it."""
    from incontext_lora.incontext.errors import LayoutError
    from incontext_lora.incontext.panels.arrange import panel_layout

    try:
        return {"layout": panel_layout(**case).to_json()}
    except LayoutError as error:
        return {"error": str(error)}


def text() -> str:
    lines = [json.dumps({"values": case, **expected(case)}, ensure_ascii=False) for case in values()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def test_the_cases_are_current() -> None:
    assert CASES.read_text(encoding="utf-8") == text(), f"write them again: python {Path(__file__).relative_to(ROOT)}"


def test_the_cases_hold_layouts_and_refusals() -> None:
    answers = [expected(case) for case in values()]
    assert sum("layout" in answer for answer in answers) > 100
    assert len({answer["error"].split()[0] for answer in answers if "error" in answer}) > 5


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    import conftest  # noqa: F401  makes the pack importable

    CASES.write_text(text(), encoding="utf-8")
