"""Condition Panels on every kind of model: what reaches the transformer in ComfyUI's own sampler.

The models are of ComfyUI's own classes with random weights, small where the class allows it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe, References
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.stitch import stitch
from incontext_lora.tests.reference_models import (
    LAYOUT,
    TRUE_WIDTH,
    chroma,
    columns_of,
    conditioning,
    demo_vae,
    encoded,
    flux,
    qwen,
    sample,
    sd3,
    stitched,
    wan_vae,
)

if TYPE_CHECKING:
    from conftest import HostPack

NODE = "InContextConditionPanels"


@pytest.fixture(scope="module")
def vae(host: HostPack) -> Any:
    return demo_vae()


# --- plain transformers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [flux, chroma, sd3])
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_a_plain_transformer_sees_given_panels_clean_at_every_step(
    host: HostPack, vae: Any, make: Any, places: tuple[int, ...]
) -> None:
    model, panels = make(), stitched(*places)
    outputs = host.call(NODE, model=model, vae=vae, given_panels="keep clean", **panels)
    assert outputs[4].startswith("plain transformer")
    result, seen = sample(host, outputs, conditioning())
    expected = encoded(model, vae, panels["canvas"])
    assert len(seen) == 2
    for call in seen:
        assert call.x.shape == (1, 16, 8, 24)
        for place in range(3):
            inside, wanted = call.x[..., columns_of(place)], expected[..., columns_of(place)]
            assert torch.allclose(inside, wanted, atol=1e-5) == (place in places)
    for place in range(3):
        before, after = outputs[1]["samples"][..., columns_of(place)], result[..., columns_of(place)]
        assert torch.allclose(before, after, atol=1e-4) == (place in places)
    assert "scale_latent_inpaint" not in model.object_patches  # the model that came in is as it was


def test_a_plain_transformer_gets_renoised_panels_where_no_recipe_says_otherwise(host: HostPack, vae: Any) -> None:
    model, panels = flux(), stitched(0)
    outputs = host.call(NODE, model=model, vae=vae, **panels)
    assert "re-noised" in outputs[4]
    _, seen = sample(host, outputs, conditioning())
    expected = encoded(model, vae, panels["canvas"])[..., columns_of(0)]
    distances = [float((call.x[..., columns_of(0)] - expected).std()) for call in seen]
    assert distances[0] > distances[1] > 0.1


def test_the_recipe_decides(host: HostPack, vae: Any) -> None:
    recipe = Recipe(name="mine", layout=LAYOUT, references=References(clean=True, share=0.5))
    outputs = host.call(NODE, model=flux(), vae=vae, recipe=recipe, **stitched(1))
    assert "kept clean" in outputs[4]
    outputs = host.call(NODE, model=flux(), vae=vae, recipe=recipe, given_panels="re-noise", **stitched(1))
    assert "re-noised" in outputs[4]


def test_a_plain_transformer_keeps_its_noise_mask_and_says_so(host: HostPack, vae: Any) -> None:
    panels = stitched(0)
    outputs = host.call(NODE, model=flux(), vae=vae, noise_mask=False, **panels)
    assert torch.equal(outputs[1]["noise_mask"], panels["mask"][:, None])
    assert "does not fit a plain transformer" in outputs[4]


def test_a_partly_given_panel_is_painted_only_where_its_mask_says(host: HostPack, vae: Any) -> None:
    hole = torch.zeros(1, 64, 64)
    hole[:, 16:40, 24:48] = 1
    pictures = [torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3)]
    part = stitch(LAYOUT, pictures, masks=[None, hole])
    outputs = host.call(
        NODE, model=flux(), vae=vae, given_panels="keep clean", canvas=part.canvas, mask=part.mask, layout=part.layout
    )
    result, _ = sample(host, outputs, conditioning())
    changed = ((result - outputs[1]["samples"]).abs().amax(1) > 1e-3)[0]
    expected = torch.zeros(8, 24, dtype=torch.bool)
    expected[2:5, 8 + 3 : 8 + 6] = True
    expected[:, 16:] = True
    assert torch.equal(changed, expected)


def test_positive_and_negative_pass_through_a_plain_transformer(host: HostPack, vae: Any) -> None:
    positive, negative = conditioning(), conditioning(seed=2)
    outputs = host.call(NODE, model=flux(), vae=vae, positive=positive, negative=negative, **stitched(0))
    assert outputs[2] is positive
    assert outputs[3] is negative
    outputs = host.call(NODE, model=flux(), vae=vae, positive=positive, **stitched(0))
    assert outputs[2] is positive
    assert outputs[3] is positive  # as the tooltip of 'negative' says


def test_a_soft_mask_uses_differential_diffusion(host: HostPack, vae: Any) -> None:
    model = flux()
    outputs = host.call(NODE, model=model, vae=vae, soft_mask=True, **stitched(0))
    assert "denoise_mask_function" in outputs[0].model_options
    assert "denoise_mask_function" not in model.model_options
    result, _ = sample(host, outputs, conditioning())
    assert torch.allclose(result[..., columns_of(0)], outputs[1]["samples"][..., columns_of(0)], atol=1e-4)


# --- inpainting models ----------------------------------------------------------------------------------------------


def check_fill(host: HostPack, vae: Any, model: Any, caption: list, noise_mask: bool) -> None:
    panels = stitched(0, 2)
    outputs = host.call(NODE, model=model, vae=vae, positive=caption, noise_mask=noise_mask, **panels)
    assert outputs[4].startswith("inpainting model")
    assert ("noise_mask" in outputs[1]) == noise_mask
    result, seen = sample(host, outputs, outputs[2])
    picture = encoded(model, vae, panels["canvas"])  # its generated panel is neutral, as the Fill model expects
    call = seen[0].x.float()
    assert call.shape == (1, 16 + 16 + 64, 8, 24)
    assert torch.allclose(call[:, 16:32], picture, atol=0.02)
    mask = call[:, 32:]
    assert bool((mask[..., columns_of(1)] == 1).all())
    assert bool((mask[..., columns_of(0)] == 0).all())
    assert bool((mask[..., columns_of(2)] == 0).all())
    noisy = call[:, :16]
    assert float((noisy[..., columns_of(0)] - picture[..., columns_of(0)]).std()) > 0.3  # re-noised, as it was trained
    held = torch.allclose(result[..., columns_of(0)], outputs[1]["samples"][..., columns_of(0)], atol=1e-4)
    assert held == noise_mask


@pytest.mark.parametrize("noise_mask", [True, False])
def test_a_fill_model_sees_panels_and_mask_in_its_own_channels(host: HostPack, vae: Any, noise_mask: bool) -> None:
    check_fill(host, vae, flux(96), conditioning(), noise_mask)


def test_a_fill_model_of_true_width(host: HostPack, vae: Any) -> None:
    """One block of each kind of FLUX.1-Fill, 3072 wide."""
    model = flux(96, size=TRUE_WIDTH, dtype=torch.bfloat16)
    check_fill(host, vae, model, conditioning(4096, 768), noise_mask=True)


def test_the_mask_within_a_panel_reaches_a_fill_model_to_the_pixel(host: HostPack, vae: Any) -> None:
    hole = torch.zeros(1, 64, 64)
    hole[:, 13:40, 21:48] = 1
    part = stitch(LAYOUT, [torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3)], masks=[None, hole])
    positive = conditioning()
    outputs = host.call(NODE, model=flux(96), vae=vae, positive=positive, canvas=part.canvas, mask=part.mask)
    _, seen = sample(host, outputs, outputs[2])
    channels = seen[0].x[0, 32:]  # [8 · 8, 8, 24]: the pixels of each latent pixel
    pixels = channels.reshape(8, 8, 8, 24).permute(2, 0, 3, 1).reshape(64, 192)
    assert torch.equal(pixels, part.mask[0])


def test_keeping_clean_does_not_fit_an_inpainting_model(host: HostPack, vae: Any) -> None:
    outputs = host.call(
        NODE, model=flux(96), vae=vae, given_panels="keep clean", positive=conditioning(), **stitched(0)
    )
    assert "'keep clean' is not used" in outputs[4]
    assert "scale_latent_inpaint" not in outputs[0].object_patches


def test_an_inpainting_model_needs_the_caption(host: HostPack, vae: Any) -> None:
    with pytest.raises(PanelError, match="Connect the encoded caption to 'positive'"):
        host.call(NODE, model=flux(96), vae=vae, **stitched(0))


def test_models_that_cannot_be_told(host: HostPack, vae: Any) -> None:
    with pytest.raises(PanelError, match="16 input channels for a control picture"):
        host.call(NODE, model=flux(32), vae=vae, **stitched(0))
    with pytest.raises(PanelError, match="no inputs for a mask"):
        host.call(NODE, model=flux(), vae=vae, model_kind="inpainting model", **stitched(0))


# --- edit models ----------------------------------------------------------------------------------------------------


def tokens_in_block(model: Any, block: str, argument: str) -> tuple[list[int], Any]:
    counts: list[int] = []
    module = getattr(model.model.diffusion_model, block)[0]
    handle = module.register_forward_pre_hook(
        lambda _, positional, named: counts.append(named[argument].shape[1]), with_kwargs=True
    )
    return counts, handle


@pytest.mark.parametrize("places", [(0,), (0, 2)])
def test_kontext_gets_each_given_panel_as_a_reference_latent(host: HostPack, vae: Any, places: tuple[int, ...]) -> None:
    model, panels = flux(), stitched(*places)
    outputs = host.call(NODE, model=model, vae=vae, model_kind="edit model", positive=conditioning(), **panels)
    assert outputs[4].startswith("edit model")
    counts, handle = tokens_in_block(model, "double_blocks", "img")
    result, seen = sample(host, outputs, outputs[2])
    handle.remove()
    expected = encoded(model, vae, panels["canvas"])
    references = seen[0].arguments["ref_latents"]
    assert len(references) == len(places)
    for place, reference in zip(places, references, strict=True):
        assert reference.shape == (1, 16, 8, 8)
        alone = encoded(model, vae, panels["canvas"][:, :, 64 * place : 64 * place + 64])
        assert torch.allclose(reference, alone, atol=1e-5)
    assert counts == [4 * 12 + len(places) * 4 * 4] * 2
    assert seen[0].x.shape == expected.shape
    assert torch.allclose(result[..., columns_of(0)], outputs[1]["samples"][..., columns_of(0)], atol=1e-4)


def test_kontext_of_true_width(host: HostPack, vae: Any) -> None:
    """One block of each kind of FLUX.1-Kontext, 3072 wide, with one panel given and one partly given."""
    model = flux(size=TRUE_WIDTH, dtype=torch.bfloat16)
    hole = torch.zeros(1, 64, 64)
    hole[:, 16:40, 24:48] = 1
    part = stitch(LAYOUT, [torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3)], masks=[None, hole])
    panels = {"canvas": part.canvas, "mask": part.mask, "layout": part.layout}
    positive = conditioning(4096, 768)
    outputs = host.call(NODE, model=model, vae=vae, model_kind="edit model", positive=positive, **panels)
    counts, handle = tokens_in_block(model, "double_blocks", "img")
    result, seen = sample(host, outputs, outputs[2])
    handle.remove()
    assert seen[0].x.shape == (1, 16, 8, 24)
    assert [tuple(one.shape) for one in seen[0].arguments["ref_latents"]] == [(1, 16, 8, 8)] * 2
    assert counts == [4 * 12 + 2 * 4 * 4] * 2
    assert torch.allclose(result[..., columns_of(0)], outputs[1]["samples"][..., columns_of(0)], atol=1e-4)


def test_edit_models_are_recognised_by_recipe_and_by_caption(host: HostPack, vae: Any) -> None:
    panels = stitched(0)
    recipe = Recipe(name="mine", layout=LAYOUT, base="FLUX.1-Kontext-dev")
    outputs = host.call(NODE, model=flux(), vae=vae, recipe=recipe, positive=conditioning(), **panels)
    assert outputs[4].startswith("edit model: the recipe 'mine' is for FLUX.1-Kontext-dev")
    caption = conditioning(reference_latents=[torch.zeros(1, 16, 8, 8)])
    outputs = host.call(NODE, model=flux(), vae=vae, positive=caption, **panels)
    assert outputs[4].startswith("edit model: the caption already")
    assert len(outputs[2][0][1]["reference_latents"]) == 2
    with pytest.raises(PanelError, match="gets the given panels together with the caption"):
        host.call(NODE, model=flux(), vae=vae, recipe=recipe, **panels)


def test_without_a_layout_the_whole_canvas_is_the_reference(host: HostPack, vae: Any) -> None:
    panels = stitched(0)
    del panels["layout"]
    outputs = host.call(NODE, model=flux(), vae=vae, model_kind="edit model", positive=conditioning(), **panels)
    (reference,) = outputs[2][0][1]["reference_latents"]
    assert reference.shape == (1, 16, 8, 24)
    assert "connect the layout" in outputs[4]


def test_qwen_image_edit_gets_reference_latents(host: HostPack) -> None:
    model, panels, vae = qwen(), stitched(0, 1), wan_vae()
    outputs = host.call(NODE, model=model, vae=vae, model_kind="edit model", positive=conditioning(), **panels)
    assert outputs[1]["samples"].shape == (1, 16, 1, 8, 24)
    counts, handle = tokens_in_block(model, "transformer_blocks", "hidden_states")
    result, seen = sample(host, outputs, outputs[2])
    handle.remove()
    assert [tuple(one.shape) for one in seen[0].arguments["ref_latents"]] == [(1, 16, 1, 8, 8)] * 2
    assert counts == [4 * 12 + 2 * 4 * 4] * 2
    assert torch.allclose(result[..., columns_of(1)], outputs[1]["samples"][..., columns_of(1)], atol=1e-4)
    assert not torch.allclose(result[..., columns_of(2)], outputs[1]["samples"][..., columns_of(2)], atol=1e-2)


def test_a_batch_of_canvases_is_no_video(host: HostPack) -> None:
    panels, vae = stitched(0), wan_vae()
    other = 1 - panels["canvas"]
    both = {**panels, "canvas": torch.cat([panels["canvas"], other])}
    outputs = host.call(NODE, model=qwen(), vae=vae, model_kind="edit model", positive=conditioning(), **both)
    (reference,) = outputs[2][0][1]["reference_latents"]
    assert reference.shape == (2, 16, 1, 8, 8)
    assert outputs[1]["samples"].shape == (2, 16, 1, 8, 24)
    with torch.inference_mode():
        assert torch.allclose(outputs[1]["samples"][1:], vae.encode(other), atol=1e-5)


# --- readable refusals ----------------------------------------------------------------------------------------------


def test_panels_off_the_model_s_grid_are_reported(host: HostPack, vae: Any) -> None:
    layout = PanelLayout(192, 64, (Box(0, 0, 100, 64), Box(100, 0, 92, 64)))
    outputs = host.call(NODE, model=flux(), vae=vae, **stitched(0, layout=layout))
    assert "LEFT (100×64 at (0, 0)) does not begin and end on multiples of 16 px" in outputs[4]
    # whole latent pixels, but half a token of FLUX
    layout = PanelLayout(192, 64, (Box(0, 0, 104, 64), Box(104, 0, 88, 64)))
    assert "multiples of 16 px" in host.call(NODE, model=flux(), vae=vae, **stitched(0, layout=layout))[4]
    assert "multiples of" not in host.call(NODE, model=flux(), vae=vae, **stitched(0))[4]


@pytest.mark.parametrize(
    ("factor", "patch", "step"), [(8, 2, 16), (16, 1, 16), (32, [1, 1], 32), (8, (1, 2, 2), 16), (8, None, 8)]
)
def test_the_grid_is_the_autoencoder_s_times_the_patch(factor: int, patch: Any, step: int) -> None:
    """FLUX.1, FLUX.2, HunyuanImage, Wan and a UNet."""
    from incontext_lora.nodes.references.canvas import grid_step

    transformer = SimpleNamespace(patch_size=patch) if patch else SimpleNamespace()
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=transformer))
    assert grid_step(model, SimpleNamespace(spacial_compression_encode=lambda: factor)) == step


def test_models_of_comfyui_tell_their_grid(host: HostPack, vae: Any) -> None:
    from incontext_lora.nodes.references.canvas import grid_step

    assert [grid_step(make(), vae) for make in (flux, chroma, sd3)] == [16, 16, 16]
    assert grid_step(qwen(), wan_vae()) == 16


def test_canvas_mask_and_layout_must_be_of_one_stitching(host: HostPack, vae: Any) -> None:
    panels = stitched(0)
    with pytest.raises(PanelError, match="The mask is 64×64, the canvas 192×64"):
        host.call(NODE, model=flux(), vae=vae, **{**panels, "mask": torch.zeros(1, 64, 64)})
    with pytest.raises(PanelError, match="the layout 1024×1536"):
        host.call(NODE, model=flux(), vae=vae, **{**panels, "layout": tasks.recipe("film-storyboard").layout})


def test_nothing_to_paint_is_reported(host: HostPack, vae: Any) -> None:
    assert "nothing will be painted" in host.call(NODE, model=flux(), vae=vae, **stitched(0, 1, 2))[4]
