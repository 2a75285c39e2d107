"""Isolated references on ComfyUI's own models: what attends to what, and that two passes are one masked pass."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from incontext_lora.tests import tiny_models
from torch import Tensor

KINDS = ("flux", "sd3", "chroma", "flux2", "qwen-image", "mage-flow", "longcat", "lumina2", "z-image")
HEIGHT, WIDTH = 8, 24
CAPTIONS = ("one", "a longer caption of six words")


class Tiny:
    """A small model in inference mode's absence, with a picture of three panels of which the middle one is given."""

    def __init__(self, kind: str, batch: int = 1) -> None:
        from incontext_lora.nodes.training.host_model import HostModel

        family = tiny_models.FAMILIES.get(kind)
        self.host = HostModel(family.load() if family else getattr(tiny_models, kind)())
        self.host.load()
        self.model = self.host.model
        latent = family.latent if family else (16,)
        self.x = torch.randn(batch, *latent, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
        self.given = torch.zeros(batch, 1, *[1] * (len(latent) - 1), HEIGHT, WIDTH, dtype=torch.bool)
        self.given[..., 8:16] = True
        self.words = tiny_models.Words.of(kind)

    def condition(self, caption: str = CAPTIONS[1]) -> Any:
        return self.host.encode_caption(self.words, caption, 1.0, self.x[0])

    def arguments(self, caption: str = CAPTIONS[1]) -> dict[str, Any]:
        conds = self.condition(caption).model_conds
        return {
            name: cond.process_cond(batch_size=len(self.x), device=self.x.device, area=None).cond
            for name, cond in conds.items()
        }

    def record(self, x: Tensor, caption: str = CAPTIONS[1], arguments: dict[str, Any] | None = None) -> list[Tensor]:
        from incontext_lora.nodes.references.isolation import OVERRIDE, Pass, Selection, choosing, picture_tokens

        one = Pass(Selection.of(picture_tokens(self.model, self.given), x.device))
        with torch.no_grad(), choosing(self.model, one):
            self.model.apply_model(
                x, torch.zeros(len(x)), transformer_options={OVERRIDE: one}, **(arguments or self.arguments(caption))
            )
        return [tensor for pair in one.recorded.pairs.values() for tensor in pair]


@pytest.fixture(params=KINDS)
def tiny(host: Any, request: pytest.FixtureRequest) -> Tiny:
    tiny_models.skip_if_unknown(request.param)
    return Tiny(request.param)


def changed(before: list[Tensor], after: list[Tensor]) -> list[bool]:
    assert len(before) == len(after) > 0
    return [not torch.equal(*both) for both in zip(before, after, strict=True)]


def test_references_depend_on_references_alone(tiny: Tiny) -> None:
    before = tiny.record(tiny.x)
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(tiny.x.shape, generator=generator)
    assert not any(changed(before, tiny.record(torch.where(tiny.given, tiny.x, noise))))
    assert all(changed(before, tiny.record(torch.where(tiny.given, noise, tiny.x))))


def test_the_references_own_pass_needs_no_text(tiny: Tiny) -> None:
    from incontext_lora.nodes.references.isolation import reference_conditions

    whole = tiny.arguments()
    own = reference_conditions(tiny.model, whole)
    if type(tiny.model).__name__ not in ("Lumina2", "LongCatImage"):  # there the text moves the picture's positions
        assert own["c_crossattn"].shape[1] == 1 < whole["c_crossattn"].shape[1]
    before, after = tiny.record(tiny.x), tiny.record(tiny.x, arguments=own)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["chroma", "qwen-image", "lumina2", "z-image"])
def test_where_modulation_has_no_text_captions_share_references(host: Any, kind: str) -> None:
    tiny = Tiny(kind)
    assert not any(changed(tiny.record(tiny.x), tiny.record(tiny.x, "other words than before, no more")))


def test_two_passes_are_one_masked_pass(tiny: Tiny) -> None:
    """At noise level 0 all tokens are modulated alike, so the plain forward with a mask must give the same."""
    from incontext_lora.nodes.references.isolation import OVERRIDE, picture_tokens

    chosen = picture_tokens(tiny.model, tiny.given)[0]

    def masked(attention: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, **named: Any) -> Tensor:
        length = q.shape[2 if named.get("skip_reshape") else 1]
        if length < len(chosen) or masked.in_text:
            return attention(q, k, v, heads, mask=mask, **named)
        references = torch.cat([torch.zeros(length - len(chosen), dtype=torch.bool), chosen])
        allowed = ~references[:, None] | references[None, :]
        return attention(q, k, v, heads, mask=torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf), **named)

    masked.in_text = False  # type: ignore[attr-defined]
    hooks = []
    for layer in getattr(tiny.model.diffusion_model, "context_refiner", ()):
        hooks += [
            layer.register_forward_pre_hook(lambda *_: setattr(masked, "in_text", True)),
            layer.register_forward_hook(lambda *_: setattr(masked, "in_text", False)),
        ]
    velocities: list[Tensor] = []
    keep = tiny.model.diffusion_model.register_forward_hook(lambda _module, _inputs, output: velocities.append(output))
    zero = torch.zeros(1)
    with torch.no_grad():
        tiny.model.apply_model(tiny.x, zero, transformer_options={OVERRIDE: masked}, **tiny.arguments())
        for hook in hooks:
            hook.remove()
        tiny.host._isolated(tiny.x, zero, tiny.arguments(), chosen[None])
    keep.remove()
    joint, _, painted = velocities
    painted_area = (~tiny.given).expand_as(joint)
    torch.testing.assert_close(painted[painted_area], joint[painted_area], rtol=1e-4, atol=1e-4)
    assert not painted[~painted_area].any()


