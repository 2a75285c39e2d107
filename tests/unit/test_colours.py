from __future__ import annotations

import pytest
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.colours import parse_colour
from incontext_lora.incontext.panels.stitch import NEUTRAL


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (1, 1, 1)),
        (" Black ", (0, 0, 0)),
        ("#FF0000", (1, 0, 0)),
        ("#0f0", (0, 1, 0)),
        ("0, 0, 255", (0, 0, 1)),
        ("51,102,153", (0.2, 0.4, 0.6)),
        ("gray", NEUTRAL),
        ("grey", NEUTRAL),
        ("neutral", NEUTRAL),
    ],
)
def test_colours_as_people_write_them(text: str, colour: tuple[float, float, float]) -> None:
    assert parse_colour(text) == pytest.approx(colour)


@pytest.mark.parametrize("text", ["", "whitish", "#12345", "256, 0, 0", "-1, 0, 0", "1, 2", "1, 2, 3, 4"])
def test_anything_else_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(PanelError) as refused:
        parse_colour(text)
    assert repr(text) in str(refused.value)
    assert "#rrggbb" in str(refused.value)
