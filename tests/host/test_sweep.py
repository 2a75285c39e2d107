"""Sweeps from the training node: real trainings of a small model of ComfyUI's, stopped, cancelled and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests import tiny_models
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sweep.choices import Strategy
from incontext_lora.training.sweep.folder import State, Sweep
from safetensors.torch import load_file

SETTINGS = {
    "steps": 12,
    "batch_size": 2,
    "rank": 2,
    "alpha": 2.0,
    "learning_rate": 3e-3,
    "warmup_steps": 0,
    "precision": "fp32",
    "validation_sets": 2,
    "gradient_checkpointing": False,
}


@pytest.fixture(scope="module")
def wires(host: Any) -> dict[str, Any]:
    folder_sets(Path(host.base) / "input" / "sweep-sets", 6)
    return {
        "model": tiny_models.sd3(),
        "clip": tiny_models.Words.of("sd3"),
        "vae": tiny_models.vae(),
        "dataset": host.call("InContextBuildDataset", folder="sweep-sets", recipe=RECIPE)[0],
    }


Train = Callable[..., tuple[Any, ...]]


@pytest.fixture
def train(host: Any, wires: dict[str, Any]) -> Train:
    """Train a sweep over the axes that are given as text; other values are the training node's."""

    def run(
        name: str, strategy: Strategy = Strategy.GRID, stop_hopeless: bool = True, **values: Any
    ) -> tuple[Any, ...]:
        axes = {key: value for key, value in values.items() if isinstance(value, str)}
        others = {key: value for key, value in values.items() if not isinstance(value, str)}
        (sweep,) = host.call(
            "InContextSweep", strategy=strategy.value, keep_one_in=3, stop_hopeless=stop_hopeless, **axes
        )
        return host.call("InContextTrainLoraInHost", name=name, sweep=sweep, **wires, **{**SETTINGS, **others})

    return run


def sweep_of(host: Any, name: str) -> Sweep:
    return Sweep.load(Path(host.base) / "output" / "incontext_sweeps" / name)


def states(sweep: Sweep) -> list[State]:
    return [record.state for record in sweep.records().values()]


def runs(host: Any, name: str) -> list[str]:
    return sorted(path.name for path in (Path(host.base) / "output" / "incontext_runs").glob(f"{name}-t*"))


def test_a_grid_gives_out_the_best_lora(host: Any, train: Train) -> None:
    lora, recipe, losses, run, picture, lora_name, table = train("grid", learning_rate="3e-3, 1e-4, 300")
    sweep = sweep_of(host, "grid")
    assert states(sweep)[0] is State.FINISHED
    assert states(sweep)[2] in (State.STOPPED, State.FAILED), "given up, or its loss is not a number"
    assert sweep.records()[3].curve.step < 12
    assert "Best: learning rate 0.003" in table
    assert run.name == "grid-t01"
    assert len(losses["loss"]) == 12
    assert picture.ndim == 4
    path = Path(host.base) / "output" / "loras" / lora_name
    assert read_recipe(path) == recipe
    stored = load_file(path)
    assert all(torch.equal(stored[key], value) for key, value in lora.items())
    assert (sweep.folder / "table.csv").exists()
    # the same workflow once more: everything is there already
    assert train("grid", learning_rate="3e-3, 1e-4, 300")[5] == lora_name
    assert runs(host, "grid") == ["grid-t01", "grid-t02", "grid-t03"]


