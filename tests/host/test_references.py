"""Pictures as references: crop and paste, repaint, find and enlarge panels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.errors import LayoutError, PanelError
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.stitch import split
from incontext_lora.tests.reference_models import (
    LAYOUT,
    conditioning,
    flux,
    sample,
    sd3,
    stitched,
)
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from conftest import HostPack


def photo(width: int = 300, height: int = 220) -> tuple[Tensor, Tensor]:
    """A picture and a mask on it."""
    picture = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.zeros(1, height, width)
    mask[:, 60:120, 200:260] = 1
    return picture, mask


def test_from_photo_to_panel_and_back(host: HostPack, vae: Any) -> None:
    """Object replacement: crop, stitch beside a reference, condition, sample, paste; all at the photo's resolution."""
    picture, mask = photo()
    layout = arrange.columns(128, 64, 2)
    crop, crop_mask, window, width, height, report = host.call(
        "InContextContextCrop", image=picture, mask=mask, layout=layout
    )
    assert crop.shape == (1, 64, 64, 3)
    assert (width, height) == (64, 64)
    assert "region 1" in report
    canvas, canvas_mask, placed = host.call(
        "InContextStitchPanels",
        layout=layout,
        fit="exact",
        panel_1=torch.rand(1, 64, 64, 3),
        panel_2=crop,
        mask_2=crop_mask,
    )
    model, latent, *_ = host.call(
        "InContextConditionPanels", model=flux(), vae=vae, canvas=canvas, mask=canvas_mask, layout=placed
    )
    samples, _ = sample(host, (model, latent), conditioning())
    (painted,) = host.call("VAEDecode", vae=vae, samples={"samples": samples})
    (result,) = host.call(
        "InContextPastePanels",
        image=picture,
        painted=painted,
        layout=placed,
        window=window,
        colour_match="brightness and tint",
    )
    assert result.shape == picture.shape
    assert torch.equal(result[mask == 0], picture[mask == 0])
    assert not torch.allclose(result[mask == 1], picture[mask == 1], atol=0.05)
    (nothing,) = host.call("InContextPastePanels", image=picture, painted=crop, window=window)
    assert torch.equal(nothing, picture)


def test_a_stitched_photo_comes_back_in_its_own_size(host: HostPack) -> None:
    picture, mask = photo()
    layout = arrange.columns(128, 64, 2)
    canvas, _, placed = host.call(
        "InContextStitchPanels",
        layout=layout,
        fit="contain",
        panel_1=torch.rand(1, 64, 64, 3),
        panel_2=picture,
        mask_2=mask,
    )
    inputs = {"image": picture, "painted": torch.zeros_like(canvas), "layout": placed, "panel": "RIGHT"}
    (result,) = host.call("InContextPastePanels", **inputs, mask=mask, feather=0)
    assert torch.equal(result[mask == 0], picture[mask == 0])
    assert float(result[mask == 1].max()) == 0
    with pytest.raises(PanelError, match="Connect the mask of the full picture"):
        host.call("InContextPastePanels", **inputs)
    with pytest.raises(PanelError, match="Neither a window nor a layout"):
        host.call("InContextPastePanels", image=picture, painted=canvas, mask=mask)
    with pytest.raises(PanelError, match="Panel RIGHT was not given"):
        host.call("InContextPastePanels", image=picture, painted=canvas, mask=mask, layout=layout, panel="2")


def test_regions_apart_become_a_batch(host: HostPack) -> None:
    picture, mask = photo()
    mask[:, 5:25, 5:25] = 1
    crop, crop_mask, window, *_ = host.call(
        "InContextContextCrop", image=picture, mask=mask, width=32, height=48, regions="one window each"
    )
    assert crop.shape == (2, 48, 32, 3)
    assert crop_mask.shape == (2, 48, 32)
    (result,) = host.call(
        "InContextPastePanels", image=picture, painted=torch.ones_like(crop), window=window, feather=0
    )
    assert float(result[mask == 1].min()) > 1 - 1e-6
    assert torch.equal(result[mask == 0], picture[mask == 0])
    with pytest.raises(PanelError, match="Write both sides"):
        host.call("InContextContextCrop", image=picture, mask=mask, width=32)


