"""Comparing checkpoints, without a sampler: what is planned, how pictures are named, and what the interface is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.evaluate import grid
from incontext_lora.incontext.evaluate.comparison import Comparison, decide
from incontext_lora.incontext.evaluate.grid import Candidate
from incontext_lora.incontext.evaluate.store import Store
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.incontext.lora.save import save_new
from incontext_lora.incontext.panels import arrange
from incontext_lora.tests import tiny_models
from incontext_lora.tests.route_client import Client
from incontext_lora.training.runs.run_folder import RunWriter
from PIL import Image

if TYPE_CHECKING:
    from conftest import HostPack

RECIPE = Recipe("pair", arrange.columns(128, 64, 2), prefix="[PAIR]")
CAPTIONS = "two shapes [LEFT] a star [RIGHT] a moon\ntwo shapes [LEFT] a moon (full) [RIGHT] a star"


@pytest.fixture(scope="module")
def run(host: HostPack) -> Any:
    """A run with four checkpoints."""
    writer = RunWriter.create(host.base / "output" / "incontext_runs", "compared", {"recipe": RECIPE.to_json()})
    for step in range(1, 5):
        writer.checkpoint(step, {"x.lora_up.weight": torch.full((2, 2), float(step))}, RECIPE)
    writer.close()
    return writer.run


def inputs(**changes: Any) -> Any:
    from incontext_lora.nodes.evaluate.plan import Inputs

    usual = {
        "run": "none",
        "loras": "",
        "checkpoints": 0,
        "strengths": "1.0",
        "captions": CAPTIONS,
        "seeds": 2,
        "seed": 5,
    }
    return Inputs(**{**usual, "steps": 0, "cfg": 0.0, "use_chosen": False, **changes})


def plan(**changes: Any) -> Any:
    from incontext_lora.nodes.evaluate.plan import make_plan

    return make_plan("models", inputs(**changes))


def test_a_run_is_compared_with_its_own_recipe(host: HostPack, run: Any) -> None:
    made = plan(run="compared", checkpoints=2, strengths="0.5, 1.0")
    assert made.name == made.run == "compared"
    assert [one.label for one in made.candidates] == [
        "base",
        "compared-step000002 × 0.5",
        "compared-step000002 × 1",
        "compared-step000004 × 0.5",
        "compared-step000004 × 1",
    ]
    assert len(made.cells) == 5 * 2 * 2
    assert made.seeds == (5, 6)
    assert made.asked[1].text == "[PAIR] two shapes [LEFT] a moon \\(full\\) [RIGHT] a star"
    assert made.asked[1].panels == ("a moon (full)", "a star")
    assert plan(trained=run).run == "compared"


def test_checkpoints_with_other_weights_have_other_pictures(host: HostPack, run: Any) -> None:
    """Their headers are the same: only the weights differ."""
    keys = {cell.key for cell in plan(run="compared").cells}
    assert len(keys) == 5 * 2 * 2
    assert {cell.key for cell in plan(run="compared", name="another").cells} == keys
    assert not {cell.key for cell in plan(run="compared", steps=7).cells} & keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "There is nothing to compare"),
        ({"run": "../outside"}, "is not the name of a run"),
        ({"run": "missing"}, "has no checkpoints"),
        ({"loras": "nowhere.safetensors"}, "There is no LoRA"),
        ({"run": "compared", "captions": "two shapes [LEFT] a star"}, "cannot be used to compare. The caption lacks"),
        ({"run": "compared", "captions": ""}, "There are no captions"),
        ({"run": "compared", "strengths": "0"}, "is not a strength"),
        ({"run": "compared", "name": "cells"}, "cannot be the name of a comparison"),
        ({"run": "compared", "references": torch.zeros(3, 8, 8, 3)}, "3 reference pictures for 2 captions"),
        ({"run": "compared", "references": torch.zeros(1, 8, 8, 3), "reference_panel": 3}, "the layout has 2 panels"),
    ],
)
def test_what_is_missing_is_said(host: HostPack, run: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InContextError) as caught:
        plan(**changes)
    assert message in str(caught.value)


def test_a_checkpoint_is_found_by_its_name_and_nothing_else_is(host: HostPack, run: Any) -> None:
    from incontext_lora.nodes import host as ours

    name = ours.checkpoint_name("compared", run.checkpoints[0].name)
    assert ours.lora_path(name) == run.checkpoints[0]
    for wrong in (
        "incontext_runs/../compared/x.safetensors",
        f"{name}/../x",
        "incontext_runs/compared/checkpoints/run.json",
    ):
        with pytest.raises(InContextError, match="There is no LoRA"):
            ours.lora_path(wrong)


def test_models_are_told_apart_by_weights_and_patches(host: HostPack) -> None:
    from incontext_lora.nodes.evaluate.identity import models_digest

    model, same, other = tiny_models.sd3(0), tiny_models.sd3(0), tiny_models.sd3(1)
    assert models_digest(model) == models_digest(same)
    assert models_digest(model) != models_digest(other)
    patched = model.clone()
    key = next(name for name, weight in model.model.state_dict().items() if weight.ndim == 2)
    patched.add_patches({key: (torch.ones_like(model.model.state_dict()[key]),)}, 0.5)
    assert len({models_digest(model), models_digest(patched)}) == 2
    stronger = model.clone()
    stronger.add_patches({key: (torch.ones_like(model.model.state_dict()[key]),)}, 0.6)
    assert models_digest(patched) != models_digest(stronger)


def test_a_model_is_itself_while_a_lora_is_in_its_weights(host: HostPack) -> None:
    """ComfyUI writes a clone's LoRA into the weights that all clones share, until another clone is used."""
    import comfy.model_management
    from incontext_lora.nodes.evaluate.identity import models_digest

    model = tiny_models.sd3(0)
    before = models_digest(model)
    patched = model.clone()
    key = next(name for name, weight in model.model.state_dict().items() if weight.ndim == 2)
    weight = model.model.state_dict()[key].clone()
    patched.add_patches({key: (torch.ones_like(weight),)}, 0.5)
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([patched], force_patch_weights=True)
    changed = not torch.equal(model.model.state_dict()[key].cpu(), weight)
    try:
        assert models_digest(model) == before, f"weights in place {'differ' if changed else 'are the same'}"
    finally:
        with torch.inference_mode():
            comfy.model_management.unload_all_models()
    assert models_digest(model) == before


