"""Reference Attention: painted panels look more or less at given ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.box import Box
from incontext_lora.tests.reference_models import (
    chroma,
    conditioning,
    flux,
    sample,
    sd3,
    stitched,
)
from torch import Tensor

if TYPE_CHECKING:
    from conftest import HostPack


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


def full_bias(painted: Tensor, text: int, strength: float, references: int = 0) -> Tensor:
    """What each attention of a sequence adds to its logits, as a matrix."""
    is_painted = torch.cat([torch.zeros(text), painted.flatten(), torch.zeros(references)]).bool()
    is_given = torch.cat([torch.zeros(text), ~painted.flatten(), torch.ones(references)]).bool()
    bias = torch.zeros(len(is_painted), len(is_painted))
    bias[is_painted[:, None] & is_given[None]] = torch.log(torch.tensor(strength))
    return bias


def attending(host: HostPack, model: Any, strength: float, mask: Tensor | None = None, **changes: Any) -> Any:
    mask = stitched(0)["mask"] if mask is None else mask
    (patched,) = host.call("InContextReferenceAttention", model=model, mask=mask, strength=strength, **changes)
    return patched


def with_matrix(model: Any, bias: Tensor) -> Any:
    """The model with the whole matrix as the mask of each attention."""
    patched = model.clone()

    def biased(attention: Any, *args: Any, **kwargs: Any) -> Tensor:
        return attention(*args, **{**kwargs, "mask": bias})

    patched.model_options["transformer_options"]["optimized_attention_override"] = biased
    return patched


def given_panels() -> Tensor:
    """Which tokens show the first panel."""
    given = torch.zeros(4, 12, dtype=torch.bool)
    given[:, :4] = True
    return given


@pytest.mark.parametrize("strength", [0.4, 2.0])
def test_painted_queries_look_at_given_keys_as_with_the_whole_matrix(host: HostPack, vae: Any, strength: float) -> None:
    model, panels = flux(), stitched(0)
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, **panels)
    result, _ = sample(host, (attending(host, outputs[0], strength), outputs[1]), conditioning())
    bias = full_bias(~given_panels(), 5, strength)
    expected, _ = sample(host, (with_matrix(outputs[0], bias), outputs[1]), conditioning())
    unbiased, _ = sample(host, outputs, conditioning())
    assert torch.allclose(result, expected, atol=1e-5)
    assert float((expected - unbiased).abs().max()) > 1e-3


def test_reference_latents_count_as_given(host: HostPack, vae: Any) -> None:
    model, panels = flux(), stitched(0)
    outputs = host.call(
        "InContextConditionPanels", model=model, vae=vae, model_kind="edit model", positive=conditioning(), **panels
    )
    result, _ = sample(host, (attending(host, outputs[0], 3.0), outputs[1]), outputs[2])
    bias = full_bias(~given_panels(), 5, 3.0, references=4 * 4)
    expected, _ = sample(host, (with_matrix(outputs[0], bias), outputs[1]), outputs[2])
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("make", [flux, sd3])
def test_a_kernel_that_ignores_masks_still_attends_to_references(host: HostPack, vae: Any, make: Any) -> None:
    """Sage attention looks at no bias; it may serve all other queries."""
    outputs = host.call("InContextConditionPanels", model=make(), vae=vae, **stitched(0))
    expected, _ = sample(host, (attending(host, outputs[0], 3.0), outputs[1]), conditioning())
    calls: list[int] = []

    def sage(attention: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(args[0].shape[2 if kwargs.get("skip_reshape") else 1])
        return attention(*args, **{**kwargs, "mask": None})

    fast = outputs[0].clone()
    fast.model_options["transformer_options"]["optimized_attention_override"] = sage
    result, _ = sample(host, (attending(host, fast, 3.0), outputs[1]), conditioning())
    assert torch.allclose(result, expected, atol=1e-5)
    assert 5 + 16 in calls  # text and given panel; the 32 painted tokens went through pytorch's attention
    assert 5 + 48 not in calls


@pytest.mark.parametrize("same_size", [True, False])
def test_an_area_of_the_picture_is_told_by_its_place(host: HostPack, vae: Any, same_size: bool) -> None:
    """Conditions that see a part of the canvas each: the same tokens are painted as in the whole."""
    model, panels = flux(), stitched(0)
    outputs = host.call("InContextConditionPanels", model=model, vae=vae, **panels)
    areas = [(8, 12, 0, 0), (8, 12, 0, 12) if same_size else (8, 16, 0, 8)]  # height, width, top, left in latent pixels
    caption = [
        [one[0], {**one[1], "area": area}] for seed, area in enumerate(areas, 1) for one in conditioning(seed=seed)
    ]
    calls: list[tuple[Box, Tensor | None]] = []
    patched = attending(host, outputs[0], 3.0)
    override = patched.model_options["transformer_options"]["optimized_attention_override"]
    find = override._groups

    def look(part: Any, tokens: int, device: Any) -> Any:
        groups = find(part, tokens, device)
        calls.append((part.area, None if groups is None else groups.painted - 5))
        return groups

    override._groups = look
    sample(host, (patched, outputs[1]), caption)
    seen = {(area.left, area.width): painted for area, painted in calls}
    assert set(seen) == {(area[3], area[1]) for area in areas}
    for (left, width), painted in seen.items():
        whole = ~given_panels()[:, left // 2 : (left + width) // 2]
        if bool(whole.all()):
            assert painted is None  # nothing given is seen there
        else:
            assert painted is not None
            assert torch.equal(painted, whole.flatten().nonzero()[:, 0])


def test_nothing_large_is_kept_and_the_card_is_asked_once_per_step(
    host: HostPack, vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = host.call("InContextConditionPanels", model=flux(), vae=vae, **stitched(0))
    patched = attending(host, outputs[0], 3.0)
    half = attending(host, outputs[0], 3.0, end_percent=0.5)
    asked: list[str] = []
    inside = [False]
    for name in ("__float__", "__bool__", "__int__", "item", "tolist", "nonzero"):
        original = getattr(Tensor, name)

        def ask(self: Tensor, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            if inside[0]:
                asked.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, ask)
    for model in (patched, half):
        override = model.model_options["transformer_options"]["optimized_attention_override"]
        sample(host, (model, outputs[1]), conditioning())  # the groups of these shapes are known from here on
        call = type(override).__call__

        def watched_call(self: Any, *args: Any, _call: Any = call, **kwargs: Any) -> Tensor:
            inside[0] = True
            try:
                return _call(self, *args, **kwargs)
            finally:
                inside[0] = False

        monkeypatch.setattr(type(override), "__call__", watched_call)
        sample(host, (model, outputs[1]), conditioning())
        monkeypatch.setattr(type(override), "__call__", call)
        assert asked == []
        numbers = sum(
            each.numel()
            for groups in override._kept.values()
            for each in (groups.painted, groups.others, groups.key_bias)
        )
        assert numbers == 2 * (5 + 48)


def test_masks_that_differ_are_refused_before_sampling(host: HostPack) -> None:
    masks = torch.cat([stitched(0)["mask"], stitched(1)["mask"]])
    with pytest.raises(PanelError, match="2 different masks"):
        attending(host, flux(), 1.3, masks)


def test_attention_can_be_limited_to_a_part_of_sampling(host: HostPack, vae: Any) -> None:
    model = flux()
    whole, first = attended(host, vae, model, 3.0), attended(host, vae, model, 3.0, end_percent=0.3)
    none = attended(host, vae, model, 3.0, start_percent=0.5, end_percent=0.5)
    assert not torch.equal(whole, first)
    assert not torch.equal(first, none)
    assert torch.equal(none, plain(host, vae, model))


def test_two_strengths_apply_each_in_its_part_of_sampling(host: HostPack, vae: Any) -> None:
    """Two nodes in a row: closely at first, loosely afterwards. Where both apply, the second one counts."""
    outputs = host.call("InContextConditionPanels", model=flux(), vae=vae, **stitched(0))

    def sampled(*nodes: dict[str, Any]) -> Tensor:
        model = outputs[0]
        for node in nodes:
            model = attending(host, model, **node)
        return sample(host, (model, outputs[1]), conditioning())[0]

    early, late = {"strength": 3.0, "end_percent": 0.3}, {"strength": 0.2, "start_percent": 0.4}
    both = sampled(early, late)
    assert not torch.equal(both, sampled(late))
    assert not torch.equal(both, sampled(early))
    torch.testing.assert_close(both, sampled(late, early))
    torch.testing.assert_close(sampled({"strength": 3.0}, late), both)


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