def test_pictures_and_captions_are_encoded_once(
    host: Any, train: Train, wires: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = wires["vae"].encode, []
    monkeypatch.setattr(wires["vae"], "encode", lambda picture: encoded.append(1) or encode(picture))
    train("once", rank="1, 2", steps=2)
    assert len(encoded) == len(wires["dataset"])


def test_halving_gives_the_lora_of_one_go(host: Any, train: Train, wires: dict[str, Any]) -> None:
    lora, _, losses, run, *_ = train(
        "halved", strategy=Strategy.HALVING, stop_hopeless=False, learning_rate="3e-3, 1e-5, 1e-6"
    )
    sweep = sweep_of(host, "halved")
    assert states(sweep) == [State.FINISHED, State.STOPPED, State.STOPPED]
    begun = [event for event in run.events() if event["event"] == run_folder.STARTED]
    assert [event.get("first_step", 0) > 0 for event in begun] == [False, True]
    assert len(losses["loss"]) == 12
    plain = {**SETTINGS, **{name: sweep.plan.base[name] for name in ("validate_every", "save_every")}}
    whole, *_ = host.call("InContextTrainLoraInHost", name="one-go", **wires, **plain)
    assert whole.keys() == lora.keys()
    assert all(torch.equal(whole[key], value) for key, value in lora.items())


def test_a_cancelled_sweep_goes_on(host: Any, train: Train) -> None:
    import comfy.model_management

    def cancel_at(step: int) -> Iterator[None]:
        while True:
            yield
            found = Path(host.base) / "output" / "incontext_runs" / "cancelled-t02"
            if found.exists() and len(Run(found).losses()) >= step:
                comfy.model_management.interrupt_current_processing(True)

    watching = cancel_at(5)
    hosts = pytest.MonkeyPatch()
    from incontext_lora.nodes import host as own

    update = own.progress.update
    hosts.setattr(own.progress, "update", lambda self, *given, **named: (next(watching), update(self, *given, **named)))
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train("cancelled", rank="1, 2, 3")
    finally:
        hosts.undo()
        comfy.model_management.interrupt_current_processing(False)
    sweep = sweep_of(host, "cancelled")
    assert states(sweep) == [State.FINISHED, State.TRAINING, State.WAITING]
    assert Run(Path(host.base) / "output" / "incontext_runs" / "cancelled-t02").state == run_folder.CANCELLED
    train("cancelled", rank="1, 2, 3")
    assert states(sweep)[0] is State.FINISHED
    assert all(state in (State.FINISHED, State.STOPPED) for state in states(sweep))
    assert runs(host, "cancelled") == ["cancelled-t01", "cancelled-t02", "cancelled-t03"]
    steps = [
        e["step"]
        for e in Run(sweep.folder.parent.parent / "incontext_runs" / "cancelled-t02").events()
        if e["event"] == "step"
    ]
    assert steps == list(range(1, len(steps) + 1))


def test_sets_are_left_out_and_it_is_said_whether_they_helped(host: Any, train: Train, wires: dict[str, Any]) -> None:
    dataset: Dataset = wires["dataset"]
    left = dataset.items[0].set
    *_, run, _, _, table = train("ablated", leave_out=f"-; {left}", stop_hopeless=False)
    assert f"the sets {left} " in table.lower()
    about = json.loads((run.folder / "run.json").read_text())
    assert about["settings"]["leave_out"] in ("", left)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rank": "2"}, "only one training"),
        ({"rank": "2, x"}, "The values of rank are"),
        ({"sets": "9, 4"}, "There should be 9 sets to train on, but"),
    ],
)
def test_what_is_wrong_is_said(train: Train, values: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        train("wrong", **values)


def test_one_run_is_not_resumed_by_a_sweep(host: Any, wires: dict[str, Any]) -> None:
    (sweep,) = host.call("InContextSweep", rank="1, 2", strategy="grid", keep_one_in=3, stop_hopeless=True)
    with pytest.raises(TrainingError, match="Resume is set to other, but a sweep is connected"):
        host.call("InContextTrainLoraInHost", name="n", sweep=sweep, **wires, **{**SETTINGS, "resume": "other"})


def test_the_last_checkpoints_are_averaged(host: Any, wires: dict[str, Any]) -> None:
    values = {**SETTINGS, "save_every": 3}
    lora, recipe, _, run, *_ = host.call("InContextTrainLoraInHost", name="averaged", **wires, **values)
    average, averaged_recipe, name, text = host.call(
        "InContextAverageCheckpoints", run_name=run.name, last=3, decay=0.0, run=None
    )
    assert name == "averaged-average-6-12.safetensors"
    assert text.startswith(f"{name}: the average of steps 6 (33%), 9 (33%), 12 (33%). Its rank holds ")
    assert {key: value.shape for key, value in average.items()} == {key: value.shape for key, value in lora.items()}
    assert averaged_recipe.lineage[-1] == "averaged-step000012.safetensors"
    assert averaged_recipe.layout == recipe.layout
    path = Path(host.base) / "output" / "loras" / name
    assert all(torch.equal(value, average[key]) for key, value in load_file(path).items())
    with pytest.raises(TrainingError, match="averaged has 4 checkpoints, but 5 should be averaged"):
        host.call("InContextAverageCheckpoints", run_name="none", last=5, decay=0.0, run=run)
    with pytest.raises(TrainingError, match="No training is chosen"):
        host.call("InContextAverageCheckpoints", run_name="none", last=2, decay=0.0, run=None)


def test_another_model_is_another_sweep(host: Any, train: Train, wires: dict[str, Any]) -> None:
    """Its LoRA would be that of the model before, without any training."""
    first = train("models", rank="1, 2", steps=1)
    wires_before = wires["model"]
    wires["model"] = tiny_models.sd3(seed=7)
    try:
        second = train("models", rank="1, 2", steps=1)
    finally:
        wires["model"] = wires_before
    assert first[3].name.startswith("models-t")
    assert second[3].name.startswith("models-2-t")


def test_a_best_checkpoint_that_was_deleted_is_named(host: Any, train: Train) -> None:
    *_, run, _, lora_name, _ = train("deleted", rank="1, 2", steps=1)
    (Path(host.base) / "output" / "loras" / lora_name).unlink()
    for path in run.checkpoints:
        path.unlink()
    with pytest.raises(TrainingError, match=r"The checkpoint of step 1 of deleted-t0\d.* was deleted"):
        train("deleted", rank="1, 2", steps=1)
