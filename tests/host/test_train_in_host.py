"""The trainer on real models of ComfyUI, small and random, loaded in inference mode as its executor does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import read_recipe, write_recipe
from incontext_lora.tests import tiny_models
from incontext_lora.tests.comfy_versions import chroma_sizes, flux_sizes, progress_hook
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets
from incontext_lora.tests.small_card import small_card
from incontext_lora.training.in_host.adapters import Adapters, continued_adapters, linear_modules, target_modules
from incontext_lora.training.in_host.settings import Precision, Targets
from incontext_lora.training.runs import monitor
from incontext_lora.training.runs.run_folder import Run
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

TRAIN = "InContextTrainLoraInHost"
CAPTIONS = ("one", "a longer caption of six words", "two", "")
FEW = {
    "steps": 3,
    "batch_size": 2,
    "rank": 2,
    "alpha": 4.0,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "precision": "fp32",
}


@dataclass
class Tiny:
    kind: str
    model: Any
    clip: tiny_models.Words

    @property
    def transformer(self) -> nn.Module:
        return self.model.model.diffusion_model

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.model.state_dict().items()}


@pytest.fixture(scope="module", params=["sd3", "flux"])
def tiny(host: Any, request: pytest.FixtureRequest) -> Tiny:
    return Tiny(request.param, getattr(tiny_models, request.param)(), tiny_models.Words.of(request.param))


@pytest.fixture(scope="module")
def sd3(host: Any) -> Tiny:
    return Tiny("sd3", tiny_models.sd3(), tiny_models.Words.of("sd3"))


@pytest.fixture(scope="module")
def flux(host: Any) -> Tiny:
    return Tiny("flux", tiny_models.flux(), tiny_models.Words.of("flux"))


@pytest.fixture(scope="module")
def vae(host: Any) -> Any:
    return tiny_models.vae()


@pytest.fixture(scope="module")
def dataset(host: Any) -> Dataset:
    folder_sets(Path(host.base) / "input" / "train-sets", 4)
    return host.call("InContextBuildDataset", folder="train-sets", recipe=RECIPE)[0]


def host_model(model: Any) -> Any:
    from incontext_lora.nodes.training.host_model import HostModel

    return HostModel(model)


@contextmanager
def training() -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        yield


def noisy(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 16, 24, 16, generator=generator), torch.linspace(0.2, 0.9, count)


def train(host: Any, tiny: Tiny, vae: Any, dataset: Dataset, **values: Any) -> tuple[Any, ...]:
    return host.call(TRAIN, model=tiny.model, clip=tiny.clip, vae=vae, dataset=dataset, **{**FEW, **values})[:6]


# --- the model as the trainer sees it -------------------------------------------------------------------------------


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


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_slope_of_the_loss(tiny: Tiny, checkpointing: bool) -> None:
    assert without_slope(tiny, noisy(2)[0], checkpointing) == set()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", tiny_models.FAMILIES)
def test_other_families_have_their_gradients_too(host: Any, kind: str, checkpointing: bool) -> None:
    tiny_models.skip_if_unknown(kind)
    family = tiny_models.FAMILIES[kind]
    tiny = Tiny(kind, family.load(), tiny_models.Words.of(kind))
    x = torch.randn(2, *family.latent, 8, 24, generator=torch.Generator().manual_seed(3))
    assert without_slope(tiny, x, checkpointing) == family.unused


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


def test_comfyui_computes_as_before_once_a_training_is_over(host: Any) -> None:
    import comfy.model_management
    from incontext_lora.nodes.training.gradients import KERNELS, differentiable

    places = [comfy.model_management, *([sys.modules[KERNELS]] if KERNELS in sys.modules else [])]
    before = [dict(vars(place)) for place in places]
    with differentiable():
        assert comfy.model_management.in_training is True
    assert [dict(vars(place)) for place in places] == before


# --- what graphics cards compute with, as far as a processor shows it -------------------------------------------------


@pytest.fixture
def without_gradients(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI as with --use-sage-attention: its attention, in every model, is a kernel that has a forward pass only."""
    import comfy.ldm.modules.attention as attention

    fast = attention.optimized_attention

    @attention.wrap_attn
    def forward_only(q: Tensor, k: Tensor, v: Tensor, *args: Any, **named: Any) -> Tensor:
        return fast(q.detach(), k.detach(), v.detach(), *args, **named)

    for module in list(sys.modules.values()):
        if module.__name__.startswith("comfy.ldm") and vars(module).get("optimized_attention") is fast:
            monkeypatch.setattr(module, "optimized_attention", forward_only)


