"""Times training steps of this pack's in-host trainer, of core's TrainLoraNode and of a minimal loop in turn; prints JSON rounds.

Run by `bench.in_host` as a process of its own, since it imports ComfyUI.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..demo.sets import write_sets

BATCH, STEPS, RANK = 4, 16, 16
FOLDER = "step-ratio-sets"
ROOT = Path(__file__).parent.parent
SETTINGS = {
    "steps": STEPS,
    "batch_size": BATCH,
    "gradient_accumulation": 1,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup_steps": 0,
    "rank": RANK,
    "alpha": float(RANK),
    "targets": "attention and MLP",
    "timesteps": "sigmoid",
    "reference_share": 0.0,
    "caption_dropout": 0.0,
    "ema": 0.0,
    "max_grad_norm": 1.0,
    "validation_sets": 0,
    "validate_every": 0,
    "save_every": 0,
    "sample_every": 0,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "seed": 0,
}


def load_comfyui(base: Path) -> Any:
    """ComfyUI's node registry with this pack and core's training nodes in it."""
    sys.argv = [sys.argv[0], "--cpu", "--use-pytorch-cross-attention", "--base-directory", str(base)]
    sys.path = [os.environ["COMFYUI_PATH"], *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    import comfy.options

    comfy.options.enable_args_parsing()
    # in ComfyUI's own order: its "utils" first, since "nodes" puts a folder with another one on the path
    importlib.import_module("utils.install_util")
    nodes, server = (importlib.import_module(name) for name in ("nodes", "server"))
    server.PromptServer(asyncio.new_event_loop())
    asyncio.run(nodes.load_custom_node(str(base / "custom_nodes" / "incontext-lora")))
    asyncio.run(nodes.load_custom_node(str(Path(os.environ["COMFYUI_PATH"]) / "comfy_extras" / "nodes_train.py")))
    return nodes


def call(nodes: Any, node_id: str, /, **inputs: Any) -> tuple:
    node = nodes.NODE_CLASS_MAPPINGS[node_id]
    if hasattr(node, "EXECUTE_NORMALIZED"):
        return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).result
    return getattr(node(), node.FUNCTION)(**inputs)


def main(rounds: int) -> None:
    demo_base = Path(os.environ["INCONTEXT_LORA_BASE"])
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        (base / "custom_nodes").mkdir()
        (base / "custom_nodes" / "incontext-lora").symlink_to(ROOT, target_is_directory=True)
        (base / "models").symlink_to(demo_base / "models", target_is_directory=True)
        write_sets(base / "input" / FOLDER, BATCH)
        nodes = load_comfyui(base)
        import torch

        with torch.inference_mode():
            results = measure(nodes, torch, rounds)
    print(json.dumps(results))


def measure(nodes: Any, torch: Any, rounds: int) -> list[dict[str, float]]:
    """Seconds per step of each, in turn. Ours says it; core's set-up is taken out by a second, one-step run."""
    from .minimal_loop import seconds_per_step, with_lora

    (model,) = call(nodes, "UNETLoader", unet_name="incontext-demo-transformer.safetensors", weight_dtype="default")
    clip_name = "incontext-demo-text-encoder.safetensors"
    (clip,) = call(nodes, "CLIPLoader", clip_name=clip_name, type="sd3")
    (vae,) = call(nodes, "VAELoader", vae_name="incontext-demo-autoencoder.safetensors")
    (recipe, *_) = call(
        nodes,
        "InContextLayout",
        kind="columns",
        width=192,
        height=64,
        rows=1,
        columns=3,
        columns_per_row="3",
        gutter=0,
        panel_step="16",
        boxes="",
    )
    (dataset, *_) = call(
        nodes,
        "InContextBuildDataset",
        folder=FOLDER,
        name="step-ratio",
        recipe=recipe,
        fit="cover",
        align="center",
        padding="white",
        references="",
        shape="detect",
        composites="fit each panel",
    )
    condition = clip.encode_from_tokens_scheduled(clip.tokenize(dataset.items[0].caption))
    latents = [{"samples": torch.randn(1, 16, 8, 24)} for _ in range(BATCH)]

    trained: set[str] = set()

    def ours() -> float:
        lora, _, _, run, *_ = call(
            nodes,
            "InContextTrainLoraInHost",
            model=model,
            clip=clip,
            vae=vae,
            dataset=dataset,
            name="step-ratio",
            guidance=1.0,
            **SETTINGS,
        )
        trained.update(key.split(".lora_")[0].removeprefix("diffusion_model.") for key in lora if ".lora_" in key)
        return [event for event in run.events() if event["event"] == "step"][-1]["seconds_per_step"]

    def core(steps: int) -> float:
        began = time.perf_counter()
        call(
            nodes,
            "TrainLoraNode",
            model=[model],
            latents=latents,
            positive=[condition] * BATCH,
            batch_size=[BATCH],
            grad_accumulation_steps=[1],
            steps=[steps],
            learning_rate=[1e-3],
            rank=[RANK],
            optimizer=["AdamW"],
            loss_function=["MSE"],
            seed=[0],
            training_dtype=["fp32"],
            lora_dtype=["fp32"],
            algorithm=["LoRA"],
            gradient_checkpointing=[False],
            existing_lora=["[None]"],
        )
        return time.perf_counter() - began

    @torch.inference_mode(False)
    def minimal() -> float:
        net = with_lora(model.model.diffusion_model, sorted(trained), RANK)
        batch = torch.cat([latent["samples"] for latent in latents]).clone()
        ((context, others),) = condition
        context, pooled = (
            value.clone().repeat(BATCH, *[1] * (value.ndim - 1)) for value in (context, others["pooled_output"])
        )
        return seconds_per_step(net, batch, context, pooled, steps=STEPS, learning_rate=1e-3)

    def one_round() -> dict[str, float]:
        before, by_hand, by_hand_again, after = ours(), minimal(), minimal(), ours()
        return {
            "ours": (before + after) / 2,
            "minimal": (by_hand + by_hand_again) / 2,
            "core": (core(1 + STEPS) - core(1)) / STEPS,
        }

    return [one_round() for _ in range(rounds)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