@pytest.mark.parametrize("clean", ["keep clean", "re-noise"])
def test_regenerating_panel_2_leaves_1_and_3_bit_identical(host: HostPack, vae: Any, clean: str) -> None:
    finished = stitched(0, 1, 2)["canvas"]
    canvas, mask, layout = host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels="2")
    assert layout.given == (True, False, True)
    assert bool((canvas[:, :, 64:128] == 0.5).all())
    model, latent, *_ = host.call(
        "InContextConditionPanels", model=sd3(), vae=vae, canvas=canvas, mask=mask, layout=layout, given_panels=clean
    )
    samples, _ = sample(host, (model, latent), conditioning())
    (painted,) = host.call("VAEDecode", vae=vae, samples={"samples": samples})
    (kept,) = host.call("InContextKeepGiven", canvas=canvas, painted=painted, mask=mask)
    before, after = split(finished, LAYOUT), split(kept, LAYOUT)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])
    assert torch.equal(after[1], split(painted, LAYOUT)[1])
    assert not torch.allclose(after[1], before[1], atol=0.05)


def test_repaint_takes_names_and_refuses_unknown_panels(host: HostPack) -> None:
    finished = torch.rand(2, 128, 384, 3)  # twice the layout's size
    _, mask, layout = host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels="SCENE-1, 3")
    assert layout.given == (False, True, False)
    assert (layout.width, layout.height) == (384, 128)
    assert bool((mask[:, :, 128:256] == 0).all())
    with pytest.raises(LayoutError, match="There is no panel '4'"):
        host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels="4")
    with pytest.raises(LayoutError, match="No panel is listed"):
        host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels=" ")