@pytest.mark.usefixtures("without_gradients")
@pytest.mark.parametrize("kind", ["flux", "sd3", *tiny_models.FAMILIES])
def test_attention_kernels_without_gradients_are_replaced(host: Any, kind: str) -> None:
    import comfy.supported_models

    if kind in tiny_models.FAMILIES and not hasattr(comfy.supported_models, tiny_models.FAMILIES[kind].model):
        pytest.skip(f"This ComfyUI does not know {kind}.")
    family = tiny_models.FAMILIES.get(kind)
    tiny = Tiny(kind, family.load() if family else getattr(tiny_models, kind)(), tiny_models.Words.of(kind))
    x = torch.randn(1, *(family.latent if family else (16,)), 8, 24, generator=torch.Generator().manual_seed(3))
    gradients = lora_gradients(tiny, x)
    without = {name for name, value in gradients.items() if value is None or not value.any()}
    assert without == (family.unused if family else frozenset())


@pytest.mark.usefixtures("without_gradients")
def test_a_model_that_cannot_be_given_another_attention_is_refused(
    host: Any, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes.training import host_model as module

    monkeypatch.setattr(module, "OPTIONS", {})  # as a model that does not hand them on to its attention
    tiny = Tiny("chroma", tiny_models.FAMILIES["chroma"].load(), tiny_models.Words.of("chroma"))
    with pytest.raises(TrainingError, match=r"get no gradient.*double_blocks\.0.*--use-pytorch-cross-attention"):
        train(host, tiny, vae, dataset, name="no-gradient", references="none")


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


class EightBit(nn.Module):
    """As 8-bit scaled layers: no `nn.Linear`, and computed by casting, which has gradients."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class FourBit(EightBit):
    """As nunchaku's layers: a kernel without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@pytest.mark.parametrize("quantised", [FourBit, EightBit])
def test_quantised_layers_are_trained_where_they_have_gradients(
    host: Any, vae: Any, dataset: Dataset, quantised: type[EightBit]
) -> None:
    tiny = Tiny("chroma", tiny_models.FAMILIES["chroma"].load(), tiny_models.Words.of("chroma"))
    for block in (*tiny.transformer.double_blocks, *tiny.transformer.single_blocks):
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, quantised(module))
    if quantised is FourBit:
        with pytest.raises(TrainingError, match=r"is a FourBit, which computes without gradients.*bf16, fp16 or fp8"):
            train(host, tiny, vae, dataset, name="four-bit")
    else:
        lora, *_ = train(host, tiny, vae, dataset, name="eight-bit")
        assert len(lora) == 3 * len(target_modules(tiny.transformer, Targets.ATTENTION_MLP))
        assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))


