"""Workflows with references in the real ComfyUI server: pixels that were given come back to the bit."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incontext_lora.demo import models, sets, world
from incontext_lora.demo.server import ComfyServer, ExecutionFailed
from incontext_lora.demo.workflow import Prompt, find_node, load, set_value, to_prompt
from PIL import Image

PHOTO, EMPTY = "references-photo.png", "references-unmasked.png"
PHOTO_SIZE = (301, 223)
HOLE = (slice(60, 130), slice(180, 260))
DEMO_LOADERS: dict[str, dict[str, Any]] = {
    "UNETLoader": {"unet_name": models.TRANSFORMER_FILE, "weight_dtype": "default"},
    "VAELoader": {"vae_name": models.AUTOENCODER_FILE},
}
TEXT_ENCODER = {"clip_name": models.TEXT_ENCODER_FILE, "type": "sd3", "device": "default"}
SMALL = {"kind": "columns", "width": 128, "height": 64, "rows": 1, "columns": 2, "columns_per_row": "2", "gutter": 0}


@dataclass(frozen=True)
class Host:
    server: ComfyServer
    info: Mapping[str, Any]

    def prompt(self, name: str) -> Prompt:
        return to_prompt(load(name), self.info)

    def run(self, prompt: Prompt) -> dict[str, list[np.ndarray]]:
        """Title → pictures, for every node that saved any."""
        outputs = self.server.run(prompt, lambda *_: None)["outputs"]
        return {
            prompt[node]["_meta"]["title"]: [self._picture(file) for file in output["images"]]
            for node, output in outputs.items()
            if "images" in output
        }

    def _picture(self, file: Mapping[str, str]) -> np.ndarray:
        data = self.server.fetch_image(file["filename"], file["subfolder"], file["type"])
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def host_server(server: ComfyServer, demo_models: Path | None) -> Host:
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set; `python run.py test` writes the demo models and sets it.")
    folder = server.base / "input"
    sets.write_inputs(folder)
    photo, alpha = draw_photo()
    Image.fromarray(np.dstack([photo, alpha])).save(folder / PHOTO)
    Image.fromarray(photo).save(folder / EMPTY)
    return Host(server, server.object_info())


def draw_photo() -> tuple[np.ndarray, np.ndarray]:
    """A photo, and its transparency as the mask editor leaves it: what is to be painted is transparent."""
    rng = np.random.default_rng(3)
    photo = rng.integers(0, 256, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3), dtype=np.uint8)
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[HOLE] = 0
    return photo, alpha


def on_demo_models(prompt: Prompt) -> Prompt:
    """The workflow on the demo's model and two panels of 64 px; all between loaders and saving is as bundled."""
    for node, inputs in DEMO_LOADERS.items():
        for name, value in inputs.items():
            set_value(prompt, node, name, value)
    prompt[find_node(prompt, "DualCLIPLoader")] = {"class_type": "CLIPLoader", "inputs": TEXT_ENCODER}
    set_value(prompt, "InContextLoadLora", "lora_name", models.LORA_FILE)
    set_value(prompt, "KSampler", "steps", 3)
    lora = find_node(prompt, "InContextLoadLora")
    prompt["layout"] = {
        "class_type": "InContextLayout",
        "inputs": {**SMALL, "panel_step": "16", "boxes": ""},
        "_meta": {"title": "Small panels"},
    }
    slots = {1: 0, 2: 1}  # the LoRA's recipe and layout → the small layout's
    for entry in prompt.values():
        for name, value in entry["inputs"].items():
            if isinstance(value, list) and value[0] == lora and value[1] in slots:
                entry["inputs"][name] = ["layout", slots[value[1]]]
    return prompt


def test_repaint_panel_leaves_the_other_panels_to_the_bit(host_server: Host) -> None:
    saved = host_server.run(host_server.prompt("repaint-panel"))
    (before,), (after,), (painted,) = saved["Save first set"], saved["Save whole set"], saved["Save repainted panel"]
    assert before.shape == after.shape == (world.PANEL, world.PANELS * world.PANEL, 3)
    side = world.PANEL
    assert np.array_equal(before[:, :side], after[:, :side])
    assert np.array_equal(before[:, 2 * side :], after[:, 2 * side :])
    assert np.array_equal(after[:, side : 2 * side], painted)
    assert not np.array_equal(before[:, side : 2 * side], painted)


