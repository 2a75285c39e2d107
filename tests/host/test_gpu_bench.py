"""The parts of `bench gpu` with small models, through the very command; and the names and shapes of the large ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.bench.gpu import weights
from incontext_lora.launcher import pack
from incontext_lora.tests.comfy_versions import flux_sizes

if TYPE_CHECKING:
    from conftest import HostPack


def test_parts_run(comfyui: Path, tmp_path: Path) -> None:
    parts = "in_host_bf16,partial,sampling"
    command = pack.command(sys.executable, "bench", "gpu", "--tiny", "--parts", parts)
    command += ["--seconds", "600", "--work", str(tmp_path), "--lines", str(tmp_path / "lines.jsonl")]
    command += ["--base", str(tmp_path), "--comfyui", str(comfyui)]
    answer = subprocess.run(command, cwd=pack.ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    results = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [one["part"] for one in results if one.get("failed")] == [], results
    found = [each for one in results for each in one["results"]]
    assert len([one for one in found if one["figure"] == "step" and len(one["seconds"]) == 2]) == 4
    (partial,) = (one for one in found if one["figure"] == "partial")
    assert partial["cosine"] > 0.999
    assert partial["zero"] == 0
    assert [one["given"] for one in found if one["figure"] == "sampling"] == [0, 1, 2, 1, 2]
    for name in ("gpu.step_seconds_bf16_2_32", "gpu.partial_cosine", "gpu.sample_seconds_2_of_3_isolated"):
        assert name in answer.stdout


@pytest.mark.parametrize("name", ["flux", "t5xxl", "clip_l", "ae"])
def test_weights_have_the_names_and_shapes_of_the_real_ones(host: HostPack, comfyui: Path, name: str) -> None:
    import comfy.ops
    import comfy.supported_models
    import torch

    operations = comfy.ops.disable_weight_init
    written: dict[str, Any] = {
        "flux": lambda: weights.flux(weights.FULL), "t5xxl": lambda: weights.t5xxl(weights.FULL),
        "clip_l": weights.clip_l, "ae": lambda: weights.autoencoder(weights.FULL),
    }  # fmt: skip

    def config(file: str) -> Any:
        return json.loads((comfyui / "comfy" / file).read_text())

    with torch.device("meta"):
        if name == "flux":
            from comfy.ldm.flux.model import Flux

            values = {
                "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 3072,
                "mlp_ratio": 4.0, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56],
                "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": True, "image_model": "flux",
            }  # fmt: skip
            model = Flux(**flux_sizes(values), dtype=torch.bfloat16, device="meta", operations=operations)
        elif name == "t5xxl":
            from comfy.text_encoders.t5 import T5

            model = T5(config("text_encoders/t5_config_xxl.json"), torch.bfloat16, "meta", operations)
        elif name == "clip_l":
            from comfy.clip_model import CLIPTextModel

            model = CLIPTextModel(config("sd1_clip_config.json"), torch.bfloat16, "meta", operations)
        else:
            from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder

            values = {
                "double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
                "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
            }  # fmt: skip
            model = torch.nn.ModuleDict({"encoder": Encoder(**values), "decoder": Decoder(**values)})
    real = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    real.pop("text_projection.weight", None)  # the file has none; ComfyUI puts the identity there
    shapes = written[name]()
    if name == "flux":  # newer versions of ComfyUI rename what the file holds when they load it
        shapes = comfy.supported_models.Flux(flux_sizes(values)).process_unet_state_dict(shapes)
    assert shapes == real
