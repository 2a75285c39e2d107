"""Loading a LoRA of any family with its recipe, and saving one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import InContextError, LoraError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe_file import read_recipe, write_recipe
from incontext_lora.tests.lora_families import (
    RANK,
    RECIPE,
    STRENGTH,
    Part,
    Tiny,
    flux_patcher,
    loras_folder,
    make_lora,
    merged,
    native_names,
    prefixed,
    put,
    random_weights,
    run,
    thirds,
)
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def sd3(host: Any) -> Tiny:
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    width = 128  # ComfyUI takes depth and heads from it
    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": width}}
    module = MMDiT(
        input_size=None,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        depth=2,
        adm_in_channels=2048,
        context_embedder_config=context,
        num_patches=64,
        pos_embed_max_size=8,
        qk_norm="rms",
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    diffusers: dict[str, Part] = {}
    for block in range(2):
        ours, theirs = f"joint_blocks.{block}", f"transformer_blocks.{block}"
        q, k, v = (f"{theirs}.attn.{name}" for name in ("to_q", "to_k", "to_v"))
        diffusers |= thirds(f"{ours}.x_block.attn.qkv.weight", (q, k, v), width)
        q, k, v = (f"{theirs}.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj"))
        diffusers |= thirds(f"{ours}.context_block.attn.qkv.weight", (q, k, v), width)
        diffusers[f"{theirs}.attn.to_out.0"] = Part(f"{ours}.x_block.attn.proj.weight")
        diffusers[f"{theirs}.ff.net.0.proj"] = Part(f"{ours}.x_block.mlp.fc1.weight")
        diffusers[f"{theirs}.ff.net.2"] = Part(f"{ours}.x_block.mlp.fc2.weight")
        diffusers[f"{theirs}.norm1.linear"] = Part(f"{ours}.x_block.adaLN_modulation.1.weight")
    weights = random_weights(module, 1)
    return Tiny(weights, native_names(weights) | prefixed(diffusers), "SD3")


@pytest.fixture(scope="module")
def flux(host: Any) -> Tiny:
    width = 64
    diffusers: dict[str, Part] = {}
    for block in range(2):
        ours, theirs = f"double_blocks.{block}", f"transformer_blocks.{block}"
        q, k, v = (f"{theirs}.attn.{name}" for name in ("to_q", "to_k", "to_v"))
        diffusers |= thirds(f"{ours}.img_attn.qkv.weight", (q, k, v), width)
        q, k, v = (f"{theirs}.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj"))
        diffusers |= thirds(f"{ours}.txt_attn.qkv.weight", (q, k, v), width)
        diffusers[f"{theirs}.attn.to_out.0"] = Part(f"{ours}.img_attn.proj.weight")
        diffusers[f"{theirs}.attn.to_add_out"] = Part(f"{ours}.txt_attn.proj.weight")
        diffusers[f"{theirs}.ff.net.0.proj"] = Part(f"{ours}.img_mlp.0.weight")
        diffusers[f"{theirs}.ff_context.net.2"] = Part(f"{ours}.txt_mlp.2.weight")
        diffusers[f"{theirs}.norm1.linear"] = Part(f"{ours}.img_mod.lin.weight")
        ours, theirs = f"single_blocks.{block}", f"single_transformer_blocks.{block}"
        q, k, v = (f"{theirs}.attn.{name}" for name in ("to_q", "to_k", "to_v"))
        diffusers |= thirds(f"{ours}.linear1.weight", (q, k, v), width)
        diffusers[f"{theirs}.proj_mlp"] = Part(f"{ours}.linear1.weight", 3 * width, 4 * width)
        diffusers[f"{theirs}.proj_out"] = Part(f"{ours}.linear2.weight")
        diffusers[f"{theirs}.norm.linear"] = Part(f"{ours}.modulation.lin.weight")
    weights = random_weights(flux_patcher({}).model.diffusion_model, 2)
    return Tiny(weights, native_names(weights) | prefixed(diffusers), "Flux")


@pytest.fixture
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("family", ["kohya", "core", "diffusers", "onetrainer", "peft", "peft, own names"])
@pytest.mark.parametrize("tiny", ["sd3", "flux"], indirect=True)
def test_every_family_matches_wholly_and_equals_a_merge_by_hand(host: Any, tiny: Tiny, family: str) -> None:
    lora = make_lora(tiny, family)
    name = put(host, f"{tiny.kind}-{family}.safetensors", lora, RECIPE)
    base = tiny.patcher()
    before = run(base, tiny.kind)
    patched, *_, report = host.call("InContextLoadLora", model=base, lora_name=name, strength=STRENGTH)
    count = len(tiny.names[family])
    assert f"{count} of {count} modules matched" in report
    changed = run(patched, tiny.kind)
    by_hand = run(tiny.patcher(merged(tiny, family, lora, STRENGTH)), tiny.kind)
    assert float((changed - before).abs().max()) > 0.05
    torch.testing.assert_close(changed, by_hand, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(run(base, tiny.kind), before)


def test_another_architecture_is_refused_by_both_names(host: Any, sd3: Tiny, flux: Tiny) -> None:
    for family in ("kohya", "diffusers"):
        lora = {key: value for key, value in make_lora(flux, family).items() if "single" in key}
        name = put(host, "for-flux.safetensors", lora, RECIPE)
        with pytest.raises(LoraError, match=r"None of the \d+ modules of for-flux.safetensors") as raised:
            host.call("InContextLoadLora", model=sd3.patcher(), lora_name=name)
        assert "SD3" in str(raised.value)
        assert "FLUX" in str(raised.value)


def test_the_same_architecture_in_another_size_is_refused(host: Any, sd3: Tiny) -> None:
    lora = {
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight": torch.zeros(4608, RANK),
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": torch.zeros(RANK, 1536),
    }
    name = put(host, "sd3-medium.safetensors", lora)
    with pytest.raises(LoraError, match="4608×1536 in the LoRA and 384×128 in the model"):
        host.call("InContextLoadLora", model=sd3.patcher(), lora_name=name)


def test_partly_matched_is_reported_with_counts(host: Any, sd3: Tiny) -> None:
    lora = make_lora(sd3, "kohya")
    count = len(sd3.names["kohya"])
    lora["lora_unet_joint_blocks_9_x_block_attn_qkv.lora_up.weight"] = torch.ones(8, RANK)
    lora["lora_unet_joint_blocks_9_x_block_attn_qkv.lora_down.weight"] = torch.ones(RANK, 8)
    lora["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = torch.ones(8, RANK)
    lora["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = torch.ones(RANK, 8)
    name = put(host, "partly.safetensors", lora, RECIPE)
    patched, *_, report = host.call("InContextLoadLora", model=sd3.patcher(), lora_name=name, strength=STRENGTH)
    assert f"{count} of {count + 1} modules matched" in report
    assert "Not matched: lora_unet_joint_blocks_9_x_block_attn_qkv." in report
    assert "1 modules are for a text encoder" in report
    by_hand = run(sd3.patcher(merged(sd3, "kohya", lora, STRENGTH)), "SD3")
    torch.testing.assert_close(run(patched, "SD3"), by_hand, atol=1e-4, rtol=1e-4)


def test_parts_that_this_model_lacks_are_not_called_matched(host: Any, sd3: Tiny) -> None:
    # ComfyUI's map of SD3 has the second attention of SD3.5 medium for every model
    lora = make_lora(sd3, "diffusers")
    lora["transformer.transformer_blocks.0.attn2.to_q.lora_B.weight"] = torch.ones(128, RANK)
    lora["transformer.transformer_blocks.0.attn2.to_q.lora_A.weight"] = torch.ones(RANK, 128)
    name = put(host, "medium.safetensors", lora, RECIPE)
    *_, report = host.call("InContextLoadLora", model=sd3.patcher(), lora_name=name)
    assert "Not matched: transformer.transformer_blocks.0.attn2.to_q." in report


def test_strength_zero_leaves_the_model(host: Any, sd3: Tiny, flux: Tiny) -> None:
    name = put(host, "for-flux.safetensors", make_lora(flux, "kohya"), RECIPE)
    model = sd3.patcher()
    same, recipe, *_, report = host.call("InContextLoadLora", model=model, lora_name=name, strength=0.0)
    assert same is model
    assert recipe == RECIPE
    assert "Strength 0" in report


def test_outputs_come_from_the_recipe(host: Any, sd3: Tiny) -> None:
    name = put(host, "rooms.safetensors", make_lora(sd3, "core"), RECIPE)
    _, recipe, layout, width, height, report = host.call("InContextLoadLora", model=sd3.patcher(), lora_name=name)
    assert (recipe, layout, width, height) == (RECIPE, RECIPE.layout, 128, 192)
    assert "Rooms, from the file itself" in report
    assert "[ROOMS] [SCENE-1] [SCENE-2] [SCENE-3]" in report


def test_published_loras_are_known_by_name(host: Any, sd3: Tiny) -> None:
    name = put(host, "film-storyboard.safetensors", make_lora(sd3, "kohya"))
    _, recipe, layout, width, height, _ = host.call(
        "InContextLoadLora", model=sd3.patcher(), lora_name=name, recipe_if_missing=RECIPE
    )
    assert recipe == tasks.recipe("film-storyboard")
    assert (len(layout), width, height) == (3, 1024, 1536)


def test_without_a_recipe_the_model_loads_and_the_rest_is_blocked_with_a_reason(host: Any, sd3: Tiny) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    name = put(host, "unknown.safetensors", make_lora(sd3, "core"))
    base = sd3.patcher()
    patched, *blocked, report = host.call("InContextLoadLora", model=base, lora_name=name)
    assert float((run(patched, "SD3") - run(base, "SD3")).abs().max()) > 0.05
    assert len(blocked) == 4
    for output in blocked:
        assert isinstance(output, ExecutionBlocker)
        assert "unknown.safetensors has no recipe" in output.message
    assert "Recipe: unknown" in report
    _, recipe, *_, report = host.call(
        "InContextLoadLora", model=sd3.patcher(), lora_name=name, recipe_if_missing=RECIPE
    )
    assert recipe == RECIPE
    assert "recipe if missing" in report


def test_comfyui_runs_what_needs_no_recipe_and_says_what_is_missing(host: Any, sd3: Tiny) -> None:
    import execution

    models = host.base / "models" / "diffusion_models"
    models.mkdir(parents=True, exist_ok=True)
    save_file(sd3.weights, str(models / "tiny.safetensors"))
    name = put(host, "unknown.safetensors", make_lora(sd3, "core"))
    host.node("PreviewAny")  # loads ComfyUI's extra nodes
    prompt = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "tiny.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "InContextLoadLora", "inputs": {"model": ["1", 0], "lora_name": name, "strength": 1.0}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["2", 5]}},
        "width": {"class_type": "PreviewAny", "inputs": {"source": ["2", 3]}},
        "model": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    host.sent()
    host.prompt_server.last_node_id = None
    executor = execution.PromptExecutor(host.prompt_server, cache_args={"lru": 0, "ram": 0, "ram_inactive": 0})
    wanted = ["report", "width", "model"]
    host.loop.run_until_complete(executor.execute_async(prompt, "prompt", {"client_id": "browser"}, wanted))
    errors = [data["exception_message"] for event, data in host.sent() if event == "execution_error"]
    assert executor.history_result["outputs"].keys() == {"report", "model"}
    assert len(errors) == 1
    assert "unknown.safetensors has no recipe" in errors[0]


def test_bad_files_are_refused(host: Any, sd3: Tiny) -> None:
    folder = loras_folder(host)
    put(host, "cut.safetensors", make_lora(sd3, "core"))
    content = (folder / "cut.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[:-100])
    (folder / "page.safetensors").write_bytes(b"<!DOCTYPE html>" + bytes(100))
    put(host, "model.safetensors", {"joint_blocks.0.weight": torch.ones(2, 2)}, RECIPE)
    for name, words in (("cut", "cut short"), ("page", "a web page"), ("model", "is not a LoRA")):
        with pytest.raises(LoraError, match=words):
            host.call("InContextLoadLora", model=sd3.patcher(), lora_name=f"{name}.safetensors")
    with pytest.raises(InContextError, match="There is no LoRA"):
        host.call("InContextLoadLora", model=sd3.patcher(), lora_name="nowhere.safetensors")


def test_only_safetensors_are_shown(host: Any) -> None:
    torch.save({}, loras_folder(host) / "pickle.pt")
    put(host, "shown.safetensors", {"a": torch.ones(1)})
    options = host.node("InContextLoadLora").INPUT_TYPES()["required"]["lora_name"][1]["options"]
    assert "shown.safetensors" in options
    assert "pickle.pt" not in options


def test_fingerprint_follows_the_file_and_what_lies_beside_it(host: Any, sd3: Tiny) -> None:
    fingerprint = host.node("InContextLoadLora").fingerprint_inputs
    name = put(host, "changing.safetensors", make_lora(sd3, "core"))
    stamps = [fingerprint(lora_name=name, strength=1.0, model=None)]
    assert fingerprint(lora_name=name, strength=1.0, model=None) == stamps[0]
    (loras_folder(host) / "changing.incontext.json").write_text(json.dumps(RECIPE.to_json()))
    stamps.append(fingerprint(lora_name=name))
    write_recipe(loras_folder(host) / name, RECIPE)
    stamps.append(fingerprint(lora_name=name))
    assert len(set(stamps)) == 3
    assert isinstance(fingerprint(lora_name=None), str)


def test_a_saved_lora_is_loaded_again_with_its_recipe(host: Any, sd3: Tiny) -> None:
    lora = make_lora(sd3, "core")
    (first,) = host.call("InContextSaveLora", lora=lora, recipe=RECIPE, name="trained/rooms")
    (second,) = host.call("InContextSaveLora", lora=lora, recipe=RECIPE, name="trained/rooms")
    assert [Path(first).as_posix(), Path(second).as_posix()] == [
        "trained/rooms.safetensors",
        "trained/rooms_00002.safetensors",
    ]
    path = host.base / "output" / "loras" / first
    loaded = load_file(str(path))
    assert all(torch.equal(loaded[key], value) for key, value in lora.items())
    assert read_recipe(path) == RECIPE
    assert first in host.node("InContextLoadLora").INPUT_TYPES()["required"]["lora_name"][1]["options"]
    ours, recipe, *_ = host.call("InContextLoadLora", model=sd3.patcher(), lora_name=first, strength=STRENGTH)
    assert recipe == RECIPE
    (cores,) = host.call("LoraLoaderModelOnly", model=sd3.patcher(), lora_name=first, strength_model=STRENGTH)
    torch.testing.assert_close(run(ours, "SD3"), run(cores, "SD3"))


def test_names_that_leave_the_folder_are_refused(host: Any) -> None:
    for name in ("../escaped", "/tmp/escaped", "a/../../escaped"):
        with pytest.raises(LoraError, match="cannot be the name"):
            host.call("InContextSaveLora", lora={"a": torch.ones(1)}, recipe=RECIPE, name=name)
    assert not list(host.base.rglob("escaped*"))


@pytest.mark.parametrize("node_id", ["InContextLoadLora", "InContextSaveLora", "InContextScoreSet"])
def test_every_input_and_output_is_explained(host: Any, node_id: str) -> None:
    schema = host.node(node_id).define_schema()
    assert schema.description
    for part in (*schema.inputs, *schema.outputs):
        assert part.tooltip, part