def test_painted_panels_see_references_and_text(tiny: Tiny) -> None:
    sigma = torch.tensor([0.7])
    noise = torch.randn(tiny.x.shape, generator=torch.Generator().manual_seed(4))

    def velocity(x: Tensor, caption: str = CAPTIONS[1]) -> Tensor:
        with torch.no_grad():
            return tiny.host.predict(x, sigma, [tiny.condition(caption)], isolated=tiny.given)

    before = velocity(tiny.x)
    painted = (~tiny.given).expand_as(before)
    other_reference = velocity(torch.where(tiny.given, noise, tiny.x))
    other_text = velocity(tiny.x, "no such words at all today")
    assert not torch.allclose(before[painted], other_reference[painted], atol=1e-4)
    assert not torch.allclose(before[painted], other_text[painted], atol=1e-4)
    assert torch.isfinite(before).all()


def test_samples_of_a_batch_have_references_of_their_own(tiny: Tiny) -> None:
    """Different panels, different numbers of them, none, and captions of different lengths."""
    x = tiny.x.repeat(4, *[1] * (tiny.x.ndim - 1))
    x += 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    given = torch.zeros(4, *tiny.given.shape[1:], dtype=torch.bool)
    given[0, ..., :8] = True
    given[1, ..., 16:] = True
    given[2, ..., 8:] = True
    sigmas = torch.tensor([0.3, 0.5, 0.7, 0.9])
    conditions = [tiny.condition(CAPTIONS[row % 2]) for row in (0, 0, 1, 1)]
    with torch.no_grad():
        together = tiny.host.predict(x, sigmas, conditions, isolated=given)
        for row in range(4):
            one = slice(row, row + 1)
            alone = tiny.host.predict(x[one], sigmas[one], conditions[one], isolated=given[one])
            torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_flow_through_the_references(tiny: Tiny, checkpointing: bool) -> None:
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.choices import Precision
    from incontext_lora.training.in_host.settings import TrainSettings

    with torch.inference_mode(False), torch.enable_grad():
        adapters = make_adapters(tiny.host, TrainSettings(rank=2, alpha=2), None)
        generator = torch.Generator().manual_seed(5)
        for layer in adapters.layers.values():
            torch.nn.init.normal_(layer.lora_up, std=0.02, generator=generator)
        conditions = [tiny.condition()]
        sigmas = torch.tensor([0.5])
        with (
            tiny.host.prepared(gradient_checkpointing=checkpointing, precision=Precision.FP32),
            adapters.attached(tiny.host.transformer),
        ):

            def loss() -> Tensor:
                return tiny.host.predict(tiny.x, sigmas, conditions, isolated=tiny.given).square().mean()

            loss().backward()
            parameters = [layer.lora_up for layer in adapters.layers.values() if layer.lora_up.grad is not None]
            assert len(parameters) > len(adapters.layers) // 2
            for parameter in parameters:
                assert parameter.grad is not None
                size = parameter.grad.norm()
                if size < 1e-6:
                    continue
                direction = parameter.grad / size
                with torch.no_grad():
                    parameter += 2e-3 * direction
                    above = loss().double()
                    parameter -= 4e-3 * direction
                    below = loss().double()
                    parameter += 2e-3 * direction
                assert ((above - below) / 4e-3).item() == pytest.approx(size.item(), rel=0.05, abs=5e-3)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_nothing_of_a_step_is_left_after_it(host: Any, checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's graph holds gigabytes; Python cannot collect a circle that leads through it."""
    from incontext_lora.nodes.training import host_model
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.choices import Precision
    from incontext_lora.training.in_host.settings import TrainSettings

    made: list[Any] = []

    class Watched(host_model.Pass):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            made.append(weakref.ref(self))

    monkeypatch.setattr(host_model, "Pass", Watched)
    tiny = Tiny("flux")
    with torch.inference_mode(False), torch.enable_grad():
        adapters = make_adapters(tiny.host, TrainSettings(rank=2, alpha=2), None)
        with (
            tiny.host.prepared(gradient_checkpointing=checkpointing, precision=Precision.FP32),
            adapters.attached(tiny.host.transformer),
        ):
            predicted = tiny.host.predict(tiny.x, torch.tensor([0.5]), [tiny.condition()], isolated=tiny.given)
            predicted.square().mean().backward()
            del predicted
            gc.collect()
            assert [one() for one in made] == [None, None]


def test_what_is_recorded_holds_no_larger_tensors(tiny: Tiny) -> None:
    """A value is a part of what the layer before it computed; in FLUX's single blocks that is seven times as large."""
    assert [
        (tensor.untyped_storage().nbytes(), tensor.nbytes) for tensor in tiny.record(tiny.x) if _is_part(tensor)
    ] == []


def _is_part(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() != tensor.nbytes
