"""All templates run in a real ComfyUI."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incontext_lora.demo import sets, world
from incontext_lora.demo.server import ComfyServer, ExecutionFailed, ExecutionInterrupted, PromptRefused
from incontext_lora.demo.workflow import Prompt, find_node, load, set_value, to_prompt
from incontext_lora.incontext.captions import joint as captions
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.comfy_versions import leaves_out_steps
from incontext_lora.tests.workflow_api import (
    NAMES,
    PACK,
    TRAIN,
    Api,
    choices,
    declared_files,
    decode,
    specs,
    with_stand_ins,
    write_storyboard_stand_in,
)
from incontext_lora.training.runs.run_folder import Run


@pytest.fixture(scope="module")
def api(server: ComfyServer, demo_models: Path | None) -> Api:
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set; `python run.py test` writes the demo models and sets it.")
    sets.write_inputs(server.base / "input")
    write_storyboard_stand_in(server.base / "models" / "loras")
    return Api(server, server.object_info())


@pytest.mark.parametrize("name", NAMES)
def test_no_node_is_missing_and_no_input_is_red(api: Api, name: str) -> None:
    workflow = load(name)
    prompt = to_prompt(workflow, api.info)
    to_download = declared_files(workflow)
    for node_id, node in prompt.items():
        info = api.info[node["class_type"]]
        missing = [key for key in info["input"].get("required", {}) if key not in node["inputs"]]
        assert not missing, f"{name}: node {node_id} ({node['class_type']}) lacks {missing}"
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                given = api.info[prompt[value[0]]["class_type"]]["output"][value[1]]
                wanted = specs(info)[key][0]
                assert wanted in (given, "*"), (
                    f"{name}: {given} is connected to {key} of {node_id}, which takes {wanted}"
                )
                continue
            options = choices(specs(info)[key])
            if options is not None and value not in to_download:
                assert value in options, f"{name}: {key} of node {node_id} ({node['class_type']}) is {value!r}"


def test_workflows_are_offered_as_templates_with_thumbnails(api: Api) -> None:
    listed = api.server.get_json("/workflow_templates")
    assert sorted(listed[PACK]) == NAMES
    assert {"quickstart", "reference-panel", "storyboard-flux", "build-dataset", "train-in-host"} <= set(NAMES)
    for name in NAMES:
        address = f"{api.server.url}/api/workflow_templates/{PACK}/{name}"
        served = json.loads(fetch(f"{address}.json"))
        assert served == load(name)
        height, width, _ = decode(fetch(f"{address}.jpg")).shape
        assert min(height, width) >= 200, f"the thumbnail of {name} is {width}×{height}"


def fetch(address: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never ask a proxy for loopback
    with opener.open(address, timeout=60) as answer:
        return answer.read()


def test_every_input_and_output_of_our_nodes_is_explained(api: Api) -> None:
    ours = {name: info for name, info in api.info.items() if info["python_module"].endswith(PACK)}
    assert len(ours) >= 11
    for name, info in ours.items():
        assert name.startswith("InContext")
        assert info["description"], name
        for key, spec in specs(info).items():
            assert spec[1:], f"{name}.{key} has no tooltip"
            assert spec[1].get("tooltip"), f"{name}.{key} has no tooltip"
        explained = [bool(tooltip) for tooltip in info["output_tooltips"]]
        assert explained == [True] * len(info["output"]), f"{name} has outputs without a tooltip"


def counts_up(steps: Sequence[int], total: int, comfyui: Path) -> bool:
    """Whether a progress bar showed every step from 1 to its total, or those that this ComfyUI does not leave out."""
    if leaves_out_steps(comfyui):
        return list(steps) == sorted(set(steps)) and (steps[0], steps[-1]) == (1, total)
    return list(steps) == list(range(1, total + 1))


def test_quickstart_saves_the_set_and_its_panels(api: Api, comfyui: Path) -> None:
    prompt = api.prompt("quickstart")
    # values that no other test has: ComfyUI does not execute again what it has just executed
    set_value(prompt, "KSampler", "seed", 1001)
    set_value(prompt, "InContextLoadLora", "strength", 0.95)
    ran = api.run(prompt)
    (canvas,) = api.pictures(ran, "Save whole set")
    panels = api.pictures(ran, "Save panels")
    assert canvas.shape == (world.PANEL, world.PANELS * world.PANEL, 3)
    assert [panel.shape for panel in panels] == [(world.PANEL, world.PANEL, 3)] * world.PANELS
    assert np.array_equal(np.concatenate(panels, axis=1), canvas)
    assert canvas.std() > 10, "an empty picture was saved"
    assert "clip_l" in ran.text("Caption report")
    steps = [data["value"] for data in ran.of("progress", "KSampler")]
    assert counts_up(steps, prompt[find_node(prompt, "KSampler")]["inputs"]["steps"], comfyui)
    (told,) = ran.of("progress_text", "InContextLoadLora")
    assert "modules matched" in told["text"]


def test_quickstart_follows_its_inputs_and_its_seed(api: Api) -> None:
    def painted(**changes: Any) -> np.ndarray:
        prompt = api.prompt("quickstart")
        set_value(prompt, "KSampler", "steps", 4)
        for place, value in changes.items():
            node, name = place.split("__")
            set_value(prompt, node, name, value)
        ran = api.run(prompt)
        assert ran.of("progress", "KSampler"), "nothing was sampled"
        (picture,) = api.pictures(ran, "Save whole set")
        return picture

    first = painted()
    assert not np.array_equal(painted(KSampler__seed=1002), first)
    assert not np.array_equal(painted(InContextJointCaption__panel_2="a cross"), first)
    assert not np.array_equal(painted(InContextLoadLora__strength=0.0), first)
    assert np.array_equal(painted(), first)


def test_reference_panel_keeps_the_given_panel_and_saves_the_others(api: Api) -> None:
    ran = api.run(api.prompt("reference-panel"))
    (canvas,) = api.pictures(ran, "Save whole set")
    painted = api.pictures(ran, "Save painted panels")
    assert canvas.shape == (world.PANEL, world.PANELS * world.PANEL, 3)
    assert len(painted) == world.PANELS - 1
    assert np.array_equal(np.concatenate(painted, axis=1), canvas[:, world.PANEL :])
    # the given panel has been through the autoencoder, and through nothing else
    given = world.read_panel(canvas[:, : world.PANEL])
    assert (given.shape, given.colour) == ("star", "gold")


def test_storyboard_flux_runs_on_stand_ins_for_its_large_models(api: Api, comfyui: Path) -> None:
    """FLUX.1-dev cannot be had here: its loaders load the demo's models, its LoRA is `write_storyboard_stand_in`."""
    prompt = with_stand_ins(api.prompt("storyboard-flux"))
    set_value(prompt, "RandomNoise", "noise_seed", 1003)
    ran = api.run(prompt)
    (canvas,) = api.pictures(ran, "Save whole set")
    shots = api.pictures(ran, "Save panels")
    assert canvas.shape == (192, 128, 3)
    assert [shot.shape for shot in shots] == [(64, 128, 3)] * 3
    assert np.array_equal(np.concatenate(shots, axis=0), canvas)
    steps = [data["value"] for data in ran.of("progress", "SamplerCustomAdvanced")]
    assert counts_up(steps, 20, comfyui)


