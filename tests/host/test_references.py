"""The nodes for references in the real ComfyUI: crops and pastes, one panel anew, panels found, attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext import layout as layouts
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.layout import Box, PanelLayout
from incontext_lora.incontext.stitch import split
from incontext_lora.tests.reference_models import (
    LAYOUT,
    chroma,
    conditioning,
    demo_vae,
    flux,
    sample,
    sd3,
    stitched,
)
from torch import Tensor

if TYPE_CHECKING:
    from conftest import HostPack


@pytest.fixture(scope="module")
def vae(host: HostPack) -> Any:
    return demo_vae()


def photo(width: int = 300, height: int = 220) -> tuple[Tensor, Tensor]:
    """A picture and a mask on it."""
    picture = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.zeros(1, height, width)
    mask[:, 60:120, 200:260] = 1
    return picture, mask


def test_from_photo_to_panel_and_back(host: HostPack, vae: Any) -> None:
    """Object replacement: crop, stitch beside a reference, condition, sample, paste; all at the photo's resolution."""
    picture, mask = photo()
    layout = layouts.columns(128, 64, 2)
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
    layout = layouts.columns(128, 64, 2)
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
    with pytest.raises(PanelError, match="There is no panel '4'"):
        host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels="4")
    with pytest.raises(PanelError, match="No panel is named"):
        host.call("InContextRepaintPanels", image=finished, layout=LAYOUT, panels=" ")


def test_found_panels_can_be_split_and_repainted(host: HostPack) -> None:
    drawn = PanelLayout(200, 96, (Box(0, 0, 80, 96), Box(88, 0, 112, 96)))
    picture = torch.ones(1, 96, 200, 3)
    picture[:, :, :80] = torch.tensor([0.8, 0.3, 0.2])
    picture[:, :, 88:] = torch.tensor([0.1, 0.3, 0.6])
    picture = (picture + 0.01 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = layouts.columns(128, 64, 2)
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
        "InContextFindPanels", image=picture, expected=layouts.columns(128, 64, 2), step=step
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


# --- attention ------------------------------------------------------------------------------------------------------


def attended(host: HostPack, vae: Any, model: Any, strength: float, *, canvas_seed: int = 0, **changes: Any) -> Tensor:
    """The latent after two steps with panel 1 given clean, its picture drawn from the seed."""
    panels = stitched(0)
    generator = torch.Generator().manual_seed(canvas_seed)
    panels["canvas"][:, :, :64] = torch.rand(1, 64, 64, 3, generator=generator)
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, given_panels="keep clean", **panels)
    (attending,) = host.call(
        "InContextReferenceAttention", model=outputs[0], mask=panels["mask"], strength=strength, **changes
    )
    return sample(host, (attending, outputs[1]), conditioning())[0]


def plain(host: HostPack, vae: Any, model: Any, canvas_seed: int = 0) -> Tensor:
    panels = stitched(0)
    generator = torch.Generator().manual_seed(canvas_seed)
    panels["canvas"][:, :, :64] = torch.rand(1, 64, 64, 3, generator=generator)
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, given_panels="keep clean", **panels)
    return sample(host, outputs, conditioning())[0]


@pytest.mark.parametrize("make", [flux, chroma, sd3])
def test_attention_is_neutral_at_one_to_the_bit(host: HostPack, vae: Any, make: Any) -> None:
    model = make()
    assert torch.equal(attended(host, vae, model, 1.0), plain(host, vae, model))
    assert not torch.equal(attended(host, vae, model, 1.5), plain(host, vae, model))


@pytest.mark.parametrize("make", [flux, chroma, sd3])
def test_at_zero_painted_panels_see_nothing_of_the_reference(host: HostPack, vae: Any, make: Any) -> None:
    """Next to nothing: what the caption's tokens saw of it is all that is left."""
    model = make()
    painted = slice(8, 24)
    with_one, with_other = (attended(host, vae, model, 0.0, canvas_seed=seed)[..., painted] for seed in (1, 2))
    shut = float((with_one - with_other).abs().mean())
    with_one, with_other = (plain(host, vae, model, canvas_seed=seed)[..., painted] for seed in (1, 2))
    open_ = float((with_one - with_other).abs().mean())
    assert shut < open_ / 4