@pytest.mark.parametrize("moved_in", [True, False], ids=["inference mode", "training"])
def test_a_model_that_was_moved_to_a_card_is_the_same(host: HostPack, moved_in: bool) -> None:
    """Moving assigns ``param.data``, after which a weight that was made in inference mode counts no versions."""
    from incontext_lora.nodes.evaluate.identity import models_digest

    with torch.inference_mode():
        model = tiny_models.sd3()
    before = models_digest(model)
    with torch.inference_mode(moved_in):
        for parameter in model.model.parameters():
            parameter.data = parameter.data.clone()
    for mode in (True, False):
        with torch.inference_mode(mode):
            assert models_digest(model) == before


@pytest.fixture(scope="module")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


def write_comparison(store: Store, run: str) -> Comparison:
    candidates = (Candidate(), Candidate("late.safetensors", run, 1.0, "digest"))
    captions = tuple(f"caption {number}" for number in range(4))
    cells = tuple(grid.cells(candidates, captions, (0,), {}))
    scores = tuple({"consistency": float(bool(cell.candidate.file))} for cell in cells)
    made = Comparison(
        "shown",
        run,
        captions,
        candidates,
        cells,
        scores,
        decide(cells, scores, captions),
        "test",
        grids=("grid-001.png",),
    )
    store.write(made, {"grid-001.png": Image.new("RGB", (8, 4), (9, 8, 7))})
    return made


def test_the_interface_is_told_of_a_runs_comparison(host: HostPack, run: Any, client: Client) -> None:
    store = Store(host.base / "output" / "incontext_comparisons")
    assert client.get("runs/compared/comparison") == (200, {"comparison": None, "version": ""})
    write_comparison(store, "compared")
    status, answer = client.get("runs/compared/comparison")
    assert status == 200
    assert answer["comparison"]["choice"]["chosen"] == "late × 1"
    assert "cells" not in answer["comparison"]
    status, picture = client.get("runs/compared/comparison/grid-001.png")
    assert (status, picture[:4]) == (200, b"\x89PNG")
    for wrong in ("grid-002.png", "comparison.json", "..%2f..%2fcells", "%00"):
        assert client.get(f"runs/compared/comparison/{wrong}")[0] == 404, wrong
    assert client.get("runs/nowhere/comparison")[0] == 400
    (store.folder / "shown" / "comparison.json").write_text("{", encoding="utf-8")
    assert client.get("runs/compared/comparison") == (200, {"comparison": None, "version": ""})