def test_virtual_try_on_returns_the_photo_in_its_size_and_changes_only_the_mask(host_server: Host) -> None:
    """FLUX Fill cannot be had here: the demo's model paints in its place."""
    prompt = on_demo_models(host_server.prompt("virtual-try-on"))
    set_value(prompt, "Person", "image", PHOTO)
    set_value(prompt, "InContextContextCrop", "grow", 0)
    saved = host_server.run(prompt)
    (photo,), (canvas,) = saved["Save finished photo"], saved["Save canvas"]
    original, _ = draw_photo()
    assert canvas.shape == (64, 128, 3)
    assert photo.shape == original.shape
    outside = np.ones(original.shape[:2], bool)
    outside[HOLE] = False
    assert np.array_equal(photo[outside], original[outside])
    assert (photo[HOLE] != original[HOLE]).mean() > 0.5


def test_an_unmasked_photo_is_refused_in_plain_words(host_server: Host) -> None:
    prompt = on_demo_models(host_server.prompt("virtual-try-on"))
    set_value(prompt, "Person", "image", EMPTY)
    with pytest.raises(ExecutionFailed) as failure:
        host_server.run(prompt)
    assert failure.value.node_type == "InContextContextCrop"
    assert "Paint on the picture in the mask editor" in failure.value.message


@pytest.mark.parametrize("name", ["logo-on-products", "photo-to-illustration"])
def test_a_given_picture_comes_back_to_the_bit(host_server: Host, name: str) -> None:
    prompt = on_demo_models(host_server.prompt(name))
    if name == "logo-on-products":
        set_value(prompt, "InContextReferenceAttention", "strength", 1.3)
    saved = host_server.run(prompt)
    (whole,), painted = saved["Save whole set"], saved["Save painted panels"]
    with Image.open(host_server.server.base / "input" / sets.REFERENCE_FILE) as file:
        given = np.asarray(file.convert("RGB"))
    assert given.shape == (64, 64, 3)
    assert np.array_equal(whole[:, :64], given)
    assert [picture.shape for picture in painted] == [(64, 64, 3)]


