"""Models in the memory of a graphics card, as far as a processor shows it: moved, partly loaded, with room for a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests import tiny_models
from incontext_lora.tests.in_host_training import Tiny, lora_gradients, train, training
from incontext_lora.tests.small_card import small_card


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_model_that_was_moved_to_a_card_is_trained(host: Any, vae: Any, dataset: Dataset, kind: str) -> None:
    """Moving assigns ``param.data``: the weight no longer says that it is of inference mode, and still counts no versions."""
    tiny = Tiny(kind, getattr(tiny_models, kind)(), tiny_models.Words.of(kind))
    with training():
        for parameter in tiny.model.model.parameters():
            parameter.data = parameter.data.clone()
    places = {name: parameter.data_ptr() for name, parameter in tiny.model.model.named_parameters()}
    assert not any(parameter.is_inference() for parameter in tiny.model.model.parameters())
    lora, *_ = train(host, tiny, vae, dataset, name=f"moved-{kind}")
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    # the memory stays the same: ComfyUI may have pinned it
    assert {name: parameter.data_ptr() for name, parameter in tiny.model.model.named_parameters()} == places


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("kind", ["flux", "sd3", "chroma", "qwen-image", "z-image"])
def test_a_partly_loaded_model_has_the_gradients_of_a_whole_one(
    host: Any, kind: str, isolate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a LoRA on it, which ComfyUI adds to what it loads, and to the rest when it is computed with."""
    import comfy.model_management

    family = tiny_models.FAMILIES.get(kind)

    def make() -> Tiny:
        model = family.load() if family else getattr(tiny_models, kind)()
        return Tiny(kind, tiny_models.with_lora(model), tiny_models.Words.of(kind))

    latent = family.latent if family else (16,)
    x = torch.randn(1, *latent, 8, 24, generator=torch.Generator().manual_seed(3))
    isolated = None
    if isolate:
        isolated = torch.zeros(1, 1, *[1] * (len(latent) - 1), 8, 24, dtype=torch.bool)
        isolated[..., 8:16] = True
    whole = lora_gradients(make(), x, isolated)
    tiny = make()
    before = tiny.weights()
    size = tiny.model.model_size()
    small_card(monkeypatch, 1.6 * size)
    partly = lora_gradients(tiny, x, isolated, memory=int(size))
    assert 0 < tiny.model.loaded_size() < size
    assert any(getattr(module, "comfy_cast_weights", False) for module in tiny.transformer.modules())
    for name, value in whole.items():
        if value is None:
            assert partly[name] is None
        else:
            torch.testing.assert_close(partly[name], value, rtol=1e-3, atol=1e-5)
    comfy.model_management.unload_all_models()
    assert all(torch.equal(value, before[name]) for name, value in tiny.weights().items())


def test_room_is_made_for_a_step_and_kept_after_samples(
    host: Any, flux: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes.training.host_model import HostModel

    asked = small_card(monkeypatch, 1e12)
    measured: list[int] = []
    estimate = HostModel.step_memory
    monkeypatch.setattr(HostModel, "step_memory", lambda *inputs: measured.append(estimate(*inputs)) or measured[-1])
    *_, run, _, _ = train(host, flux, vae, dataset, name="room", sample_every=2)
    assert "a step needs about 0.0 GB beside the model's weights" in (run.folder / "log.txt").read_text()
    assert asked.count(measured[0]) == 3  # at the start, and after each of the two samples


def test_pictures_are_encoded_before_captions_and_encoders_leave(
    host: Any, sd3: Tiny, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small card, text encoder and autoencoder would otherwise push each other out for every set."""
    import comfy.model_management as management

    order: list[str] = []
    vae = tiny_models.vae()

    class Clip(tiny_models.Words):
        def encode_from_tokens_scheduled(self, tokens: list[str], add_dict: dict[str, Any]) -> list:
            order.append("caption")
            return super().encode_from_tokens_scheduled(tokens, add_dict)

    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda pixels: order.append("picture") or encode(pixels))
    there: list[list[str]] = []
    hook = sd3.transformer.register_forward_hook(
        lambda *_: there.append([type(loaded.model.model).__name__ for loaded in management.current_loaded_models])
    )
    train(host, Tiny("sd3", sd3.model, Clip(4096, 2048)), vae, dataset, name="order")
    hook.remove()
    assert order[:4] == ["picture"] * 4
    assert set(order[4:]) == {"caption"}
    assert {tuple(names) for names in there} == {("SD3",)}


@pytest.mark.parametrize("before", ["fits", "does not fit"])
def test_a_partly_loaded_model_is_trained_in_another_precision_and_works_afterwards(
    host: Any, vae: Any, dataset: Dataset, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI changes what it casts whenever it moves a layer to the card or off it."""
    import comfy.model_management

    tiny = Tiny("flux", tiny_models.flux(dtype=torch.float16), tiny_models.Words.of("flux"))
    size = tiny.model.model_size()
    if before == "does not fit":  # it was sampled while a text encoder was on the card
        small_card(monkeypatch, 0.6 * size)
        comfy.model_management.load_models_gpu([tiny.model])
        assert 0 < tiny.model.loaded_size() < size
        small_card(monkeypatch, 1e12)
    else:
        small_card(monkeypatch, 0.6 * size)
    lora, *_ = train(host, tiny, vae, dataset, name="partly", precision="bf16", sample_every=2)
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    small_card(monkeypatch, 0.6 * size)
    comfy.model_management.load_models_gpu([tiny.model])
    assert tiny.model.model.manual_cast_dtype is None  # as it was
    away = {name for name, module in tiny.transformer.named_modules() if hasattr(module, "prev_comfy_cast_weights")}
    assert away  # these are in main memory, and only casting brings them to the card
    assert not [name for name in away if not tiny.transformer.get_submodule(name).comfy_cast_weights]
