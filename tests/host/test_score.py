from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.evaluate.scores import NOT_MEASURED, STATISTICS
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange
from torch import Tensor
from torch.nn.functional import normalize

LAYOUT = arrange.rows(64, 192, 3)
RECIPE = Recipe("colours", LAYOUT)
COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.6, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}


def canvas(*colours: str) -> Tensor:
    """One set: a plain panel of 64×64 for each colour, below each other."""
    return torch.cat([torch.tensor(COLOURS[colour]).expand(1, 64, 64, 3) for colour in colours], dim=1)


def text_of(colour: str) -> str:
    return f"a plain {colour} picture"


def caption(*colours: str) -> str:
    return "a set " + " ".join(f"[SCENE-{number}] {text_of(colour)}" for number, colour in enumerate(colours, 1))


@pytest.fixture(scope="module")
def vision(host: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small image encoder of CLIP's architecture."""
    return small_vision(tmp_path_factory.mktemp("vision") / "config.json", 24)


def small_vision(config: Any, size: int) -> Any:
    import comfy.clip_vision

    described = {
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": 32,
        "image_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 2,
        "patch_size": 16,
        "projection_dim": size,
    }
    config.write_text(json.dumps(described))
    found = comfy.clip_vision.ClipVisionModel(str(config))
    fill(found.model, 1)
    return found


@pytest.fixture(scope="module")
def clip(host: Any, vision: Any) -> Any:
    """A small text encoder of SD3's kind, and both towers made to know six plain colours."""
    import comfy.clip_vision
    import comfy.sd
    import comfy.supported_models_base
    import comfy.text_encoders.sd3_clip as sd3

    target = comfy.supported_models_base.ClipTarget(sd3.SD3Tokenizer, sd3.sd3_clip(clip_l=True, clip_g=False, t5=False))
    small = {"hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
    found = comfy.sd.CLIP(target, model_options={"clip_l_model_config": small})
    tower = found.cond_stage_model.clip_l
    fill(tower.transformer, 2)
    with torch.no_grad():
        shown = vision.model.vision_model(
            comfy.clip_vision.clip_preprocess(torch.cat([canvas(colour) for colour in COLOURS]), size=32, crop=False)
        )[2]
        said = torch.cat([tower.encode_token_weights(found.tokenize(text_of(colour))["l"])[1] for colour in COLOURS])
        # both towers give the n-th colour, seen or said, the n-th unit vector
        vision.model.visual_projection.weight.copy_(onto_unit_vectors(shown, 24))
        tower.transformer.text_projection.weight.copy_(onto_unit_vectors(said, 24))
    return found


def onto_unit_vectors(vectors: Tensor, size: int) -> Tensor:
    """The linear map, [size, length], that takes each of [count, length] to a unit vector of its own."""
    return (torch.linalg.pinv(vectors.double()) @ torch.eye(len(vectors), size, dtype=torch.float64)).T.float()


def fill(module: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            norm = "norm" in name
            weight.copy_(torch.ones_like(weight) if norm and name.endswith("weight") else torch.zeros_like(weight))
            if not norm and weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)


def test_without_a_network_it_says_so(host: Any) -> None:
    score, lowest, of_caption, matrix, report, *_ = host.call(
        "InContextScoreSet", image=canvas("red", "red", "blue"), layout=LAYOUT
    )
    assert score == pytest.approx((1 + 0.5 + 0.5) / 3, abs=1e-3)
    assert lowest == pytest.approx(0.5, abs=1e-3)
    assert of_caption == NOT_MEASURED
    assert (matrix.shape[0], matrix.shape[-1]) == (1, 3)
    assert STATISTICS in report
    assert "least SCENE-1 and SCENE-3" in report


def test_batches_are_averaged_and_reported_set_by_set(host: Any) -> None:
    sets = torch.cat([canvas("red", "red", "red"), canvas("red", "red", "blue")])
    score, lowest, _, _, report, consistency, composition = host.call("InContextScoreSet", image=sets, layout=LAYOUT)
    assert score == pytest.approx((1 + 2 / 3) / 2, abs=1e-3)
    assert lowest == pytest.approx((1 + 0.5) / 2, abs=1e-3)
    assert "Set 1: 1.000" in report
    assert "Set 2: 0.667" in report
    assert "Consistency" in report
    assert -1 < consistency <= 1
    assert composition == pytest.approx(1.0), "plain panels have no contents to place"


def test_an_enlarged_canvas_is_taken(host: Any) -> None:
    image = canvas("red", "green", "blue").repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert host.call("InContextScoreSet", image=image, layout=LAYOUT)[0] == pytest.approx(0.5, abs=0.02)
    with pytest.raises(LayoutError, match="proportions"):
        host.call("InContextScoreSet", image=image[:, :100], layout=LAYOUT)


def test_clip_vision_compares_whole_panels(host: Any, vision: Any) -> None:
    score, _, _, _, report, *_ = host.call(
        "InContextScoreSet", image=canvas("red", "red", "red"), layout=LAYOUT, clip_vision=vision
    )
    assert score == pytest.approx(1, abs=1e-5)
    assert "CLIP vision" in report
    # ComfyUI's own embeddings of the whole panel; the default would cut a wide panel's sides off
    wide = arrange.rows(192, 128, 2)
    image = torch.rand((2, 128, 192, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = [vision.encode_image(part, crop=False).image_embeds for part in image.split(64, dim=1)]
    upper, lower = (normalize(part, dim=-1) for part in parts)
    expected = float((upper * lower).sum(dim=-1).mean())
    found = host.call("InContextScoreSet", image=image, layout=wide, clip_vision=vision)[0]
    assert found == pytest.approx(expected, abs=1e-5)


def test_panels_are_scored_against_their_own_texts(host: Any, vision: Any, clip: Any) -> None:
    def scored(written: str) -> tuple[float, str]:
        result = host.call(
            "InContextScoreSet",
            image=canvas("red", "green", "blue"),
            layout=LAYOUT,
            clip_vision=vision,
            clip=clip,
            caption=written,
            recipe=RECIPE,
        )
        return result[2], result[4]

    right, report = scored(caption("red", "green", "blue"))
    wrong, wrong_report = scored(caption("green", "blue", "red"))
    assert right > wrong + 0.3
    assert "own text first in 100%" in report
    assert "own text first in 0%" in wrong_report
    partly, report = scored("a set [SCENE-1] a plain red picture [SCENE-2] [SCENE-3] a plain blue picture")
    assert partly > wrong + 0.3
    assert "SCENE-2 " not in report.split("caption")[1]
    long, report = scored(caption("red", "green", "blue") + " and" * 90)
    assert "The text of SCENE-3 is longer than clip_l reads" in report
    assert long > NOT_MEASURED


def test_the_text_encoder_is_left_as_it_was(host: Any, vision: Any, clip: Any) -> None:
    def pooled() -> Tensor:
        with torch.inference_mode():
            return clip.cond_stage_model.encode_token_weights(clip.tokenize("a plain red picture"))[1][:, :24]

    clip.cond_stage_model.reset_clip_options()
    before = pooled()
    host.call(
        "InContextScoreSet",
        image=canvas("red", "green", "blue"),
        layout=LAYOUT,
        clip_vision=vision,
        clip=clip,
        caption=caption("red", "green", "blue"),
        recipe=RECIPE,
    )
    torch.testing.assert_close(pooled(), before)


def test_what_cannot_be_scored_is_said(host: Any, vision: Any, clip: Any, tmp_path: Any) -> None:
    def reason(**changed: Any) -> str:
        inputs = {
            "image": canvas("red", "green", "blue"),
            "layout": LAYOUT,
            "clip_vision": vision,
            "clip": clip,
            "caption": caption("red", "green", "blue"),
            "recipe": RECIPE,
            **changed,
        }
        _, _, score, _, report, *_ = host.call("InContextScoreSet", **inputs)
        assert score == NOT_MEASURED
        return report.splitlines()[-1]

    assert "connect clip_vision, clip too" in reason(clip_vision=None, clip=None)
    assert "connect recipe too" in reason(recipe=None)
    assert "lacks [SCENE-3]" in reason(caption="[SCENE-1] a [SCENE-2] b")
    assert "no text follows" in reason(caption="x [SCENE-1] [SCENE-2] [SCENE-3]")
    assert "the recipe has 2 panels, the layout 3" in reason(
        recipe=Recipe("two", arrange.rows(64, 128, 2)), caption="[TOP] a [BOTTOM] b"
    )
    other = small_vision(tmp_path / "other.json", 16)
    assert "vectors of 16" in reason(clip_vision=other)
    stranger = small_vision(tmp_path / "stranger.json", 24)  # the right size, but taught nothing
    assert "plain colours" in reason(clip_vision=stranger)


def test_a_text_encoder_without_its_projection_is_noticed(host: Any, vision: Any, clip: Any) -> None:
    weight = clip.cond_stage_model.clip_l.transformer.text_projection.weight
    kept = weight.clone()
    try:
        for broken in (torch.zeros_like(kept), torch.full_like(kept, torch.nan), kept.flip(0)):
            with torch.no_grad():
                weight.copy_(broken)
            _, _, score, _, report, *_ = host.call(
                "InContextScoreSet",
                image=canvas("red", "green", "blue"),
                layout=LAYOUT,
                clip_vision=vision,
                clip=clip,
                caption=caption("red", "green", "blue"),
                recipe=RECIPE,
            )
            assert score == NOT_MEASURED
            assert "lacks the text projection" in report
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_one_panel_is_refused(host: Any) -> None:
    with pytest.raises(LayoutError, match="one panel"):
        host.call("InContextScoreSet", image=torch.zeros(1, 64, 64, 3), layout=arrange.rows(64, 64, 1))