@pytest.mark.parametrize("task", [recipe.name for recipe in tasks.OFFICIAL])
def test_each_published_task_has_a_template_with_its_settings_and_a_caption_in_its_style(api: Api, task: str) -> None:
    name = "storyboard-flux" if task == "film-storyboard" else f"{task}-flux"
    lora_file = f"{task}.safetensors"
    prompt = api.prompt(name)
    settings = {
        "UNETLoader": {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"},
        "DualCLIPLoader": {"type": "flux"},
        "VAELoader": {"vae_name": "ae.safetensors"},
        "InContextLoadLora": {"lora_name": lora_file, "strength": 1.0},
        "FluxGuidance": {"guidance": 3.5},
        "ModelSamplingFlux": {"max_shift": 1.15, "base_shift": 0.5},
        "BasicScheduler": {"scheduler": "simple", "steps": 20, "denoise": 1.0},
        "KSamplerSelect": {"sampler_name": "euler"},
        "EmptySD3LatentImage": {"batch_size": 1},
    }
    for node, expected in settings.items():
        inputs = prompt[find_node(prompt, node)]["inputs"]
        assert {key: inputs[key] for key in expected} == expected
    lora = find_node(prompt, "InContextLoadLora")
    for node in ("EmptySD3LatentImage", "ModelSamplingFlux"):
        inputs = prompt[find_node(prompt, node)]["inputs"]
        assert (inputs["width"], inputs["height"]) == ([lora, 3], [lora, 4])
    wanted = {"flux1-dev.safetensors", "t5xxl_fp16.safetensors", "clip_l.safetensors", "ae.safetensors"}
    assert declared_files(load(name)) == {*wanted, lora_file}
    written = prompt[find_node(prompt, "InContextJointCaption")]["inputs"]
    recipe = tasks.recipe(task)
    texts = [written[f"panel_{number}"] for number in range(1, len(recipe.layout) + 1)]
    caption = captions.build(recipe, written["summary"], texts, names=written["names"].split(","))
    assert not captions.problems(recipe, caption)
    assert caption.startswith(f"{recipe.prefix} {recipe.opening}".strip())


def test_build_dataset_makes_all_sets(api: Api) -> None:
    ran = api.run(api.prompt("build-dataset"))
    assert f"{sets.SETS} of {sets.SETS} sets" in ran.text("Dataset report")
    (sheet,) = api.pictures(ran, "Contact sheet")
    assert sheet.std() > 10, "the contact sheet is empty"
    dataset = Dataset.load(api.server.base / "output" / "incontext_datasets" / sets.FOLDER)
    assert len(dataset) == sets.SETS
    assert (dataset.layout.width, dataset.layout.height) == (192, 64)
    drawn = next(world.relation_sets(1, sets.SEED))
    expected = world.caption(drawn, prefix=world.PREFIX)
    assert expected in {dataset.text(item).read_text(encoding="utf-8").strip() for item in dataset.items}


def test_an_error_in_a_node_reaches_the_client_readable(api: Api) -> None:
    prompt = api.prompt("build-dataset")
    set_value(prompt, "InContextBuildDataset", "folder", "no-such-sets")
    with pytest.raises(ExecutionFailed) as failure:
        api.run(prompt)
    assert failure.value.node_type == "InContextBuildDataset"
    assert "no-such-sets" in failure.value.message
    assert "Write its whole path" in failure.value.message


def test_a_value_out_of_range_is_refused_before_anything_runs(api: Api) -> None:
    prompt = api.prompt("train-in-host")
    set_value(prompt, TRAIN, "steps", 0)
    with pytest.raises(PromptRefused, match=rf"(?s){TRAIN}.*steps"):
        api.run(prompt)


def short_training(api: Api, name: str, **changes: Any) -> Prompt:
    """The workflow on six of the sets, so that a test takes seconds."""
    folder = f"{sets.FOLDER}-few"
    if not (api.server.base / "input" / folder).exists():
        sets.write_sets(api.server.base / "input" / folder, 6)
    prompt = api.prompt("train-in-host")
    set_value(prompt, "InContextBuildDataset", "folder", folder)
    for key, value in {"name": name, "batch_size": 2, **changes}.items():
        set_value(prompt, TRAIN, key, value)
    return prompt


def test_train_in_host_leaves_a_whole_run_and_a_lora_that_paints(api: Api, comfyui: Path) -> None:
    output = api.server.base / "output"
    ran = api.run(short_training(api, "e2e-story", steps=4, save_every=2, sample_every=2))
    assert ran.text("Name of the LoRA") == "e2e-story.safetensors"

    run = Run(output / "incontext_runs" / "e2e-story")
    assert run.state == "finished"
    assert len(run.losses()) == 4
    assert [path.name for path in run.checkpoints] == [f"e2e-story-step{n:06d}.safetensors" for n in (2, 4)]
    assert [path.name for path in run.samples] == ["step000002.png", "step000004.png"]
    assert run.about["settings"]["steps"] == 4
    assert (run.folder / "log.txt").stat().st_size

    (sample,) = api.pictures(ran, "Last sample")
    kept = decode(run.samples[-1].read_bytes())
    # the run rounds where Preview Image cuts off
    assert np.abs(sample.astype(int) - kept).max() <= 1
    (graph,) = api.pictures(ran, "LossGraphNode")
    assert min(graph.shape[:2]) >= 200

    recipe = read_recipe(output / "loras" / "e2e-story.safetensors")
    assert recipe is not None
    assert (recipe.prefix, len(recipe.layout)) == (world.PREFIX, world.PANELS)
    assert recipe.references.clean

    steps = [data["value"] for data in ran.of("progress", TRAIN) if data["max"] == 4]
    assert counts_up(steps, 4, comfyui)
    lines = [data["text"] for data in ran.of("progress_text", TRAIN)]
    assert any(line.startswith("step 4 of 4") for line in lines)
    assert lines[-1].startswith("finished: e2e-story.safetensors")

    prompt = api.prompt("quickstart")
    set_value(prompt, "InContextLoadLora", "lora_name", "e2e-story.safetensors")
    set_value(prompt, "KSampler", "steps", 2)
    assert len(api.pictures(api.run(prompt), "Save panels")) == world.PANELS


def test_the_bench_of_sd_scripts_trains_as_the_template_does(api: Api) -> None:
    from incontext_lora.bench.sd_scripts_demo import SETTINGS

    prompt = api.prompt("train-in-host")
    inputs = prompt[find_node(prompt, TRAIN)]["inputs"]
    names = (
        "steps",
        "batch_size",
        "learning_rate",
        "warmup_steps",
        "rank",
        "alpha",
        "caption_dropout",
        "reference_share",
    )
    assert {name: getattr(SETTINGS, name) for name in names} == {name: inputs[name] for name in names}
    assert SETTINGS.schedule.value == inputs["schedule"]


def test_cancelling_a_training_keeps_its_last_checkpoint(api: Api) -> None:
    prompt = short_training(api, "e2e-cancelled", steps=5_000, save_every=2, sample_every=0)
    train = find_node(prompt, TRAIN)
    reached: list[int] = []

    def cancel_from_step_three(event: str, data: dict[str, Any]) -> None:
        if event == "progress" and data.get("node") == train and data["max"] == 5_000:
            if data["value"] >= 3 and all(step < 3 for step in reached):
                api.server.interrupt()
            reached.append(data["value"])

    with pytest.raises(ExecutionInterrupted):
        api.server.run(prompt, cancel_from_step_three)
    assert 3 <= reached[-1] < 5_000
    run = Run(api.server.base / "output" / "incontext_runs" / "e2e-cancelled")
    assert run.state == "cancelled"
    assert len(run.losses()) >= 3
    assert run.checkpoints
    assert read_recipe(run.checkpoints[-1]) is not None

    # and the server goes on working
    assert api.run(api.prompt("build-dataset")).text("Dataset report")
