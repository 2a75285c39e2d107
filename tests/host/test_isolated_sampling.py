"""Isolated references in ComfyUI's own sampler, on small models of its own classes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import PanelError
from incontext_lora.tests import tiny_models
from incontext_lora.tests.small_card import small_card
from torch import Tensor

HEIGHT, WIDTH = 8, 24
KINDS = ("flux", "sd3", "chroma", "flux2", "qwen-image", "mage-flow", "longcat", "lumina2", "z-image")


class Tiny:
    """A small MODEL, and a canvas of three panels of 64 pixels of which the middle one is given."""

    def __init__(self, kind: str, batch: int = 1) -> None:
        family = tiny_models.FAMILIES.get(kind)
        self.model = family.load() if family else getattr(tiny_models, kind)()
        self.words = tiny_models.Words.of(kind)
        self.latent = torch.randn(
            batch, *(family.latent if family else (16,)), HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)
        )
        self.mask = torch.ones(batch, HEIGHT * 8, WIDTH * 8)
        self.mask[..., 64:128] = 0
        self.isolated = isolated(self.model)

    def caption(self, text: str = "a shape", **more: Any) -> list:
        ((vectors, extra),) = self.words.encode_from_tokens_scheduled(text.split(), {"guidance": 3.5})
        return [[vectors, {**extra, **more}]]

    def sample(
        self,
        model: Any = None,
        latent: Tensor | None = None,
        mask: Tensor | None = None,
        steps: int = 3,
        cfg: float = 3.0,
        positive: list | None = None,
    ) -> Tensor:
        import comfy.sample

        latent = self.latent if latent is None else latent
        return comfy.sample.sample(
            self.isolated if model is None else model,
            comfy.sample.prepare_noise(latent, 5),
            steps,
            cfg,
            "euler",
            "simple",
            self.caption() if positive is None else positive,
            self.caption("no words"),
            latent,
            noise_mask=self.mask if mask is None else mask,
            seed=5,
            disable_pbar=True,
        )


def isolated(model: Any) -> Any:
    from incontext_lora.nodes.references.clean import keep_references_clean
    from incontext_lora.nodes.references.isolated_sampling import isolate_references

    return keep_references_clean(isolate_references(model))


@pytest.fixture(params=KINDS)
def tiny(host: Any, request: pytest.FixtureRequest) -> Tiny:
    tiny_models.skip_if_unknown(request.param)
    return Tiny(request.param)


@pytest.fixture
def sd3(host: Any) -> Tiny:
    return Tiny("sd3")


@contextmanager
def computed_at_every_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from incontext_lora.nodes.references.isolated_sampling import Session

    kept = Session.recorded

    def again(self: Any, *args: Any) -> Any:
        self._kept.clear()
        return kept(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "recorded", again)
        yield


def test_computed_once_is_computed_at_every_step(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    hook = tiny.model.model.diffusion_model.register_forward_hook(lambda *_: calls.append(1))
    once = tiny.sample()
    count = len(calls)
    with computed_at_every_step(monkeypatch):
        always = tiny.sample()
    hook.remove()
    assert torch.equal(once, always)
    assert count == 3 + 1  # three steps, both captions in one batch, and the references once
    given = tiny.mask[0, ::8, ::8] == 0
    assert torch.allclose(once[..., given], tiny.latent[..., given], atol=1e-6)
    assert not torch.allclose(once, tiny.sample(model=tiny.model), atol=1e-2)


def test_captions_and_pictures_of_a_batch_have_references_of_their_own(host: Any) -> None:
    both = Tiny("flux", batch=2)
    both.mask[1] = 1
    both.mask[1, :, :64] = 0
    together = both.sample()
    noise = torch.randn(1, generator=torch.Generator().manual_seed(0))  # noise of the second picture differs when alone
    assert noise.isfinite()
    first = both.sample(latent=both.latent[:1], mask=both.mask[:1])
    torch.testing.assert_close(together[:1], first, rtol=1e-3, atol=1e-3)


def test_nothing_of_another_picture_model_or_strength_is_left(sd3: Tiny) -> None:
    other = torch.randn(sd3.latent.shape, generator=torch.Generator().manual_seed(9))
    fresh = Tiny("sd3").sample(latent=other)
    sd3.sample()
    assert torch.equal(sd3.sample(latent=other), fresh)

    key = "diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"
    weight = sd3.model.model.state_dict()[key]
    changed = sd3.model.clone()
    changed.add_patches(
        {key: ("diff", (0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)),))}, 1.0
    )
    with_lora = isolated(changed).clone()
    first = sd3.sample(model=with_lora)
    again = sd3.sample()
    assert not torch.allclose(first, again, atol=1e-3)
    assert torch.equal(again, Tiny("sd3").sample())


def test_what_was_kept_is_freed_when_sampling_ends_and_when_it_fails(
    sd3: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes.references import isolated_sampling

    made: list[Any] = []
    kept = isolated_sampling.KeyValueCache

    def watched(device: torch.device) -> Any:
        one = kept(device)
        made.append(weakref.ref(one))
        return one

    monkeypatch.setattr(isolated_sampling, "KeyValueCache", watched)
    sd3.sample()

    class Cancelled(Exception):
        pass

    def cancel(*_: Any) -> None:
        if len(made) == 2:
            raise Cancelled

    hook = sd3.model.model.diffusion_model.final_layer.register_forward_hook(cancel)
    with pytest.raises(Cancelled):
        sd3.sample()
    hook.remove()
    gc.collect()
    assert [one() for one in made] == [None, None]
    modules = sd3.model.model.diffusion_model.modules()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    assert "cropped_pos_embed" not in vars(sd3.model.model.diffusion_model)
    assert "incontext_isolation" not in sd3.isolated.model_options["transformer_options"]
    assert torch.equal(sd3.sample(), Tiny("sd3").sample())


def test_room_is_made_for_what_is_kept(sd3: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as management

    asked: list[float] = []
    load = management.load_models_gpu

    def recorded(models: Any, memory_required: float = 0, **how: Any) -> None:
        asked.append(memory_required)
        load(models, memory_required=memory_required, **how)

    monkeypatch.setattr(management, "load_models_gpu", recorded)
    sd3.sample()
    sd3.sample(model=sd3.model)
    tokens, captions, blocks, width = 4 * 4, 2, 1, 64
    assert asked[0] - asked[1] == 2 * tokens * captions * blocks * width * 4
    assert "memory_required" not in vars(sd3.model.model)


@pytest.mark.parametrize("kind", ["flux", "sd3", "chroma"])
def test_reference_attention_works_on_isolated_references(host: Any, kind: str) -> None:
    from incontext_lora.nodes.references.attention import attend_to_references

    tiny = Tiny(kind)
    results = {
        strength: tiny.sample(isolated(attend_to_references(tiny.model, tiny.mask, strength)))
        for strength in (0.0, 1.0, 1.0001, 3.0)
    }
    order = tiny.sample(attend_to_references(tiny.isolated, tiny.mask, 3.0))
    torch.testing.assert_close(order, results[3.0])
    torch.testing.assert_close(results[1.0001], results[1.0], rtol=1e-2, atol=1e-2)
    assert not torch.allclose(results[3.0], results[1.0], atol=1e-2)
    # hidden references change nothing for painted panels; those of text still see them
    assert torch.isfinite(results[0.0]).all()
    assert not torch.allclose(results[0.0], results[1.0], atol=1e-2)


def test_a_mask_that_is_grey_in_part_gives_only_what_is_black(sd3: Tiny) -> None:
    sd3.mask[..., 64:96] = 0.5
    result = sd3.sample()
    black = sd3.mask[0, ::8, ::8] == 0
    assert torch.isfinite(result).all()
    assert torch.allclose(result[..., black], sd3.latent[..., black], atol=1e-6)


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_all_or_nothing_given_is_plain_sampling(sd3: Tiny, mask: float) -> None:
    whole = torch.full_like(sd3.mask, mask)
    from incontext_lora.nodes.references.clean import keep_references_clean

    plain = keep_references_clean(sd3.model)
    assert torch.equal(sd3.sample(mask=whole), sd3.sample(model=plain, mask=whole))


def test_a_controlnet_changes_painted_tokens_alone(host: Any) -> None:
    import comfy.controlnet

    tiny = Tiny("flux")

    class Residuals(comfy.controlnet.ControlBase):
        def __init__(self, tokens: int) -> None:
            super().__init__()
            self.tokens = tokens

        def get_control(self, x: Tensor, t: Tensor, cond: Any, batched: int, options: Any) -> dict[str, list[Tensor]]:
            residual = 5 * torch.randn(1, self.tokens, 64, generator=torch.Generator().manual_seed(0))
            return {"input": [residual.repeat(len(x), 1, 1)], "output": []}

        def copy(self) -> Any:
            return self

    def sample(tokens: int) -> Tensor:
        return tiny.sample(positive=tiny.caption(control=Residuals(tokens), control_apply_to_uncond=True))

    result = sample(4 * 12)
    assert torch.isfinite(result).all()
    assert not torch.allclose(result, tiny.sample(), atol=1e-2)
    with pytest.raises(PanelError, match=r"not the picture's 48 tokens.*'keep clean'"):
        sample(7)


def test_a_node_that_skips_a_block_for_one_caption_is_followed(host: Any) -> None:
    """As Skip Layer Guidance does; what was recorded for all blocks would be taken for the wrong ones."""
    tiny = Tiny("chroma")
    model = tiny.isolated.clone()
    model.set_model_patch_replace(lambda args, _: {"img": args["img"], "txt": args["txt"]}, "dit", "double_block", 0)
    seen = tiny.sample(model=model)
    assert torch.isfinite(seen).all()
    assert not torch.allclose(seen, tiny.sample(), atol=1e-3)


def test_what_does_not_fit_is_refused_with_a_sentence(sd3: Tiny) -> None:
    import comfy.hooks

    half = sd3.caption(area=(4, 12, 0, 0), strength=1.0)
    with pytest.raises(PanelError, match=r"an area of 12×4 latent pixels of a picture that has 24×8"):
        sd3.sample(positive=half)
    patched = sd3.isolated.clone()
    patched.set_model_patch(lambda args: args, "double_block")
    with pytest.raises(PanelError, match=r"Another node patches the model \(double_block\)"):
        sd3.sample(model=patched)
    hooks = comfy.hooks.create_hook_lora({}, 1.0, 0.0)
    with pytest.raises(PanelError, match=r"The caption comes with hooks"):
        sd3.sample(positive=sd3.caption(hooks=hooks))
    uneven = Tiny("sd3", batch=2)
    uneven.mask[1, :, :64] = 0
    with pytest.raises(PanelError, match=r"different numbers of given tokens: \[16, 32\]"):
        uneven.sample()


def test_two_samplers_in_a_row_at_other_sizes(sd3: Tiny) -> None:
    wide = torch.randn(1, 16, 8, 32, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(1, 64, 256)
    mask[..., 128:] = 0
    first = sd3.sample()
    other = sd3.sample(latent=wide, mask=mask)
    assert torch.equal(other, Tiny("sd3").sample(latent=wide, mask=mask))
    assert torch.equal(sd3.sample(), first)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_that_shares_its_mask(tiny: Tiny, rows: int) -> None:
    """Two pictures and two captions in one call of the model; the mask is one for both, or one for each."""
    latent = tiny.latent.repeat(2, *[1] * (tiny.latent.ndim - 1))
    result = tiny.sample(latent=latent, mask=tiny.mask.repeat(rows, 1, 1))
    torch.testing.assert_close(result[:1], tiny.sample(), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(result[0], result[1], atol=1e-2)


@pytest.mark.parametrize("isolate", [False, True])
def test_given_panels_stay_clean_between_two_samplers(tiny: Tiny, isolate: bool) -> None:
    """As KSampler (Advanced) is used twice: the second begins where the first stopped, with the noise that was left."""
    import comfy.sample
    from incontext_lora.nodes.references.clean import keep_references_clean

    model = tiny.isolated if isolate else keep_references_clean(tiny.model)

    def sample(latent: Tensor, start: int, stop: int) -> Tensor:
        noise = comfy.sample.prepare_noise(latent, 5) if start == 0 else torch.zeros_like(latent)
        return comfy.sample.sample(
            model, noise, 4, 3.0, "euler", "simple", tiny.caption(), tiny.caption("no words"), latent,
            disable_noise=start > 0, start_step=start, last_step=stop, force_full_denoise=stop == 4, noise_mask=tiny.mask,
            seed=5, disable_pbar=True,
        )  # fmt: skip

    whole = sample(tiny.latent, 0, 4)
    halfway = sample(tiny.latent, 0, 2)
    given = tiny.mask[0, ::8, ::8] == 0
    torch.testing.assert_close(halfway[..., given], tiny.latent[..., given], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sample(halfway, 2, 4), whole, rtol=1e-3, atol=1e-3)


def test_a_partly_loaded_model_with_a_lora_samples_as_a_whole_one(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management

    model = tiny_models.with_lora(tiny.model)
    whole = tiny.sample(model=isolated(model))
    assert not torch.allclose(whole, tiny.sample(), atol=1e-3)
    comfy.model_management.unload_all_models()
    size = model.model_size()
    small_card(monkeypatch, 1.6 * size)
    monkeypatch.setattr(model.model, "memory_required", lambda *_, **__: int(size))
    partly = tiny.sample(model=isolated(model))
    assert 0 < model.loaded_size() < size
    torch.testing.assert_close(partly, whole, rtol=1e-4, atol=1e-4)
    comfy.model_management.unload_all_models()


@pytest.mark.parametrize("guided", [False, True])
def test_custom_sampling_with_split_sigmas(host: Any, guided: bool) -> None:
    """One caption without guidance is all that Basic Guider asks for; the split is that of `KSampler (Advanced)`."""
    tiny = Tiny("flux")
    latent = {"samples": tiny.latent, "noise_mask": tiny.mask}
    (positive,) = host.call("FluxGuidance", conditioning=tiny.caption(), guidance=2.0)
    if guided:
        negative = tiny.caption("no words")
        (guider,) = host.call("CFGGuider", model=tiny.isolated, positive=positive, negative=negative, cfg=3.0)
    else:
        (guider,) = host.call("BasicGuider", model=tiny.isolated, conditioning=positive)
    (sampler,) = host.call("KSamplerSelect", sampler_name="euler")
    (sigmas,) = host.call("BasicScheduler", model=tiny.isolated, scheduler="simple", steps=4, denoise=1.0)

    def sample(noise: Any, sigmas: Tensor, latent: Any) -> Any:
        return host.call(
            "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
        )[0]

    (noise,) = host.call("RandomNoise", noise_seed=5)
    (no_noise,) = host.call("DisableNoise")
    high, low = host.call("SplitSigmas", sigmas=sigmas, step=2)
    halves = sample(no_noise, low, sample(noise, high, latent))
    torch.testing.assert_close(halves["samples"], sample(noise, sigmas, latent)["samples"], rtol=1e-3, atol=1e-3)
