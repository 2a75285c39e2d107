"""The cases by which the panels that a text lists are the same in the interface: tests/js/choice_cases.json is current.

Write it again with ``python tests/unit/test_choice_cases.py`` after a change of `PanelLayout.select`.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "js" / "choice_cases.json"
ROOT = Path(__file__).parents[2]
NAMES = [
    ["SCENE-1", "SCENE-2", "SCENE-3"],
    ["LEFT", "RIGHT"],
    ["Front view", "side", "Straße"],
    ["2", "1", "[X"],
    ["A, B", "B"],
]
TEXTS = [
    "", " ,\n", "2", "1 3", "1,3", "3; 1", "１、３", "2，1", "left", "[LEFT]", "LEFT RIGHT", "SCENE-2, 1", "scene-3\nSCENE-1",
    "4", "0", "-1", "+1", "1.5", "0000000001", "front view", "front view side", "side, FRONT VIEW", "STRASSE", "[1] [[2]]",
    "[ 1 ]", "[]", "X", "B", "A, B", "1 1 2 1", "two", "²",
]  # fmt: skip


def cases() -> list[dict[str, Any]]:
    """What the library makes of each text: the indices, or null where it refuses."""
    from incontext_lora.incontext.errors import LayoutError
    from incontext_lora.incontext.panels.box import Box
    from incontext_lora.incontext.panels.layout import PanelLayout

    made: list[dict[str, Any]] = []
    for names, text in product(NAMES, TEXTS):
        boxes = tuple(Box(64 * number, 0, 64, 64) for number in range(len(names)))
        try:
            chosen = list(PanelLayout(64 * len(names), 64, boxes, tuple(names)).select(text))
        except LayoutError:
            chosen = None
        made.append({"names": names, "text": text, "chosen": chosen})
    return made


def test_the_interfaces_cases_are_those_of_the_library() -> None:
    assert json.loads(CASES.read_text(encoding="utf-8")) == cases()


if __name__ == "__main__":
    import runpy

    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "launcher" / "pack.py"))["register"]()
    lines = [json.dumps(case, ensure_ascii=False) for case in cases()]
    CASES.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")
