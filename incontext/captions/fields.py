"""The texts of a set's panels, as the fields of a node hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping

NUMBERED_PANELS = 9  # have fields of their own; later panels share one
_LINE_BREAK = re.compile(r"\r\n|\r|\n")  # as the interface splits


def panel_texts(fields: Mapping[str, str | None], more_panels: str) -> list[str]:
    """The texts of all panels in order.

    Args:
        fields: ``panel_1`` and so on; a missing one is empty.
        more_panels: the texts of later panels, one per line.
    """
    numbered = [fields.get(f"panel_{n}") or "" for n in range(1, NUMBERED_PANELS + 1)]
    return [*numbered, *_LINE_BREAK.split(more_panels)]
