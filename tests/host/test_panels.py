from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels import arrange
from torch import Tensor

LAYOUT = arrange.rows(64, 192, 3)


def picture(seed: int, width: int = 64, height: int = 64, batch: int = 1) -> Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))


def blocked(value: Any) -> str | None:
    from comfy_execution.graph_utils import ExecutionBlocker

    assert isinstance(value, ExecutionBlocker)
    return value.message


def test_numbered_panels_go_in_and_come_out(host: Any) -> None:
    first, third = picture(1), picture(3)
    canvas, mask, layout = host.call("InContextStitchPanels", layout=[LAYOUT], panel_1=[first], panel_3=[third])
    assert canvas.shape == (1, 192, 64, 3)
    assert mask[0, :, 0].tolist() == [0] * 64 + [1] * 64 + [0] * 64
    panels, generated, batch = host.call("InContextSplitPanels", image=canvas, layout=layout)
    assert torch.equal(panels[0], first)
    assert torch.equal(panels[2], third)
    assert len(generated) == 1
    assert torch.equal(generated[0], panels[1])
    assert torch.equal(batch, torch.cat(panels))


@pytest.mark.parametrize("images", [[picture(1, batch=2)], [picture(1), picture(2)]], ids=["batch", "list"])
def test_all_panels_at_once(host: Any, images: list[Tensor]) -> None:
    _, _, layout = host.call("InContextStitchPanels", layout=[LAYOUT], images=images)
    assert layout.given == (True, True, False)
    canvas, _, layout = host.call("InContextStitchPanels", layout=[LAYOUT], images=images, panel_2=[picture(9)])
    assert torch.equal(canvas[:, 64:128], picture(9))


def test_a_list_of_sets_has_a_batch_a_panel(host: Any) -> None:
    canvas, mask, _ = host.call("InContextStitchPanels", layout=[LAYOUT], images=[picture(1, batch=2), picture(2)])
    assert canvas.shape[0] == mask.shape[0] == 2


def test_the_widgets_reach_the_library(host: Any) -> None:
    wide = torch.zeros(1, 32, 64, 3)
    canvas, *_ = host.call(
        "InContextStitchPanels",
        layout=[arrange.rows(64, 192, 2, gutter=64)],
        panel_1=[wide],
        fit="stretch",
        padding="#ff0000",
        gutter="0, 255, 0",
        fill="blue",
        exceptions="1: contain, bottom",
    )
    assert canvas[0, [0, 63, 64, 128], 0].tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_masks_and_alpha_say_what_is_repainted(host: Any) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    transparent = torch.cat([picture(1), torch.zeros(1, 64, 64, 1)], dim=-1)
    _, mask, _ = host.call(
        "InContextStitchPanels",
        layout=[LAYOUT],
        panel_1=[picture(1)],
        mask_1=[mask],
        panel_2=[transparent],
        alpha="repaint what is transparent",
        panel_3=[picture(3)],
        mask_3=[torch.zeros(1, 64, 64)],
    )
    assert mask[0, :, 0].tolist() == [1] * 32 + [0] * 32 + [1] * 64 + [0] * 64


def test_nothing_is_behind_an_output_that_has_nothing(host: Any) -> None:
    canvas, _, layout = host.call("InContextStitchPanels", layout=[LAYOUT], images=[picture(1, batch=3)])
    _, generated, _ = host.call("InContextSplitPanels", image=canvas, layout=layout)
    assert [blocked(value) for value in generated] == [None]


def test_panels_of_different_sizes_are_no_batch(host: Any) -> None:
    uneven = arrange.nested(128, 128, [1, 2])
    panels, _, batch = host.call("InContextSplitPanels", image=torch.zeros(1, 128, 128, 3), layout=uneven)
    assert [panel.shape[1:3] for panel in panels] == [(64, 128), (64, 64), (64, 64)]
    assert "128×64, 64×64" in (blocked(batch) or "")


def test_a_batch_of_sets_comes_out_set_by_set(host: Any) -> None:
    canvas, *_ = host.call("InContextStitchPanels", layout=[LAYOUT], **{
        f"panel_{n}": [picture(n, batch=2)] for n in (1, 2, 3)
    })  # fmt: skip
    panels, _, batch = host.call("InContextSplitPanels", image=canvas, layout=LAYOUT)
    assert batch.shape[0] == 6
    for number in range(2):
        (first, second, third), rows = (panel[number] for panel in panels), batch[3 * number : 3 * number + 3]
        assert torch.equal(rows, torch.stack([first, second, third]))


def test_panels_come_back_in_their_own_size(host: Any) -> None:
    canvas, _, layout = host.call(
        "InContextStitchPanels", layout=[LAYOUT], panel_1=[picture(1, 100, 50)], fit="contain"
    )
    panels, *_ = host.call("InContextSplitPanels", image=canvas, layout=layout, original_size=True)
    assert [tuple(panel.shape[1:3]) for panel in panels] == [(50, 100), (64, 64), (64, 64)]


def test_what_does_not_fit_is_refused(host: Any) -> None:
    with pytest.raises(PanelError, match="panel 9, but the layout has 3"):
        host.call("InContextStitchPanels", layout=[LAYOUT], panel_9=[picture(1)])
    with pytest.raises(PanelError, match="SCENE-1 is 63×64, but the panel is 64×64"):
        host.call("InContextStitchPanels", layout=[LAYOUT], panel_1=[picture(1, 63)], fit="exact")
    with pytest.raises(PanelError, match="colour 'blurple' is unknown"):
        host.call("InContextStitchPanels", layout=[LAYOUT], fill="blurple")


def test_more_than_nine_panels_by_number_and_as_lists(host: Any) -> None:
    layout = arrange.grid(256, 256, 4, 4)
    numbered = {f"panel_{n}": [picture(n, 64)] for n in range(1, 17)}
    by_number = host.call("InContextStitchPanels", layout=[layout], **numbered)
    listed = host.call("InContextStitchPanels", layout=[layout], images=[picture(n, 64) for n in range(1, 17)])
    assert torch.equal(by_number[0], listed[0])
    assert all(by_number[2].given)
    masks = [torch.full((1, 64, 64), float(n == 12)) for n in range(1, 17)]
    _, mask, _ = host.call(
        "InContextStitchPanels", layout=[layout], images=[picture(n, 64) for n in range(1, 17)], masks=masks
    )
    _, one, _ = host.call("InContextStitchPanels", layout=[layout], **numbered, mask_12=[masks[11]])
    assert torch.equal(mask, one)
    assert mask.sum() == 64 * 64
    with pytest.raises(PanelError, match="17 masks for a layout of 16 panels"):
        host.call("InContextStitchPanels", layout=[layout], masks=[torch.zeros(17, 64, 64)])