def test_the_bias_reaches_exactly_painted_queries_and_given_keys(host: HostPack, vae: Any) -> None:
    import comfy.ldm.flux.math as flux_math

    biases: list[Tensor] = []
    original = flux_math.optimized_attention

    model, panels = flux(), stitched(0)
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, **panels)
    (attending,) = host.call("InContextReferenceAttention", model=outputs[0], mask=panels["mask"], strength=2.0)

    def look(attention: Any, *args: Any, **kwargs: Any) -> Tensor:
        biases.append(kwargs["mask"])
        return attention(*args, **kwargs)

    override = attending.model_options["transformer_options"]["optimized_attention_override"]
    override._inner = look
    sample(host, (attending, outputs[1]), conditioning())
    assert flux_math.optimized_attention is original
    expected = torch.zeros(5 + 4 * 12, 5 + 4 * 12)
    given = torch.zeros(4, 12, dtype=torch.bool)
    given[:, :4] = True
    rows = torch.nonzero(~given.flatten())[:, 0] + 5
    keys = torch.nonzero(given.flatten())[:, 0] + 5
    expected[rows[:, None], keys[None]] = torch.log(torch.tensor(2.0))
    assert len(biases) == 4  # two blocks, two steps
    assert all(torch.allclose(bias, expected) for bias in biases)


def test_reference_latents_count_as_given(host: HostPack, vae: Any) -> None:
    model, panels = flux(), stitched(0)
    outputs = host.call(
        "InContextConditionPanels", model=model, vae=vae, model_kind="edit model", positive=conditioning(), **panels
    )
    (attending,) = host.call("InContextReferenceAttention", model=outputs[0], mask=panels["mask"], strength=3.0)
    sample(host, (attending, outputs[1]), outputs[2])
    override = attending.model_options["transformer_options"]["optimized_attention_override"]
    ((key, bias),) = override._biases.items()
    assert key[1] == 5 + 4 * 12 + 4 * 4
    assert bool((bias[-17 - 1, -16:] > 1).all())


def test_attention_can_be_limited_to_a_part_of_sampling(host: HostPack, vae: Any) -> None:
    model = flux()
    whole, first = attended(host, vae, model, 3.0), attended(host, vae, model, 3.0, end_percent=0.3)
    none = attended(host, vae, model, 3.0, start_percent=0.5, end_percent=0.5)
    assert not torch.equal(whole, first)
    assert not torch.equal(first, none)
    assert torch.equal(none, plain(host, vae, model))


def test_other_models_are_refused(host: HostPack) -> None:
    from incontext_lora.tests.reference_models import qwen

    with pytest.raises(PanelError, match="QwenImage is not supported"):
        host.call("InContextReferenceAttention", model=qwen(), mask=torch.ones(1, 64, 192), strength=1.3)


def test_redux_reaches_a_fill_model_with_all_of_the_picture(host: HostPack, vae: Any) -> None:
    """ComfyUI's own Redux nodes in front, by attention bias, together with the strength of reference attention."""
    import comfy.clip_vision
    import comfy.ldm.flux.redux
    import comfy.sd

    model, panels = flux(96), stitched(0)
    style = comfy.sd.StyleModel(comfy.ldm.flux.redux.ReduxImageEncoder(redux_dim=6, txt_in_features=12))
    with torch.no_grad():
        for parameter in style.model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    vision = comfy.clip_vision.Output()
    vision.last_hidden_state = torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(2))
    (caption,) = host.call(
        "StyleModelApply",
        conditioning=conditioning(),
        style_model=style,
        clip_vision_output=vision,
        strength=0.2,
        strength_type="attn_bias",
    )
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, positive=caption, noise_mask=False, **panels)
    (attending,) = host.call("InContextReferenceAttention", model=outputs[0], mask=panels["mask"], strength=2.0)
    result, seen = sample(host, (attending, outputs[1]), outputs[2])
    assert seen[0].x.shape == (1, 96, 8, 24)
    assert seen[0].arguments["context"].shape == (1, 5 + 9, 12)
    assert seen[0].arguments["attention_mask"].shape[-1] == 5 + 9 + 4 * 12
    assert torch.isfinite(result).all()
    without, _ = sample(host, outputs, outputs[2])
    assert not torch.equal(result, without)