def test_a_picture_of_any_size_is_repainted_and_keeps_its_size(host_server: Host) -> None:
    """A page whose sides no autoencoder takes: its panels found, one painted, the others as they were to the bit."""
    rng = np.random.default_rng(5)
    page = np.empty((100, 203, 3), np.uint8)
    page[:, :99], page[:, 99:] = (200, 80, 50), (30, 80, 150)
    page += rng.integers(0, 6, page.shape, np.uint8)
    Image.fromarray(page).save(host_server.server.base / "input" / "references-page.png")

    def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}

    sampling = {"seed": 3, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    conditioned = {"model": ["condition", 0], "latent_image": ["condition", 1]}
    prompt = {
        **{name: node(name, **DEMO_LOADERS[name]) for name in DEMO_LOADERS},
        "clip": node("CLIPLoader", **TEXT_ENCODER),
        "text": node("CLIPTextEncode", clip=["clip", 0], text="two panels"),
        "page": node("LoadImage", image="references-page.png"),
        "expected": node("InContextLayout", **SMALL, panel_step="16", boxes=""),
        "found": node("InContextFindPanels", image=["page", 0], expected=["expected", 1], tolerance=0.2, step=1),
        "open": node("InContextRepaintPanels", image=["page", 0], layout=["found", 0], panels="2", fill="gray"),
        "condition": node(
            "InContextConditionPanels",
            model=["UNETLoader", 0], vae=["VAELoader", 0], canvas=["open", 0], mask=["open", 1], layout=["open", 2],
            positive=["text", 0], given_panels="keep clean",
        ),
        "sampler": node(
            "KSampler", **sampling, **conditioned, positive=["condition", 2], negative=["condition", 3]
        ),
        "decoded": node("VAEDecode", vae=["VAELoader", 0], samples=["sampler", 0]),
        "kept": node(
            "InContextKeepGiven",
            canvas=["open", 0], painted=["decoded", 0], mask=["open", 1], feather=0, colour_match="off",
        ),
        "save": node("SaveImage", images=["kept", 0], filename_prefix="page"),
    }  # fmt: skip
    (kept,) = host_server.run(prompt)["SaveImage"]
    assert kept.shape == page.shape
    assert np.array_equal(kept[:, :99], page[:, :99])
    assert (kept[:, 99:] != page[:, 99:]).mean() > 0.9


def test_finishing_enlarges_every_panel_and_joins_the_set(host_server: Host) -> None:
    prompt = host_server.prompt("finish-panels")
    for node, inputs in DEMO_LOADERS.items():
        for key, value in inputs.items():
            set_value(prompt, node, key, value)
    prompt[find_node(prompt, "DualCLIPLoader")] = {"class_type": "CLIPLoader", "inputs": TEXT_ENCODER}
    drawn = next(world.relation_sets(1, 5))
    picture = np.concatenate([world.draw_panel(panel) for panel in drawn.panels], axis=1)
    Image.fromarray(picture).save(host_server.server.base / "input" / "references-set.png")
    set_value(prompt, "Finished set", "image", "references-set.png")
    set_value(prompt, "KSampler", "steps", 4)
    saved = host_server.run(prompt)
    assert [panel.shape for panel in saved["Save panels"]] == [(128, 128, 3)] * 3
    (whole,) = saved["Save whole set"]
    assert whole.shape == (128, 384, 3)
    assert np.array_equal(np.concatenate(saved["Save panels"], axis=1), whole)


# workflow → node → inputs: the settings that the LoRAs' authors publish
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "virtual-try-on": {
        "UNETLoader": {"unet_name": "flux1-fill-dev.safetensors"},
        "InContextTask": {"task": "cat-vton"},
        "InContextLoadLora": {"strength": 1.0},
        "FluxGuidance": {"guidance": 30.0},
        "KSampler": {"steps": 30, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
    },
    "object-replacement": {
        "UNETLoader": {"unet_name": "flux1-fill-dev.safetensors"},
        "FluxGuidance": {"guidance": 50.0},
        "CLIPVisionEncode": {"crop": "none"},
        "StyleModelApply": {"strength": 1.0, "strength_type": "multiply"},
        "InContextConditionPanels": {"noise_mask": False},
        "DifferentialDiffusion": {"strength": 1.0},
        "KSampler": {"steps": 28, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
    },
    "ace-plus-portrait": {
        "FluxGuidance": {"guidance": 50.0},
        "CLIPVisionEncode": {"crop": "none"},
        "StyleModelApply": {"strength": 0.2, "strength_type": "attn_bias"},
        "InContextConditionPanels": {"noise_mask": False},
        "KSampler": {"steps": 28, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
    },
    "ic-edit-instruction": {
        "InContextTask": {"task": "ic-edit"},
        "FluxGuidance": {"guidance": 50.0},
        "KSampler": {"steps": 28, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0},
    },
    "visual-cloze-grid": {
        "InContextTask": {"task": "visual-cloze"},
        "FluxGuidance": {"guidance": 30.0},
        "KSampler": {"steps": 30, "cfg": 1.0, "denoise": 1.0},
    },
    "character-storyboard": {
        "UNETLoader": {"unet_name": "flux1-dev.safetensors"},
        "InContextLoadLora": {"lora_name": "film-storyboard.safetensors", "strength": 1.0},
        "FluxGuidance": {"guidance": 3.5},
        "KSampler": {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0},
    },
    "kontext-panels": {"InContextConditionPanels": {"model_kind": "edit model"}, "FluxGuidance": {"guidance": 2.5}},
    "qwen-edit-panels": {
        "InContextConditionPanels": {"model_kind": "edit model"},
        "CLIPLoader": {"type": "qwen_image"},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_workflows_have_the_published_settings(host_server: Host, name: str) -> None:
    prompt = host_server.prompt(name)
    for node, expected in PUBLISHED[name].items():
        inputs = prompt[find_node(prompt, node)]["inputs"]
        assert {key: inputs[key] for key in expected} == expected, node


def test_ic_edit_gives_the_picture_twice_and_masks_the_right_one(host_server: Host) -> None:
    prompt = on_demo_models(host_server.prompt("ic-edit-instruction"))
    saved = host_server.run(prompt)
    (whole,) = saved["Save whole set"]
    with Image.open(host_server.server.base / "input" / sets.REFERENCE_FILE) as file:
        given = np.asarray(file.convert("RGB"))
    assert np.array_equal(whole[:, :64], given)
    assert not np.array_equal(whole[:, 64:], given)
    condition = prompt[find_node(prompt, "InContextConditionPanels")]["inputs"]
    assert condition["canvas"][0] == find_node(prompt, "The picture twice")
    assert condition["mask"][0] == find_node(prompt, "Which panel is painted")