def test_the_chosen_one_gets_its_evidence(host: HostPack, run: Any, tmp_path: Path) -> None:
    from incontext_lora.nodes.evaluate.result import put_in_place

    made = plan(run="compared", strengths="0.8")
    scores = [{"consistency": float(bool(cell.candidate.file))} for cell in made.cells]
    choice = decide(made.cells, scores, made.captions)
    comparison = Comparison(
        made.name, made.run, made.captions, made.candidates, made.cells, tuple(scores), choice, "a test"
    )
    chosen = comparison.chosen
    assert chosen is not None
    name = put_in_place(made, comparison, chosen)
    path = host.base / "output" / "loras" / name
    recipe = read_recipe(path)
    assert recipe is not None
    assert recipe.strength == 0.8
    assert (recipe.evidence.score, recipe.evidence.value, recipe.evidence.base) == ("consistency", 1.0, 0.0)
    assert "Chosen among 4 candidates on 2 captions" in recipe.evidence.describe()
    from incontext_lora.nodes.lora import _recipe_words

    words = _recipe_words(recipe, "the file itself")
    assert "Recommended strength: 0.8." in words
    assert recipe.evidence.describe() in words
    assert put_in_place(made, comparison, chosen) == name, "the very same one is put there once"
    saved = save_new(tmp_path, "plain", {"x.lora_up.weight": torch.zeros(1)}, RECIPE)
    assert "evidence" in (read_recipe(saved) or RECIPE).to_json()


class Chain:
    """A graph of loaders of which each takes two outputs of the one before."""

    def __init__(self, length: int) -> None:
        self.read = 0
        self._nodes: dict[str, dict[str, Any]] = {"0": {"class_type": "Checkpoint", "inputs": {"name": "a"}}}
        for number in range(1, length):
            before = str(number - 1)
            self._nodes[str(number)] = {"class_type": "Lora", "inputs": {"model": [before, 0], "clip": [before, 1]}}

    def get_node(self, node_id: str) -> dict[str, Any]:
        self.read += 1
        assert self.read < 1000, "nodes are read again and again"
        return self._nodes[node_id]


def test_each_node_of_a_chain_of_loaders_is_read_once(host: HostPack) -> None:
    """Read again for both of its outputs at each level, thirty loaders would take hours."""
    from incontext_lora.nodes.evaluate.identity import graph_digest

    graph = Chain(30)
    whole = graph_digest(graph, "29", ("model", "clip"))
    assert graph.read <= 31
    assert graph_digest(Chain(30), "29", ("model", "clip")) == whole
    assert graph_digest(Chain(29), "28", ("model", "clip")) != whole


def test_an_unclear_answer_costs_the_answers_of_one_set(host: HostPack, run: Any, tmp_path: Path) -> None:
    from incontext_lora.incontext.evaluate import scoring
    from incontext_lora.nodes.evaluate.result import Scoring

    made, store = plan(run=run.name, checkpoints=1, seeds=1), Store(tmp_path)
    for number, cell in enumerate(made.cells):
        store.save(cell.key, torch.full((64, 128, 3), number / 10), {})
    found = Scoring(made, store, scoring.STATISTICS, lambda text: None)
    found.likeness(None)
    asked: list[Any] = []

    def ask(messages: list[dict[str, Any]]) -> str:
        asked.append(messages)
        return "I am unsure." if len(asked) <= 2 else "1: yes\n2: no\n3: yes\n4: yes\n5: yes"

    found.answers(ask, "a model")
    assert ["answers" in scores for scores in found.found] == [False, *[True] * (len(made.cells) - 1)]
    assert found.remarks == ["Set 1 has no answers: There is no clear yes or no for question 1, 2, 3, 4, 5."]
