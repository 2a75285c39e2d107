"""The images of all panels, from the inputs of a node, and settings of single panels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from incontext_lora.incontext.errors import InContextError, PanelError
from incontext_lora.incontext.panels.choices import Align, Fit
from incontext_lora.incontext.panels.colours import WHITE
from incontext_lora.incontext.panels.fit import PanelSettings, settings_per_panel
from incontext_lora.incontext.panels.gather import gather
from incontext_lora.incontext.tensors import checked_masks
from incontext_lora.tests.panel_pictures import TWO, picture


def test_a_batch_is_one_image_a_panel() -> None:
    batch = picture(64, 64, batch=2)
    panels = gather(3, [batch], {})
    assert [None if panel is None else panel.shape for panel in panels] == [(1, 64, 64, 3), (1, 64, 64, 3), None]
    assert torch.equal(torch.cat([panel for panel in panels if panel is not None]), batch)


def test_a_list_keeps_the_batch_of_each_panel_and_numbers_come_first() -> None:
    first, second, third = (picture(64, 32 + n, batch=2, seed=n) for n in range(3))
    panels = gather(3, [first, second], {1: None, 2: [third], 3: []})
    assert panels[0] is first
    assert panels[1] is third
    assert panels[2] is None


def test_a_list_for_one_panel_becomes_its_batch() -> None:
    (panel,) = gather(1, [], {1: [picture(8, 8), picture(8, 8, seed=1)]})
    assert panel is not None
    assert panel.shape[0] == 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gather(1, [picture(8, 8, batch=2)], {}), ["2 images", "1 panels", "larger layout"]),
        (lambda: gather(1, [], {2: [picture(8, 8)]}), ["panel 2", "1 panels", "Disconnect"]),
        (lambda: gather(1, [], {1: [picture(8, 8), picture(9, 8)]}), ["8×8, 9×8", "'images'"]),
        (lambda: gather(1, [], {1: [picture(8, 8), torch.rand(1, 8, 8, 4)]}), ["8×8, 8×8 with 4 channels", "Panel 1"]),
        (
            lambda: gather(1, [], {1: [picture(8, 8), torch.tensor(0.5)]}),
            ["The input for panel 1 has the shape []", "IMAGE"],
        ),
        (lambda: gather(1, [], {1: [torch.rand(3), torch.rand(1)]}), ["The input for panel 1 has the shape [3]"]),
        (
            lambda: gather(1, [], {1: [torch.rand(1, 8, 8), torch.rand(2)]}, checked_masks),
            ["The input for panel 1 has the shape [2]", "MASK"],
        ),
    ],
)
def test_panels_that_there_are_not_are_refused(call: Callable[[], object], says: list[str]) -> None:
    with pytest.raises(PanelError) as refused:
        call()
    for words in says:
        assert words in str(refused.value)


COMMON = PanelSettings(padding=WHITE)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", [(Fit.COVER, Align.CENTER), (Fit.COVER, Align.CENTER)]),
        ("2: contain, top", [(Fit.COVER, Align.CENTER), (Fit.CONTAIN, Align.TOP)]),
        ("[LEFT]: Stretch\n\nright: Bottom Right", [(Fit.STRETCH, Align.CENTER), (Fit.COVER, Align.BOTTOM_RIGHT)]),
        ("1: contain, extend edges, left", [(Fit.CONTAIN_EDGE, Align.LEFT), (Fit.COVER, Align.CENTER)]),
        ("1: Contain,extend edges", [(Fit.CONTAIN_EDGE, Align.CENTER), (Fit.COVER, Align.CENTER)]),
    ],
)
def test_settings_of_single_panels(text: str, fits: list[tuple[Fit, Align]]) -> None:
    settings = settings_per_panel(TWO, COMMON, text)
    assert [(one.fit, one.align) for one in settings] == fits
    assert {one.padding for one in settings} == {WHITE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("3: cover", ["'3'", "1 to 2", "LEFT, RIGHT"]),
        ("²: cover", ["'²'"]),
        ("MIDDLE: cover", ["'MIDDLE'"]),
        ("1: covers", ["'covers'", "'cover'", "'top left'"]),
        ("1", ["''"]),
    ],
)
def test_exceptions_that_cannot_be_read_are_refused(text: str, says: list[str]) -> None:
    with pytest.raises(InContextError) as refused:
        settings_per_panel(TWO, COMMON, text)
    for words in says:
        assert words in str(refused.value)