def scaled_fp8_flux(fast: bool) -> Tiny:
    """FLUX's class with weights in scaled fp8, as ComfyUI loads such files; ``fast``: it multiplies in 8 bits."""
    import comfy.model_patcher
    import comfy.ops
    import comfy.supported_models

    config = comfy.supported_models.Flux(flux_sizes({"image_model": "flux", **tiny_models.FLUX}))
    config.set_inference_dtype(torch.float8_e4m3fn, torch.float32)
    config.custom_operations = comfy.ops.fp8_ops if fast else comfy.ops.manual_cast
    with torch.inference_mode():
        model = config.get_model({})
        model.diffusion_model.load_state_dict(
            {
                name: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value
                for name, value in tiny_models.random_weights(model.diffusion_model.to(torch.float32)).items()
            },
            assign=True,
        )
        return Tiny(
            "flux",
            comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu")),
            tiny_models.Words.of("flux"),
        )


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("fast", [False, True])
def test_weights_in_8_bits_are_cast_to_what_is_computed_in(
    host: Any, vae: Any, dataset: Dataset, fast: bool, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--fast fp8_matrix_mult`` multiplies 8-bit numbers, which has no gradient; autocast would cast to float32 first."""
    tiny = scaled_fp8_flux(fast)
    cast: set[torch.dtype] = set()
    linear = nn.functional.linear

    def watched(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        cast.add(weight.dtype)
        return linear(x, weight, *rest)

    monkeypatch.setattr(nn.functional, "linear", watched)
    lora, *_ = train(host, tiny, vae, dataset, name="8-bits", precision=precision.value)
    assert cast == {{Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}[precision]}
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    assert tiny.model.model.manual_cast_dtype is torch.float32  # as it was


def test_fp16_is_trained_with_scaled_losses(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[torch.dtype] = set()
    layer = flux.transformer.get_submodule("double_blocks.0.img_mlp.0")
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    lora, _, losses, *_ = train(host, flux, vae, dataset, name="fp16", precision=Precision.FP16.value)
    hook.remove()
    _, _, expected, *_ = train(host, flux, vae, dataset, name="fp16-exact", precision=Precision.FP32.value)
    assert seen == {torch.float16}
    assert losses["loss"] == pytest.approx(expected["loss"], rel=0.02)
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))


def lora_gradients(tiny: Tiny, x: Tensor, isolated: Tensor | None = None, memory: int = 0) -> dict[str, Tensor | None]:
    """The gradient of each trained layer at one step."""
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.settings import TrainSettings

    model = host_model(tiny.model)
    with training():
        adapters = make_adapters(model, TrainSettings(rank=2, alpha=2), None)
        conditions = [model.encode_caption(tiny.clip, CAPTIONS[1], 1.0, x[0])]
        with (
            model.prepared(gradient_checkpointing=True, precision=Precision.FP32, memory=memory),
            adapters.attached(model.transformer),
        ):
            model.predict(x, torch.tensor([0.5]), conditions, isolated).square().mean().backward()
    return {name: layer.lora_up.grad for name, layer in adapters.layers.items()}


def without_slope(tiny: Tiny, x: Tensor, checkpointing: bool) -> set[str]:
    """The trained layers that the loss does not depend on. The gradients of all others must be the slope of the loss."""
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.settings import TrainSettings

    model = host_model(tiny.model)
    sigmas = torch.linspace(0.2, 0.9, len(x))
    none: set[str] = set()
    generator = torch.Generator().manual_seed(5)
    with training():
        adapters = make_adapters(model, TrainSettings(rank=2, alpha=2), None)
        for layer in adapters.layers.values():
            nn.init.normal_(layer.lora_up, std=0.02, generator=generator)
        conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
        with (
            model.prepared(gradient_checkpointing=checkpointing, precision=Precision.FP32),
            adapters.attached(model.transformer),
        ):

            def loss() -> Tensor:
                return model.predict(x, sigmas, conditions).square().mean()

            loss().backward()
            # for each layer, since a wrong gradient of one would drown in the others
            for name, layer in adapters.layers.items():
                parameter = layer.lora_up
                if parameter.grad is None or not parameter.grad.any():
                    none.add(name)
                    continue
                direction = parameter.grad / parameter.grad.norm()
                with torch.no_grad():
                    parameter += 2e-3 * direction
                    above = loss().double()
                    parameter -= 4e-3 * direction
                    below = loss().double()
                    parameter += 2e-3 * direction
                slope = ((above - below) / 4e-3).item()
                assert slope == pytest.approx(parameter.grad.norm().item(), rel=0.05, abs=5e-3), name
    return none


@pytest.mark.parametrize("kind", ["flux", "sd3", "lumina", "qwen-image", "chroma"])
def test_attention_and_mlp_are_trained_and_nothing_else(host: Any, kind: str) -> None:
    model = on_meta(kind)
    names = list(target_modules(model, Targets.ATTENTION_MLP))
    never = ("mod", "norm", "embed", "final_layer", "guidance", "time_in", "vector_in", "img_in", "txt_in")
    assert not [name for name in names if any(part in name for part in never)]
    expected = {
        "flux": {
            "double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn.proj", "double_blocks.0.img_mlp.0",
            "double_blocks.0.img_mlp.2", "double_blocks.0.txt_attn.qkv", "double_blocks.0.txt_attn.proj",
            "double_blocks.0.txt_mlp.0", "double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.0.linear2",
        },
        "sd3": {
            "joint_blocks.0.context_block.attn.qkv", "joint_blocks.0.x_block.attn.qkv", "joint_blocks.0.x_block.attn.proj",
            "joint_blocks.0.x_block.mlp.fc1", "joint_blocks.0.x_block.mlp.fc2",
        },
        "lumina": {
            f"{block}.0.{part}"
            for block in ("noise_refiner", "context_refiner", "layers")
            for part in ("attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
        },
        "qwen-image": {
            f"transformer_blocks.0.{part}"
            for part in (
                "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj",
                "attn.add_v_proj", "attn.to_add_out", "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj",
                "txt_mlp.net.2",
            )
        },
    }  # fmt: skip
    expected["chroma"] = expected["flux"]
    assert set(names) == expected[kind]
    attention, mlp = (set(target_modules(model, targets)) for targets in (Targets.ATTENTION, Targets.MLP))
    assert attention | mlp == set(names)
    assert attention & mlp <= {"single_blocks.0.linear1", "single_blocks.0.linear2"}  # both in one


def on_meta(kind: str) -> nn.Module:
    """A transformer of ComfyUI with one block of each sort, without weights."""
    import comfy.ldm.chroma.model
    import comfy.ldm.flux.model
    import comfy.ldm.lumina.model
    import comfy.ldm.qwen_image.model
    import comfy.ops

    common: dict[str, Any] = {"device": "meta", "dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
    if kind == "flux":
        return comfy.ldm.flux.model.Flux(**flux_sizes(tiny_models.FLUX), **common)
    if kind == "sd3":
        return tiny_models.sd3().model.diffusion_model
    if kind == "lumina":
        return comfy.ldm.lumina.model.NextDiT(
            dim=64, n_layers=1, n_refiner_layers=1, n_heads=2, cap_feat_dim=48, axes_dims=[8, 12, 12], **common
        )
    if kind == "qwen-image":
        return comfy.ldm.qwen_image.model.QwenImageTransformer2DModel(
            num_layers=1,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=48,
            axes_dims_rope=(8, 12, 12),
            **common,
        )
    own = {"in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 2}
    shared = {key: value for key, value in tiny_models.FLUX.items() if key not in ("vec_in_dim", "guidance_embed")}
    return comfy.ldm.chroma.model.Chroma(**chroma_sizes({**shared, **own}), **common)


# --- the node -------------------------------------------------------------------------------------------------------


def test_a_lora_is_trained_and_the_model_is_as_before(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    before = tiny.weights()
    name = f"trained-{tiny.kind}"
    lora, recipe, loss_map, run, samples, lora_name = train(
        host, tiny, vae, dataset, name=name, gradient_checkpointing=True, save_every=2, sample_every=0, ema=0.5
    )
    assert len(loss_map["loss"]) == 3
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    assert len(lora) == 3 * len(target_modules(tiny.transformer, Targets.ATTENTION_MLP))

    after = tiny.model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(module._forward_hooks or "forward" in vars(module) for module in tiny.transformer.modules())
    assert not any(parameter.grad is not None for parameter in tiny.transformer.parameters())

    assert run.state == "finished"
    assert [path.name for path in run.checkpoints] == [f"{name}-step{step:06d}.safetensors" for step in (2, 3)]
    saved = Path(host.base) / "output" / "loras" / lora_name
    assert lora_name == f"{name}.safetensors"
    assert read_recipe(saved) == recipe
    assert (recipe.prefix, recipe.layout, recipe.base) == (
        RECIPE.prefix,
        RECIPE.layout,
        type(tiny.model.model).__name__,
    )
    assert (recipe.references.clean, recipe.references.share) == (True, 0.5)
    written = load_file(saved)
    assert written.keys() == lora.keys()
    assert all(torch.equal(written[key], value) for key, value in lora.items())
    assert samples.shape == (1, 192, 128, 3)


def test_the_same_seed_gives_the_same_lora(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    first, again = (train(host, sd3, vae, dataset, name="same", seed=7) for _ in range(2))
    other = train(host, sd3, vae, dataset, name="same", seed=8)
    assert all(torch.equal(first[0][key], again[0][key]) for key in first[0])
    assert not all(torch.equal(first[0][key], other[0][key]) for key in first[0])
    assert [result[5] for result in (first, again, other)] == [
        "same.safetensors", "same-2.safetensors", "same-3.safetensors"
    ]  # fmt: skip


def attached_output(tiny: Tiny, adapters: Adapters) -> Tensor:
    model = host_model(tiny.model)
    x, sigmas = noisy(2)
    with (
        torch.no_grad(),
        model.prepared(gradient_checkpointing=False, precision=Precision.FP32),
        adapters.attached(model.transformer),
    ):
        conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
        return model.predict(x, sigmas, conditions)


def loaded_output(tiny: Tiny, patcher: Any) -> Tensor:
    """The output with a LoRA that ComfyUI has put into the weights."""
    import comfy.model_management

    model = host_model(tiny.model)
    x, sigmas = noisy(2)
    conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
    comfy.model_management.load_models_gpu([patcher])
    try:
        return model.predict(x, sigmas, conditions)
    finally:
        comfy.model_management.load_models_gpu([tiny.model])


def adapters_of(tiny: Tiny, path: Path) -> Adapters:
    deltas = host_model(tiny.model).deltas(load_file(path))
    return continued_adapters(linear_modules(tiny.transformer), deltas, torch.Generator())


def test_the_saved_lora_does_what_the_trained_one_did(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    name = f"reload-{tiny.kind}"
    *_, lora_name = train(host, tiny, vae, dataset, name=name)
    patched, *_ = host.call("InContextLoadLora", model=tiny.model, lora_name=lora_name)
    adapters = adapters_of(tiny, Path(host.base) / "output" / "loras" / lora_name)
    with torch.inference_mode():
        loaded, plain = loaded_output(tiny, patched), loaded_output(tiny, tiny.model.clone())
    torch.testing.assert_close(attached_output(tiny, adapters), loaded, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(loaded, plain, atol=1e-2)


def test_training_continues_from_a_lora_as_it_was(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    loras = Path(host.base) / "output" / "loras"
    *_, first = train(host, tiny, vae, dataset, name=f"first-{tiny.kind}")
    lora, recipe, *_, second = train(
        host, tiny, vae, dataset, name=f"second-{tiny.kind}", continue_from=first, learning_rate=1e-7, steps=1
    )
    assert recipe.lineage == (first,)
    before, after = (attached_output(tiny, adapters_of(tiny, loras / name)) for name in (first, second))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert {tensor.shape for tensor in lora.values()} == {tensor.shape for tensor in load_file(loras / first).values()}
    third = train(host, tiny, vae, dataset, name=f"third-{tiny.kind}", continue_from=second, steps=1)[1]
    assert third.lineage == (first, second)


def test_every_layer_of_a_published_lora_is_continued(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    # those of the method's authors hold modulations too, and query, key and value apart, named as in diffusers
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "transformer.transformer_blocks.0.attn.to_q": (64, 64),
        "transformer.transformer_blocks.0.attn.to_v": (64, 64),
        "transformer.transformer_blocks.0.norm1.linear": (64, 384),
        "transformer.single_transformer_blocks.0.proj_out": (320, 64),
    }
    tensors = {}
    for key, (inputs, outputs) in shapes.items():
        tensors[f"{key}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
        tensors[f"{key}.lora_B.weight"] = 0.1 * torch.randn(outputs, 2, generator=generator)
    path = Path(host.base) / "output" / "loras" / "published.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)
    write_recipe(path, RECIPE)
    patched, *_ = host.call("InContextLoadLora", model=flux.model, lora_name="published.safetensors")
    with torch.inference_mode():
        loaded = loaded_output(flux, patched)
    torch.testing.assert_close(attached_output(flux, adapters_of(flux, path)), loaded, rtol=1e-3, atol=1e-3)
    lora, *_ = train(host, flux, vae, dataset, name="from-published", continue_from="published.safetensors", steps=1)
    assert {key.removesuffix(".alpha") for key in lora if key.endswith(".alpha")} == {
        "diffusion_model.double_blocks.0.img_attn.qkv",
        "diffusion_model.double_blocks.0.img_mod.lin",
        "diffusion_model.single_blocks.0.linear2",
    }


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"diffusion_model.nothing.lora_up.weight": torch.ones(2, 2)}, "None of the LoRA's 1 tensors matches SD3"),
        (
            {
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lora_up.weight": torch.ones(256, 2),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lora_down.weight": torch.ones(2, 64),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.dora_scale": torch.ones(256, 1),
            },
            "only plain LoRA pairs",
        ),
        (
            {
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lokr_w1": torch.ones(16, 8),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lokr_w2": torch.ones(16, 8),
            },
            "LoKrAdapter; only plain LoRA",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(sd3: Tiny, tensors: dict[str, Tensor], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        host_model(sd3.model).deltas(tensors)


def test_samples_are_painted_at_the_guidance_of_sampling(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[float] = set()
    hook = flux.transformer.register_forward_pre_hook(
        lambda _module, _inputs, named: seen.update(named["guidance"].tolist()), with_kwargs=True
    )
    *_, run, samples, _ = train(host, flux, vae, dataset, name="sampled", sample_every=2, guidance=1.0)
    hook.remove()
    assert seen == {1.0, RECIPE.sampling.guidance}
    assert [path.name for path in run.samples] == ["step000002.png", "step000003.png"]
    assert samples.shape == (1, 192, 128, 3)


def test_bf16_computes_in_bf16_and_keeps_the_lora_in_float32(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[torch.dtype] = set()
    layer = sd3.transformer.get_submodule("joint_blocks.0.x_block.mlp.fc1")
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    lora, *_ = train(host, sd3, vae, dataset, name="bf16", precision=Precision.BF16.value)
    hook.remove()
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in lora.values()} == {torch.float32}


def test_held_out_sets_are_measured(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    *_, run, _, _ = train(host, sd3, vae, dataset, name="validated", validation_sets=1, validate_every=2)
    assert [event["step"] for event in run.events() if event["event"] == "validation"] == [0, 2, 3]
    with pytest.raises(TrainingError, match=r"4 sets, 4 of which.*Hold fewer out"):
        train(host, sd3, vae, dataset, name="validated", validation_sets=4)


def test_cancelling_keeps_what_was_learned(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management
    import comfy.utils

    def cancel_at_step_two(done: int, total: int, _preview: Any, node_id: Any = None) -> None:
        if (done, total) == (2, 30):
            comfy.model_management.interrupt_current_processing(True)

    progress_hook(monkeypatch, cancel_at_step_two)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(host, sd3, vae, dataset, name="cancelled", steps=30, save_every=0)
    run = Run(Path(host.base) / "output" / "incontext_runs" / "cancelled")
    assert run.state == "cancelled"
    assert [path.name for path in run.checkpoints] == ["cancelled-step000002.safetensors"]
    assert not any(module._forward_hooks for module in sd3.transformer.modules())


def test_it_does_what_the_monitor_asks(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management
    import comfy.utils

    folder = Path(host.base) / "output" / "incontext_runs" / "asked-in-host"
    wishes = {2: "save", 3: "sample", 5: "stop"}

    def ask(done: int, total: int, _preview: Any, node_id: Any = None) -> None:
        if total == 30 and done in wishes:
            assert monitor.summary(Run(folder))["state"] == monitor.RUNNING
            monitor.ask(Run(folder), wishes[done])

    progress_hook(monkeypatch, ask)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(host, sd3, vae, dataset, name="asked-in-host", steps=30, save_every=0)
    run = Run(folder)
    shown = monitor.summary(run)
    assert (shown["state"], shown["step"], shown["steps"], shown["resumable"]) == ("cancelled", 5, 30, True)
    assert shown["memory"] > 0
    assert [entry["step"] for entry in monitor.checkpoints(run)] == [5, 2]
    assert [path.name for path in run.samples] == ["step000003.png"]
    assert monitor.layout(run) == dataset.recipe.to_json()["layout"]


class BrokenVae:
    def encode(self, pixels: Tensor) -> Tensor:
        return torch.full((1, 16, pixels.shape[1] // 8, pixels.shape[2] // 8), torch.nan)


def test_a_failure_is_written_down(host: Any, sd3: Tiny, dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="loss is nan at step 1"):
        train(host, sd3, BrokenVae(), dataset, name="failed")
    run = Run(Path(host.base) / "output" / "incontext_runs" / "failed")
    assert run.state == "failed"
    assert "Lower the learning rate" in (run.folder / "log.txt").read_text()
    assert run.checkpoints == []