def test_found_panels_can_be_split_and_repainted(host: HostPack) -> None:
    drawn = PanelLayout(200, 96, (Box(0, 0, 80, 96), Box(88, 0, 112, 96)))
    picture = torch.ones(1, 96, 200, 3)
    picture[:, :, :80] = torch.tensor([0.8, 0.3, 0.2])
    picture[:, :, 88:] = torch.tensor([0.1, 0.3, 0.6])
    picture = (picture + 0.01 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = arrange.columns(128, 64, 2)
    layout, confidence, report = host.call("InContextFindPanels", image=picture, expected=expected, tolerance=0.3)
    assert layout.boxes == drawn.boxes
    assert confidence > 0.5
    assert "gutter of 8 px" in report
    panels, *_ = host.call("InContextSplitPanels", image=picture, layout=layout)
    assert [panel.shape[2] for panel in panels] == [80, 112]


def drawn_pair(width: int, height: int) -> Tensor:
    """Two flat panels with a little noise, as no layout of this pack would divide a canvas."""
    seam = round(width * 0.52)
    picture = torch.empty(1, height, width, 3)
    picture[:, :, :seam] = torch.tensor([0.8, 0.3, 0.2])
    picture[:, :, seam:] = torch.tensor([0.1, 0.3, 0.6])
    return (picture + 0.01 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


@pytest.mark.parametrize(("make", "kind"), [(sd3, "detect"), (lambda: flux(96), "detect"), (flux, "edit model")])
@pytest.mark.parametrize("step", [1, 16])
def test_any_picture_is_repainted_and_comes_back_in_its_own_size(
    host: HostPack, vae: Any, make: Any, kind: str, step: int
) -> None:
    """A picture whose sides no autoencoder takes: found, one panel painted, the other one as it was."""
    picture = drawn_pair(310, 204)
    found, confidence, _ = host.call(
        "InContextFindPanels", image=picture, expected=arrange.columns(128, 64, 2), step=step
    )
    assert confidence > 0.5
    canvas, mask, layout = host.call("InContextRepaintPanels", image=picture, layout=found, panels="2")
    model, latent, positive, negative, report = host.call(
        "InContextConditionPanels",
        model=make(), vae=vae, canvas=canvas, mask=mask, layout=layout, model_kind=kind, positive=conditioning(),
    )  # fmt: skip
    assert "The canvas is 310×204; this model paints multiples of 16 px. 10 px at the right and 4 px at" in report
    assert ("SCENE" in report) is False
    assert ("LEFT" in report) == (step == 1)  # the seam at 161 lies between tokens
    assert latent["samples"].shape[-2:] == (208 // 8, 320 // 8)
    samples, seen = sample(host, (model, latent), positive, negative)
    assert seen[0].x.shape[-2:] == (26, 40)
    (painted,) = host.call("VAEDecode", vae=vae, samples={"samples": samples})
    (kept,) = host.call("InContextKeepGiven", canvas=canvas, painted=painted, mask=mask)
    assert kept.shape == picture.shape
    left, right = (found.boxes[0].columns, found.boxes[1].columns)
    assert torch.equal(kept[:, :, left], picture[:, :, left])
    assert torch.equal(kept[:, :, right], painted[:, :204, right])
    panels, *_ = host.call("InContextSplitPanels", image=painted, layout=layout)
    assert torch.equal(panels[1], kept[:, :, right])


def test_finishing_panel_by_panel_keeps_size_order_and_colours(host: HostPack, vae: Any) -> None:
    finished = stitched(0, 1, 2)["canvas"]
    panels, layout = host.call("InContextEnlargePanels", image=finished, layout=LAYOUT, factor=2.0)
    assert (layout.width, layout.height) == (384, 128)
    assert layout.names == LAYOUT.names
    matched = []
    for panel in panels:
        assert panel.shape == (1, 128, 128, 3)
        (latent,) = host.call("VAEEncode", vae=vae, pixels=panel)
        (sampled,) = host.call(
            "KSampler",
            model=flux(),
            seed=1,
            steps=4,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            positive=conditioning(),
            negative=conditioning(),
            latent_image=latent,
            denoise=0.3,
        )
        (image,) = host.call("VAEDecode", vae=vae, samples=sampled)
        (kept,) = host.call("InContextMatchColours", image=image, reference=panel, colour_match="brightness and tint")
        assert torch.allclose(kept.mean((0, 1, 2)), panel.mean((0, 1, 2)), atol=0.02)
        matched.append(kept)
    canvas, mask, _ = host.call("InContextStitchPanels", layout=[layout], images=matched, fit="exact")
    assert canvas.shape == (1, 128, 384, 3)
    assert not bool(mask.any())
    assert all(torch.equal(*pair) for pair in zip(split(canvas, layout), matched, strict=True))


def test_before_and_after_are_shown_beside_what_comes_out(
    host: HostPack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import folder_paths

    canvas, painted, mask = torch.zeros(2, 48, 2048, 3), torch.ones(2, 48, 2048, 3), torch.ones(1, 48, 2048)
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    shown = host.output("InContextKeepGiven", canvas=canvas, painted=painted, mask=mask, pictures=canvas + 0.5)
    assert torch.equal(shown.result[0], painted)
    for side, level in (("before", 128), ("after", 255)):
        (file,) = shown.ui[f"incontext_{side}"]
        assert file["type"] == "temp"
        with Image.open(tmp_path / "temp" / file["filename"]) as picture:
            assert picture.size == (1024, 24)  # reduced: it is only looked at
            assert picture.getpixel((700, 12)) == pytest.approx((level,) * 3, abs=1)
    assert len(list((tmp_path / "temp").iterdir())) == 2


def test_a_temp_folder_that_cannot_be_written_costs_no_result(
    host: HostPack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import folder_paths

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "file" / "temp"))
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    shown = host.output("InContextKeepGiven", canvas=image, painted=image, mask=torch.ones(1, 16, 16))
    assert torch.equal(shown.result[0], image)
    assert shown.ui is None
    assert "Before and after cannot be shown" in caplog.text
