"""Isolated references in the trainer's own models: what attends to what, and that ComfyUI's models compute the same."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.tests.training.comfy_names import TRAINED
from incontext_lora.training.sd_scripts.environment import Trainer
from safetensors.torch import load_file
from torch import Tensor

SCRIPT = Path(__file__).with_name("isolated.py")


@dataclass(frozen=True)
class Found:
    """What `isolated.py` found and computed with one of the trainer's models."""

    architecture: str
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isolated")
    command = [str(trainer.python), str(SCRIPT), str(trainer.checkout), str(folder)]
    answer = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return folder


@pytest.fixture(params=["flux", "chroma", "sd3"])
def found(folder: Path, request: pytest.FixtureRequest) -> Found:
    name = request.param
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Found(name, facts, load_file(folder / f"{name}.safetensors"))


def test_references_depend_on_references_alone(found: Found) -> None:
    """No key or value of a reference moves with text, painted panels or noise levels; with a reference all of them do."""
    sees = found.facts["sees"]
    assert all(len(changes) > 8 for changes in sees.values())
    assert {name: max(changes) for name, changes in sees.items() if name != "references"} == {
        "text": 0.0, "painted": 0.0, "levels": 0.0,
    }  # fmt: skip
    assert min(sees["references"]) > 0.1


def test_pictures_of_a_batch_have_references_of_their_own(found: Found) -> None:
    """One panel, another, two, none: as each picture by itself."""
    assert found.facts["alone"] < 1e-4
    assert found.facts.get("padded alone", 0.0) < 1e-4


@pytest.mark.parametrize("found", ["flux", "chroma"], indirect=True)
def test_the_end_of_padded_captions_is_not_read(found: Found) -> None:
    """The trainer's SD3 reads padded captions whole."""
    assert found.facts["hidden text"] == 0.0
    assert found.facts["shown text"] > 0.1


def test_gradient_checkpointing_changes_no_gradient(found: Found) -> None:
    """Also where a second batch, with other references, is computed before the first one's backward pass."""
    assert found.facts["gradients"] > 50
    assert found.facts["largest gradient"] > 1.0
    assert found.facts["recomputed"] < 1e-5


def test_block_swap_does_the_same(found: Found) -> None:
    """For the trainer it is one forward and one backward."""
    plain, isolated = found.facts["swaps"]
    assert isolated == plain
    assert any(what.startswith("move") for what, _ in plain)


def test_comfyui_computes_the_same(host: Any, found: Found) -> None:
    """The same weights in ComfyUI's class: without references, and with them isolated as sampling isolates them."""
    import comfy.conds
    import comfy.model_patcher
    from incontext_lora.nodes.training.host_model import Condition, HostModel

    model = TRAINED[found.architecture].make()
    weights = {name[6:]: value for name, value in found.tensors.items() if name.startswith("model.")}
    model.diffusion_model.load_state_dict(weights)
    cpu = torch.device("cpu")
    comfy_model = HostModel(comfy.model_patcher.ModelPatcher(model, cpu, cpu))
    x, levels, given = (found.tensors[name] for name in ("x", "levels", "given"))

    def condition(row: int) -> Condition:
        conds = {"c_crossattn": found.tensors["text"][row, None], "y": found.tensors["pooled"][row, None]}
        guidance = {"flux": {"guidance": torch.ones(1)}, "chroma": {"guidance": torch.zeros(1)}}
        conds.update(guidance.get(found.architecture, {}))
        return Condition([], {name: comfy.conds.CONDRegular(value) for name, value in conds.items()})

    conditions = [condition(row) for row in range(len(x))]
    with torch.no_grad():
        plain = comfy_model.predict(x, levels, conditions)
        isolated = comfy_model.predict(x, levels, conditions, isolated=given)
    painted = (~given).expand_as(x)
    torch.testing.assert_close(found.tensors["plain"], plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.tensors["isolated"][painted], isolated[painted], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain[painted], isolated[painted], atol=1e-2)
