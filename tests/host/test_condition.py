"""Given panels while sampling: through ComfyUI's own sampler, on a small random model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.lora.recipe import Recipe, References
from incontext_lora.incontext.panels import arrange
from incontext_lora.tests import tiny_models
from torch import Tensor

LAYOUT = arrange.rows(128, 192, 3)
GIVEN = slice(0, 8)  # rows of the latent that show the first panel
PAINTED = slice(8, 24)
RECIPE = Recipe("toys", LAYOUT)
CLEAN = replace(RECIPE, references=References(clean=True, share=0.5))
STEPS = 3


@dataclass(frozen=True)
class Models:
    model: Any
    vae: Any
    positive: Any


@pytest.fixture(scope="module")
def models(host: Any) -> Models:
    words = tiny_models.Words.of("sd3")
    return Models(tiny_models.sd3(), tiny_models.vae(), words.encode_from_tokens_scheduled(["two", "words"], {}))


@dataclass(frozen=True)
class Sampled:
    latent: Tensor
    inputs: list[Tensor]
    result: Tensor


def sampled(host: Any, models: Models, batch: int = 1, **settings: Any) -> Sampled:
    """Sample a set whose first panel is given, and see what the model sees at each step."""
    picture = torch.rand(batch, 64, 128, 3, generator=torch.Generator().manual_seed(1))
    canvas, mask, layout = host.call("InContextStitchPanels", layout=[LAYOUT], panel_1=[picture])
    model, latent, *_ = host.call(
        "InContextConditionPanels",
        model=models.model, vae=models.vae, canvas=canvas, mask=mask, layout=layout, **settings,
    )  # fmt: skip
    inputs: list[Tensor] = []
    transformer = models.model.model.diffusion_model
    hook = transformer.register_forward_pre_hook(lambda _module, args: inputs.append(args[0].clone()))
    try:
        (result,) = host.call(
            "KSampler",
            model=model, positive=models.positive, negative=models.positive, latent_image=latent,
            seed=1, steps=STEPS, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        )  # fmt: skip
    finally:
        hook.remove()
    return Sampled(models.model.model.process_latent_in(latent["samples"]), inputs, result["samples"])


@pytest.mark.parametrize("settings", [{"given_panels": "keep clean"}, {"recipe": CLEAN}], ids=["chosen", "recipe"])
@pytest.mark.parametrize("batch", [1, 2])
def test_clean_panels_are_the_same_at_every_step(host: Any, models: Models, batch: int, settings: Any) -> None:
    ran = sampled(host, models, batch, **settings)
    assert len(ran.inputs) == STEPS
    for seen in ran.inputs:
        torch.testing.assert_close(seen[:, :, GIVEN], ran.latent[:, :, GIVEN])
    assert (ran.inputs[0][:, :, PAINTED] - ran.latent[:, :, PAINTED]).std() > 0.5
    assert not torch.allclose(ran.inputs[0][:, :, PAINTED], ran.inputs[1][:, :, PAINTED], atol=1e-2)


@pytest.mark.parametrize(
    "settings",
    [{}, {"recipe": RECIPE}, {"recipe": CLEAN, "given_panels": "re-noise"}],
    ids=["nothing known", "recipe", "chosen"],
)
def test_otherwise_given_panels_are_noised_anew_at_every_step(host: Any, models: Models, settings: Any) -> None:
    ran = sampled(host, models, **settings)
    distances = [(seen[:, :, GIVEN] - ran.latent[:, :, GIVEN]).std().item() for seen in ran.inputs]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.5
    assert distances[-1] > 0.05


@pytest.mark.parametrize("given_panels", ["keep clean", "re-noise"])
def test_given_panels_come_out_as_they_went_in(host: Any, models: Models, given_panels: str) -> None:
    ran = sampled(host, models, given_panels=given_panels)
    result = models.model.model.process_latent_in(ran.result)
    torch.testing.assert_close(result[:, :, GIVEN], ran.latent[:, :, GIVEN], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(result[:, :, PAINTED], ran.latent[:, :, PAINTED], atol=0.1)


def test_the_model_that_was_connected_is_not_changed(host: Any, models: Models) -> None:
    sampled(host, models, given_panels="keep clean")
    assert models.model.object_patches == {}
    again = sampled(host, models, given_panels="re-noise")
    assert (again.inputs[0][:, :, GIVEN] - again.latent[:, :, GIVEN]).std() > 0.5


@pytest.mark.parametrize(
    ("canvas", "mask", "layout", "says"),
    [
        ((192, 128), (64, 64), None, ["mask is 64×64", "canvas 128×192", "same Stitch Panels"]),
        ((192, 128), (192, 128), arrange.rows(128, 384, 3), ["canvas is 128×192", "layout 128×384"]),
    ],
)
def test_what_does_not_belong_together_is_refused(
    host: Any, models: Models, canvas: tuple[int, int], mask: tuple[int, int], layout: Any, says: list[str]
) -> None:
    with pytest.raises(PanelError) as refused:
        host.call(
            "InContextConditionPanels",
            model=models.model, vae=models.vae, canvas=torch.zeros(1, *canvas, 3), mask=torch.ones(1, *mask), layout=layout,
        )  # fmt: skip
    for words in says:
        assert words in str(refused.value)


@pytest.mark.parametrize("kind", ["anima", "wan", "hunyuan-image", "z-image-pixel"])
def test_where_references_cannot_be_isolated_they_are_kept_clean_and_it_is_said(
    host: Any, models: Models, kind: str
) -> None:
    tiny_models.skip_if_unknown(kind)
    family = tiny_models.FAMILIES[kind].load()
    picture = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(1))
    canvas, mask, _ = host.call("InContextStitchPanels", layout=[LAYOUT], panel_1=[picture])
    model, *_, report = host.call(
        "InContextConditionPanels", model=family, vae=models.vae, canvas=canvas, mask=mask, given_panels="isolate"
    )
    name = type(family.model).__name__
    assert f"{name} cannot isolate given panels here: they are kept clean instead." in report
    assert "given panels are kept clean at every step" in report
    assert not any(kind == "apply_model" for kind, keyed in model.wrappers.items() if keyed)
