"""Templates run by a real server, as the interface would queue them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from incontext_lora.demo import models
from incontext_lora.demo.server import ComfyServer
from incontext_lora.demo.workflow import WORKFLOWS, Prompt, find_node, load, set_value, to_prompt
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.save import save_new
from incontext_lora.incontext.panels import arrange
from PIL import Image

PACK = "incontext-lora"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
STORYBOARD_LORA = "film-storyboard.safetensors"
TRAIN = "InContextTrainLoraInHost"


@dataclass
class Ran:
    """What the server told of a prompt while it ran, and what it saved."""

    prompt: Prompt
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def of(self, event: str, node: str) -> list[dict[str, Any]]:
        """The data of all such events of a node, in order."""
        node_id = find_node(self.prompt, node)
        return [data for name, data in self.events if name == event and data.get("node") == node_id]

    def text(self, node: str) -> str:
        return self.outputs[find_node(self.prompt, node)]["text"][0]


@dataclass(frozen=True)
class Api:
    """The server with everything in its input folder that the workflows ask for."""

    server: ComfyServer
    info: Mapping[str, Any]

    def prompt(self, name: str) -> Prompt:
        return to_prompt(load(name), self.info)

    def run(self, prompt: Prompt) -> Ran:
        ran = Ran(prompt)
        history = self.server.run(prompt, lambda name, data: ran.events.append((name, data)))
        return replace(ran, outputs=history["outputs"])

    def pictures(self, ran: Ran, node: str) -> list[np.ndarray]:
        """What a node saved, uint8 [H, W, 3] each."""
        files = ran.outputs[find_node(ran.prompt, node)]["images"]
        return [decode(self.server.fetch_image(file["filename"], file["subfolder"], file["type"])) for file in files]


def decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def write_storyboard_stand_in(folder: Path) -> None:
    """A stand-in for the published film-storyboard LoRA, which is made for a model of 24 GB.

    It fits the demo model and changes it slightly. Its recipe is the published one on a canvas of an eighth of the size.
    """
    generator = torch.Generator().manual_seed(1)
    module = "diffusion_model.joint_blocks.0.x_block.attn.proj"
    tensors = {
        f"{module}.lora_down.weight": 0.1 * torch.randn(2, models.WIDTH, generator=generator),
        f"{module}.lora_up.weight": 0.1 * torch.randn(models.WIDTH, 2, generator=generator),
        f"{module}.alpha": torch.tensor(2.0),
    }
    published = tasks.recipe("film-storyboard")
    small = arrange.rows(published.layout.width // 8, published.layout.height // 8, len(published.layout))
    save_new(folder, STORYBOARD_LORA.removesuffix(".safetensors"), tensors, published.with_layout(small))


def with_stand_ins(prompt: Prompt) -> Prompt:
    """storyboard-flux on the demo's model instead of FLUX.1-dev; every node but the loaders is as bundled."""
    set_value(prompt, "UNETLoader", "unet_name", models.TRANSFORMER_FILE)
    set_value(prompt, "VAELoader", "vae_name", models.AUTOENCODER_FILE)
    text_encoder = {"clip_name": models.TEXT_ENCODER_FILE, "type": "sd3", "device": "default"}
    prompt[find_node(prompt, "DualCLIPLoader")] = {"class_type": "CLIPLoader", "inputs": text_encoder}
    return prompt


def declared_files(workflow: Mapping[str, Any]) -> set[str]:
    """Model files that a workflow says where to download."""
    return {model["name"] for node in workflow["nodes"] for model in node["properties"].get("models", [])}


def specs(info: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def choices(spec: Sequence[Any]) -> list[Any] | None:
    if isinstance(spec[0], list):
        return spec[0]
    return spec[1].get("options") if spec[0] == "COMBO" else None
