from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LoraError
from incontext_lora.incontext.lora.keys import (
    Family,
    Misfit,
    check_matched,
    family_of,
    guess_model,
    is_lora,
    match,
    module_of,
)


def pair(module: str, up: str = ".lora_up.weight", down: str = ".lora_down.weight") -> list[str]:
    return [module + up, module + down]


@pytest.mark.parametrize(
    ("key", "family", "module"),
    [
        (
            "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight",
            Family.KOHYA,
            "lora_unet_double_blocks_0_img_attn_qkv",
        ),
        ("lora_unet_x.alpha", Family.KOHYA, "lora_unet_x"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", Family.TEXT_ENCODER, None),
        ("lora_te_text_model.lora_up.weight", Family.TEXT_ENCODER, None),
        ("text_encoder_2.encoder.block.0.q.lora_A.weight", Family.TEXT_ENCODER, None),
        (
            "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
            Family.DIFFUSERS,
            "transformer.transformer_blocks.0.attn.to_q",
        ),
        ("transformer.a.lora_B.default.weight", Family.DIFFUSERS, "transformer.a"),
        (
            "unet.down_blocks.0.attn.processor.to_q_lora.up.weight",
            Family.DIFFUSERS_UNET,
            "unet.down_blocks.0.attn.processor.to_q",
        ),
        (
            "diffusion_model.joint_blocks.0.x_block.mlp.fc1.diff_b",
            Family.CORE,
            "diffusion_model.joint_blocks.0.x_block.mlp.fc1",
        ),
        ("diffusion_model.a.lokr_w1_a", Family.CORE, "diffusion_model.a"),
        ("base_model.model.a.lora_A.weight", Family.PEFT, "base_model.model.a"),
        ("lora_transformer_a.lora_down.weight", Family.ONETRAINER, "lora_transformer_a"),
        ("lycoris_a.hada_w1_b", Family.LYCORIS, "lycoris_a"),
        ("oft_unet_a.oft_blocks", Family.KOHYA_OFT, "oft_unet_a"),
        ("transformer_blocks.0.attn.to_q.lora_A.weight", Family.BARE, "transformer_blocks.0.attn.to_q"),
        ("first_stage_model.encoder.weight", Family.UNKNOWN, "first_stage_model.encoder.weight"),
    ],
)
def test_names_tell_their_family_and_module(key: str, family: Family, module: str | None) -> None:
    assert family_of(key) is family
    if module is not None:
        assert module_of(key)[0] == module


@given(
    st.text(),
    st.sampled_from([".lora_up.weight", ".lora_A.weight", ".alpha", ".diff", ".lokr_w2_b", "_lora.up.weight"]),
)
def test_a_module_and_its_role_make_the_name(module: str, role: str) -> None:
    assert "".join(module_of(module + role)) == module + role


def test_all_matched() -> None:
    keys = [*pair("lora_unet_a"), "lora_unet_a.alpha", *pair("lora_unet_b")]
    report = match(keys, {"lora_unet_a": "a.weight", "lora_unet_b": "b.weight", "other": "c.weight"})
    assert report.matched == ("lora_unet_a", "lora_unet_b")
    assert (report.modules, report.unmatched, report.misfits) == (2, (), ())
    assert report.describe() == "2 of 2 modules matched; names: kohya (lora_unet_…)."
    check_matched(report, "x", "SD3")


def test_partly_matched_is_counted_and_named() -> None:
    keys = [key for number in range(310) for key in pair(f"transformer.m{number}", ".lora_B.weight", ".lora_A.weight")]
    report = match(keys, {f"transformer.m{number}": f"m{number}.weight" for number in range(6, 310)})
    assert report.family is Family.DIFFUSERS
    lines = report.describe().splitlines()
    assert lines[0].startswith("304 of 310 modules matched")
    assert lines[1] == "Not matched: " + ", ".join(f"transformer.m{n}" for n in range(5)) + " and 1 more."


def test_nothing_matched_is_an_error_that_names_both_sides() -> None:
    report = match(pair("lora_unet_double_blocks_0_img_attn_qkv"), {"lora_unet_joint_blocks_0": "w"})
    with pytest.raises(LoraError) as raised:
        check_matched(report, "hero.safetensors", "SD3")
    for word in ("None of the 1 modules", "hero.safetensors", "SD3", "kohya", "FLUX", "Connect the model"):
        assert word in str(raised.value)


def test_text_encoder_modules_are_counted_apart() -> None:
    keys = [*pair("lora_unet_a"), *pair("lora_te1_a"), "lora_te1_a.alpha", *pair("lora_te3_b")]
    report = match(keys, {"lora_unet_a": "a.weight", "lora_te1_a": "t.weight"})
    assert (report.modules, report.text_encoder, report.family) == (1, 2, Family.KOHYA)
    assert "2 modules are for a text encoder" in report.describe()
    with pytest.raises(LoraError, match="text encoder only"):
        check_matched(match(pair("lora_te1_a"), {"lora_te1_a": "t.weight"}), "x", "SD3")


def test_other_sizes_are_misfits() -> None:
    lora = {
        "diffusion_model.a.lora_up.weight": (8, 2),
        "diffusion_model.a.lora_down.weight": (2, 4),
        "diffusion_model.b.lora_up.weight": (8, 2),
        "diffusion_model.b.lora_down.weight": (2, 4),
        "diffusion_model.c.diff": (5,),
    }
    key_map = {f"diffusion_model.{name}": f"{name}.weight" for name in "abc"}
    report = match(lora, key_map, {"a.weight": (8, 4), "b.weight": (16, 4), "c.weight": (6,)})
    assert report.matched == ("diffusion_model.a",)
    assert report.misfits == (
        Misfit("diffusion_model.b", (8, 4), (16, 4)),
        Misfit("diffusion_model.c", (5,), (6,)),
    )
    assert "diffusion_model.b (8×4, the model has 16×4)" in report.describe()
    check_matched(report, "x", "Flux")
    only_misfits = match({key: shape for key, shape in lora.items() if ".b." in key}, key_map, {"b.weight": (16, 4)})
    with pytest.raises(LoraError, match="another size of model"):
        check_matched(only_misfits, "x", "Flux")


def test_parts_of_a_weight_are_compared_with_the_part() -> None:
    lora = {"transformer.q.lora_B.weight": (4, 2), "transformer.q.lora_A.weight": (2, 6)}
    key_map = {"transformer.q": ("qkv.weight", (0, 4, 4))}
    assert match(lora, key_map, {"qkv.weight": (12, 6)}).matched == ("transformer.q",)
    assert match(lora, {"transformer.q": ("qkv.weight", (0, 0, 3))}, {"qkv.weight": (12, 6)}).matched == ()
    assert match(lora, {"transformer.q": ("q.weight", None, abs)}, {"q.weight": (4, 6)}).matched == ("transformer.q",)


def test_a_lora_that_enlarges_its_weight_is_not_a_misfit() -> None:
    lora = {"diffusion_model.i.lora_up.weight": (8, 2), "diffusion_model.i.lora_down.weight": (2, 128)}
    key_map, weights = {"diffusion_model.i": "i.weight"}, {"i.weight": (8, 64)}
    assert match(lora, key_map, weights).matched == ()
    assert match({**lora, "diffusion_model.i.reshape_weight": (2,)}, key_map, weights).matched == ("diffusion_model.i",)


@pytest.mark.parametrize("lost", [0, 1])
def test_half_a_pair_is_refused(lost: int) -> None:
    keys = pair("transformer.a", ".lora_B.weight", ".lora_A.weight")
    missing = keys.pop(lost)
    with pytest.raises(LoraError, match="both halves") as raised:
        match(keys, {"transformer.a": "a.weight"})
    assert missing in str(raised.value)


def test_tensors_that_comfyui_does_not_read_are_named() -> None:
    keys = [*pair("transformer.a", ".lora_B.weight", ".lora_A.weight"), "transformer.a.lora_magnitude_vector"]
    report = match(keys, {"transformer.a": "a.weight"})
    assert report.matched == ("transformer.a",)
    assert report.ignored == ("transformer.a.lora_magnitude_vector",)
    assert "does not read" in report.describe()


def test_an_alpha_alone_changes_nothing() -> None:
    assert match(["lora_unet_a.alpha"], {"lora_unet_a": "a.weight"}).matched == ()


def test_models_are_not_loras() -> None:
    assert not is_lora(["model.diffusion_model.a.weight", "model.diffusion_model.a.bias"])
    assert is_lora(["diffusion_model.a.weight", "diffusion_model.a.lora_up.weight"])


def test_names_speak_of_their_model() -> None:
    assert guess_model(["transformer.single_transformer_blocks.0.attn.to_q"]).startswith("FLUX")
    assert guess_model(["lora_unet_joint_blocks_3_x_block_attn_qkv"]) == "Stable Diffusion 3"
    assert guess_model(["lora_unet_down_blocks_0_attentions"]).endswith("XL")
    assert guess_model(["lora_unet_blocks_0_cross_attn_k"]) == "Wan"
    assert guess_model(["something"]) == ""


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.sets(st.sampled_from("abcdefgh")))
def test_every_module_is_counted_once(present: list[str], known: set[str]) -> None:
    report = match([key for name in present for key in pair(name)], dict.fromkeys(known, "w"))
    assert set(report.matched) == set(present) & known
    assert set(report.unmatched) == set(present) - known
    assert report.modules == len(present)
