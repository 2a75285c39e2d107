"""The cases by which images are drawn in the interface as they are fitted here: tests/js/fitting_cases.json is current.

Write it again with ``python tests/unit/test_fitting_cases.py`` after a change of incontext/panels/fit.py.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from itertools import product
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "js" / "fitting_cases.json"
ROOT = Path(__file__).parents[2]
IMAGES = [(64, 64), (1, 999), (1023, 777), (300, 200), (513, 1024), (65, 64), (3000, 7)]
PANELS = [(64, 64), (512, 1024), (1024, 352), (17, 301)]
NAMES = ["LEFT", "Front view", "3"]
EXCEPTIONS = [
    "",
    "\n  \n",
    "2: contain, top",
    "left: stretch\n[FRONT VIEW]: contain, extend edges, bottom right\n3: exact",
    "1: Contain ,  Extend edges",
    "1: cover, top, left",
    "4: cover",
    "1: middle",
    "1:",
    "1",
]


def places() -> list[dict[str, Any]]:
    from incontext_lora.incontext.errors import PanelError
    from incontext_lora.incontext.panels.box import Box
    from incontext_lora.incontext.panels.choices import Align, Fit
    from incontext_lora.incontext.panels.fit import PanelSettings, place

    made: list[dict[str, Any]] = []
    for image, panel, fit, align in product(IMAGES, PANELS, list(Fit), list(Align)):
        if fit in (Fit.STRETCH, Fit.EXACT) and align is not Align.CENTER:
            continue
        try:
            placement = place(*image, Box(5, 7, *panel), PanelSettings(fit, align))
            boxes = [list(astuple(placement.crop)), list(astuple(placement.content))]
        except PanelError:
            boxes = None
        made.append({"image": image, "panel": panel, "fit": fit.value, "align": align.value, "boxes": boxes})
    return made


def exceptions() -> list[dict[str, Any]]:
    from incontext_lora.incontext.errors import InContextError
    from incontext_lora.incontext.panels.box import Box
    from incontext_lora.incontext.panels.fit import DEFAULT_SETTINGS, settings_per_panel
    from incontext_lora.incontext.panels.layout import PanelLayout

    layout = PanelLayout(192, 64, tuple(Box(64 * number, 0, 64, 64) for number in range(3)), tuple(NAMES))
    made: list[dict[str, Any]] = []
    for text in EXCEPTIONS:
        try:
            every = settings_per_panel(layout, DEFAULT_SETTINGS, text)
            fittings = [{"fit": each.fit.value, "align": each.align.value} for each in every]
        except InContextError:
            fittings = None
        made.append({"text": text, "fittings": fittings})
    return made


def written() -> str:
    lines = ",\n".join(json.dumps(case) for case in places())
    others = ",\n".join(json.dumps(case) for case in exceptions())
    return f'{{"names": {json.dumps(NAMES)}, "places": [\n{lines}\n], "exceptions": [\n{others}\n]}}\n'


def test_the_interfaces_cases_are_those_of_the_library() -> None:
    assert CASES.read_text(encoding="utf-8") == written()


if __name__ == "__main__":
    import runpy

    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "launcher" / "pack.py"))["register"]()
    CASES.write_text(written(), encoding="utf-8")
