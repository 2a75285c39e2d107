"""Hostile tensors through the pack as ComfyUI loads it; prints what came of them as JSON, for `bench.trust`."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from .child import ROOT
from .step_ratio import load_comfyui


def main(cases: int) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        (base / "custom_nodes").mkdir()
        (base / "custom_nodes" / "incontext-lora").symlink_to(ROOT, target_is_directory=True)
        registry = load_comfyui(base)
        print(json.dumps(tried(registry, cases)))


def tried(registry: Any, cases: int) -> dict[str, Any]:
    import torch

    mappings = registry.NODE_CLASS_MAPPINGS
    pack = mappings["InContextStitchPanels"].__module__.removesuffix(".nodes.panels.stitch")
    campaign = importlib.import_module(f"{pack}.bench.hostile_tensors")
    # only what stands for models is not taken from the pack as ComfyUI loads it
    vision = importlib.import_module("incontext_lora.tests.vision_server")

    def call(node: str, inputs: dict[str, Any]) -> Any:
        with torch.inference_mode():  # as ComfyUI's executor does
            return mappings[node].PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).result

    schemas = campaign.tensor_nodes(importlib.import_module(f"{pack}.nodes").NODES)
    with vision.VisionServer(vision.says(campaign.CAPTION)) as server:
        outcome = campaign.campaign(schemas, call, campaign.given_by(schemas, call, server.url), cases)
    return vars(outcome)


if __name__ == "__main__":
    main(int(sys.argv[1]))
