"""The demo's three model files, in the form that ComfyUI's own loaders take.

The repository stores what was learned and nothing else: the transformer in 8 bits per weight (one scale per row) without
the columns that only ever meet zeros, and the autoencoder in half precision. `write_models` expands them and adds the
text encoder, which is not learned: seeded random embeddings in the shape of CLIP-L, whose layers pass their input
on unchanged. ComfyUI reads the results with *Load Diffusion Model*, *Load CLIP* (type ``sd3``) and *Load VAE*.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).parent / "weights"
TRANSFORMER_FILE = "incontext-demo-transformer.safetensors"
TEXT_ENCODER_FILE = "incontext-demo-text-encoder.safetensors"
AUTOENCODER_FILE = "incontext-demo-autoencoder.safetensors"
LORA_FILE = "incontext-demo.safetensors"
LORA_FILES = {  # by the task's name
    "colour": LORA_FILE,
    "growth": "incontext-demo-growth.safetensors",
    "rise": "incontext-demo-rise.safetensors",
}

DEPTH = 3
WIDTH = 64 * DEPTH  # ComfyUI derives an SD3 transformer's depth and heads from its width
LATENT_CHANNELS = 16
COLOUR_CHANNELS = 3  # the first ones; the autoencoder ties them to the mean colour of their pixels
TEXT_WIDTH = 768  # CLIP-L; the sd3 text encoder pads it with zeros to CONTEXT_WIDTH
CONTEXT_WIDTH = 4096
POOLED_WIDTH = 2048
POSITIONS = 32  # side of the square of position embeddings, in patches

TRANSFORMER_CONFIG = {
    "patch_size": 2,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "depth": DEPTH,
    "adm_in_channels": POOLED_WIDTH,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": CONTEXT_WIDTH, "out_features": WIDTH},
    },
    "num_patches": POSITIONS**2,
    "pos_embed_max_size": POSITIONS,
    "qk_norm": "rms",
    "input_size": None,
}

# stored narrower than ComfyUI wants them: the rest of their columns only ever meet zeros
_NARROW = {"context_embedder.weight": (TEXT_WIDTH, CONTEXT_WIDTH), "y_embedder.mlp.0.weight": (0, POOLED_WIDTH)}
_POSITION_KEY = "pos_embed"


def position_embedding() -> torch.Tensor:
    """float32 [1, POSITIONS², WIDTH]: SD3's fixed sine-cosine embedding of rows and columns."""
    columns, rows = np.meshgrid(np.arange(POSITIONS, dtype=np.float64), np.arange(POSITIONS, dtype=np.float64))
    frequencies = 1.0 / 10000 ** (np.arange(WIDTH // 4) / (WIDTH / 4))
    halves = []
    for axis in (columns, rows):
        angles = axis.reshape(-1, 1) * frequencies
        halves += [np.sin(angles), np.cos(angles)]
    return torch.from_numpy(np.concatenate(halves, axis=1)).float()[None]


def pack(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Full transformer weights → what the repository stores (int8 rows with one scale each; vectors in half)."""
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name == _POSITION_KEY:
            continue
        kept = tensor[:, : _NARROW[name][0]] if name in _NARROW else tensor
        if kept.numel() == 0:
            continue
        if kept.ndim < 2:
            packed[name] = kept.half()
            continue
        rows = kept.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-8) / 127
        packed[name] = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8).reshape(kept.shape)
        packed[name + ".scale"] = scale
    return packed


def unpack(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, in float16."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(".scale"):
            continue
        if tensor.dtype == torch.int8:
            scale = packed[name + ".scale"].reshape(-1, *[1] * (tensor.ndim - 1))
            tensor = tensor.float() * scale
        if name in _NARROW:
            tensor = torch.nn.functional.pad(tensor, (0, _NARROW[name][1] - tensor.shape[1]))
        state[name] = tensor.half().contiguous()
    state["y_embedder.mlp.0.weight"] = torch.zeros(WIDTH, POOLED_WIDTH, dtype=torch.float16)
    state[_POSITION_KEY] = position_embedding().half()
    return state


def text_embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded token [49408, 768] and position [77, 768] embeddings, float16."""
    rng = np.random.Generator(np.random.PCG64(20240701))  # numpy's streams are the same on every machine
    tokens = rng.standard_normal((49408, TEXT_WIDTH), dtype=np.float32)
    positions = 0.5 * rng.standard_normal((77, TEXT_WIDTH), dtype=np.float32)
    return torch.from_numpy(tokens).half(), torch.from_numpy(positions).half()


def text_encoder() -> dict[str, torch.Tensor]:
    """A CLIP-L state dict whose layers add nothing to the embeddings and whose pooled output is zero."""
    tokens, positions = text_embeddings()
    state = {
        "text_model.embeddings.token_embedding.weight": tokens,
        "text_model.embeddings.position_embedding.weight": positions,
        "text_model.final_layer_norm.weight": torch.zeros(TEXT_WIDTH),
        "text_model.final_layer_norm.bias": torch.zeros(TEXT_WIDTH),
        "text_projection.weight": torch.eye(TEXT_WIDTH),
    }
    for layer in range(12):
        prefix = f"text_model.encoder.layers.{layer}."
        for part, (rows, columns) in {
            **{f"self_attn.{name}_proj": (TEXT_WIDTH, TEXT_WIDTH) for name in ("q", "k", "v", "out")},
            "mlp.fc1": (4 * TEXT_WIDTH, TEXT_WIDTH),
            "mlp.fc2": (TEXT_WIDTH, 4 * TEXT_WIDTH),
        }.items():
            state[prefix + part + ".weight"] = torch.zeros(rows, columns)
            state[prefix + part + ".bias"] = torch.zeros(rows)
        for norm in ("layer_norm1", "layer_norm2"):
            state[prefix + norm + ".weight"] = torch.ones(TEXT_WIDTH)
            state[prefix + norm + ".bias"] = torch.zeros(TEXT_WIDTH)
    return {name: tensor.half().contiguous() for name, tensor in state.items()}


def write_models(models: Path) -> None:
    """Write the demo's files below a ComfyUI ``models`` folder; each appears whole or not at all."""
    files = {
        f"diffusion_models/{TRANSFORMER_FILE}": lambda: unpack(load_file(WEIGHTS / "transformer.safetensors")),
        f"text_encoders/{TEXT_ENCODER_FILE}": text_encoder,
        f"vae/{AUTOENCODER_FILE}": lambda: load_file(WEIGHTS / "autoencoder.safetensors"),
    }
    for name, make in files.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        save_file(make(), unfinished)
        os.replace(unfinished, path)
    (models / "loras").mkdir(parents=True, exist_ok=True)
    for name in LORA_FILES.values():
        if (WEIGHTS / name).exists():
            shutil.copyfile(WEIGHTS / name, models / "loras" / name)  # as it is, with the recipe in its header
