"""The model as the trainer sees it: captions, guidance, the shift, and models it cannot train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.in_host_training import CAPTIONS, Tiny, host_model, noisy, train, training
from incontext_lora.training.in_host.choices import Precision
from torch import Tensor


def test_a_batch_of_captions_is_predicted_as_each_alone(tiny: Tiny) -> None:
    model = host_model(tiny.model)
    x, sigmas = noisy(len(CAPTIONS))
    with training(), model.prepared(gradient_checkpointing=False, precision=Precision.FP32):
        conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS]
        together = model.predict(x, sigmas, conditions)
        for row, condition in enumerate(conditions):
            alone = model.predict(x[row : row + 1], sigmas[row : row + 1], [condition])[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)
        other = model.predict(x, sigmas, conditions[::-1])
    assert not torch.allclose(other[0], together[0], atol=1e-2)


def test_the_velocity_is_what_the_transformer_says(tiny: Tiny) -> None:
    model = host_model(tiny.model)
    x, sigmas = noisy(1)
    said: list[Tensor] = []
    hook = tiny.transformer.register_forward_hook(lambda _module, _inputs, output: said.append(output))
    with training(), model.prepared(gradient_checkpointing=False, precision=Precision.FP32):
        predicted = model.predict(x, sigmas, [model.encode_caption(tiny.clip, "one", 1.0, x[0])])
    hook.remove()
    torch.testing.assert_close(predicted, said[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_guidance_reaches_flux(flux: Tiny, guidance: float) -> None:
    model = host_model(flux.model)
    x, sigmas = noisy(2)
    seen: list[Tensor] = []
    hook = flux.transformer.register_forward_pre_hook(
        lambda _module, _inputs, named: seen.append(named["guidance"]), with_kwargs=True
    )
    with training(), model.prepared(gradient_checkpointing=False, precision=Precision.FP32):
        model.predict(x, sigmas, [model.encode_caption(flux.clip, "one", guidance, x[0])] * 2)
    hook.remove()
    assert [value.tolist() for value in seen] == [[guidance, guidance]]


def test_constants_that_differ_are_computed_apart(sd3: Tiny) -> None:
    import comfy.conds
    from incontext_lora.nodes.training.host_model import Condition

    model = host_model(sd3.model)
    x, sigmas = noisy(2)
    plain = model.encode_caption(sd3.clip, "one", 1.0, x[0])
    conditions = [
        Condition(plain.conditioning, {**plain.model_conds, "number": comfy.conds.CONDConstant(number)})
        for number in (1, 2)
    ]
    seen: list[tuple[int, int]] = []

    def apply(x: Tensor, t: Tensor, number: int, **_: Any) -> Tensor:
        seen.append((len(x), number))
        return x

    model.model = type("Model", (), {"apply_model": staticmethod(apply)})
    model.predict(x, sigmas, conditions)
    assert sorted(seen) == [(1, 1), (1, 2)]


def test_the_shift_is_that_of_sampling(tiny: Tiny) -> None:
    model = host_model(tiny.model)
    sampling = tiny.model.get_model_object("model_sampling")
    assert model.shift(1.0) == 1.0
    assert model.shift(0.0) == 0.0
    assert model.shift(0.5) == pytest.approx(float(sampling.percent_to_sigma(0.5)))
    assert model.shift(0.5) > 0.6  # both kinds sample at high noise for longer


def test_noise_is_as_strong_as_in_sampling(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HiDream-O1 begins with noise of 8; ComfyUI's sampler and its node Model Noise Scale know such models."""
    from incontext_lora.nodes.training.host_model import HostModel

    sampling = sd3.model.get_model_object("model_sampling")

    class Louder(type(sampling)):
        def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: bool = False) -> Any:
            return super().noise_scaling(sigma, 8 * noise, latent_image, max_denoise)

    louder = Louder()
    louder.set_parameters(shift=sampling.shift)
    model = sd3.model.clone()
    model.add_object_patch("model_sampling", louder)
    seen: list[tuple[Tensor, Tensor]] = []
    predict = HostModel.predict

    def watched(self: HostModel, noisy: Tensor, sigmas: Tensor, *rest: Any) -> Tensor:
        seen.append((noisy, sigmas))
        return predict(self, noisy, sigmas, *rest)

    monkeypatch.setattr(HostModel, "predict", watched)
    once = {"steps": 1, "reference_share": 0.0, "validation_sets": 1}
    train(host, sd3, vae, dataset, name="usual-noise", **once)
    usual, seen[:] = list(seen), []
    train(host, Tiny("sd3", model, sd3.clip), vae, dataset, name="more-noise", **once)
    assert len(seen) == len(usual) > 4  # held-out sets too
    for (quiet, sigmas), (loud, _) in zip(usual, seen, strict=True):
        added = (loud - quiet) / sigmas.reshape(-1, 1, 1, 1)
        assert float(added.std()) == pytest.approx(7.0, rel=0.1)


def test_a_caption_is_text_and_its_parentheses_are_no_emphasis(sd3: Tiny) -> None:
    model = host_model(sd3.model)
    texts: list[str] = []
    sd3.clip.tokenize, tokenize = (lambda text: texts.append(text) or tokenize(text)), sd3.clip.tokenize
    try:
        model.encode_caption(sd3.clip, "a (b) \\(c\\)", 1.0, noisy(1)[0][0])
    finally:
        sd3.clip.tokenize = tokenize
    assert texts == ["a \\(b\\) \\(c\\)"]


def test_a_model_that_predicts_noise_is_refused(sd3: Tiny) -> None:
    import comfy.model_sampling

    model = sd3.model.clone()
    model.add_object_patch("model_sampling", comfy.model_sampling.ModelSamplingDiscrete())
    with pytest.raises(TrainingError, match=r"SD3 is not a flow-matching model.*FLUX"):
        host_model(model)


def test_weights_that_comfyui_only_lends_are_loaded_to_stay(sd3: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamic models are for graphics cards; this one only says it is one, and records how it is cloned."""
    model = sd3.model.clone()
    kept, asked = sd3.model.clone(), []
    monkeypatch.setattr(model, "is_dynamic", lambda: True, raising=False)
    monkeypatch.setattr(model, "clone", lambda **how: asked.append(how) or kept)
    monkeypatch.setattr(model, "cached_patcher_init", (), raising=False)
    assert host_model(model).patcher is kept
    assert asked == [{"disable_dynamic": True}]
    monkeypatch.setattr(model, "cached_patcher_init", None)
    with pytest.raises(TrainingError, match=r"SD3 was loaded by a node that does not let ComfyUI load it again"):
        host_model(model)
