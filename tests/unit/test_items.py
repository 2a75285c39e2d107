from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from incontext_lora.incontext.panels import arrange
from incontext_lora.training.in_host.items import latent_masks, read_mask, read_picture
from incontext_lora.training.references import panel_masks
from PIL import Image

LAYOUT = arrange.columns(128, 64, 2)


def test_pictures_and_masks_are_read_as_floats(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[0, 51, 255]]], np.uint8)).save(tmp_path / "picture.png")
    torch.testing.assert_close(read_picture(tmp_path / "picture.png"), torch.tensor([[[0, 0.2, 1]]]))
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask is not None
    assert mask.tolist() == [[0, 1]]
    assert read_mask(None) is None


def test_every_latent_position_belongs_to_its_panel() -> None:
    panels, weight = latent_masks(LAYOUT, (8, 16), None)
    assert panels.dtype == torch.bool
    assert torch.equal(panels.sum(0), torch.ones(8, 16, dtype=torch.int64))
    assert panels[0, :, :8].all()
    assert panels[1, :, 8:].all()
    assert torch.equal(weight, torch.ones(8, 16))


def test_gutters_belong_to_no_panel_but_count() -> None:
    panels, weight = latent_masks(arrange.columns(192, 64, 2, gutter=64), (8, 24), None)
    assert not panels[:, :, 8:16].any()
    assert (weight == 1).all()


def test_panels_share_no_position_of_the_latent_and_leave_none() -> None:
    boxes = [(0, 0, 128, 64), (0, 64, 128, 64), (0, 128, 128, 64)]
    masks = panel_masks(boxes, (128, 192), (24, 16))
    assert masks[1, 8:16].all()
    assert masks.sum((1, 2)).tolist() == [8 * 16] * 3
    halves = panel_masks(
        [(0, 0, 12, 8), (12, 0, 8, 8), (20, 0, 12, 8)], (32, 8), (1, 4)
    )  # edges at 1.5 and 2.5 positions
    assert halves.int().tolist() == [[[1, 1, 0, 0]], [[0, 0, 1, 0]], [[0, 0, 0, 1]]]


def test_the_loss_mask_is_reduced_by_its_area() -> None:
    mask = torch.ones(64, 128)
    mask[:, :64] = 0
    mask[:4, 64:72] = 0  # half of one latent position
    _, weight = latent_masks(LAYOUT, (8, 16), mask)
    assert weight[:, :8].sum() == 0
    assert weight[0, 8] == 0.5
    assert weight[:, 9:].min() == 1
