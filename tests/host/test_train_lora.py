"""The node for sd-scripts in the real ComfyUI, with the stand-in trainer: a real process, real files, real cancelling."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets
from incontext_lora.tests.sd_scripts_machine import STAND_IN, flux_files, stand_in_machine
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import states

TRAIN = "InContextTrainLora"
FILES = {
    "model": "flux.safetensors",
    "text_encoder_1": "t5xxl.safetensors",
    "text_encoder_2": "clip_l.safetensors",
    "vae": "ae.safetensors",
}


@pytest.fixture(scope="module")
def dataset(host: Any) -> Dataset:
    folder_sets(Path(host.base) / "input" / "sd-sets", 4)
    return host.call("InContextBuildDataset", folder="sd-sets", recipe=RECIPE)[0]


@pytest.fixture(autouse=True)
def _model_files(host: Any, tmp_path: Path) -> None:
    """ComfyUI's folders hold files that look like FLUX's."""
    for option, path in flux_files(tmp_path / "models").items():
        kind = {"pretrained_model_name_or_path": "diffusion_models", "ae": "vae"}.get(option, "text_encoders")
        target = Path(host.base) / "models" / kind / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


@pytest.fixture
def train(
    host: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Any, ...]]]:
    """Call the node with a trainer that behaves as told."""
    from incontext_lora.nodes.training import sd_scripts_run

    base = Path(host.base) / "output"
    where = replace(
        stand_in_machine(tmp_path, tmp_path / "ComfyUI"), runs=base / "incontext_runs", loras=base / "loras"
    )
    monkeypatch.setattr(sd_scripts_run, "this_machine", lambda: where)

    def call(told: dict[str, Any] | None = None, **inputs: Any) -> tuple[Any, ...]:
        monkeypatch.setenv("STAND_IN", json.dumps(told or {}))
        values = {"dataset": dataset, "steps": 5, "rank": 4, "save_every": 2, **FILES, **inputs}
        return host.call(TRAIN, **values)[:4]

    yield call
    for folder in where.runs.glob("*"):
        supervise.kill(folder)


def test_what_the_node_gives(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    host.sent()
    name, losses, samples, run = train(name="first")
    assert name == "first.safetensors"
    assert losses == {"loss": [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]}
    assert tuple(samples.shape) == (1, 192, 128, 3)
    assert run.state == run_folder.FINISHED
    said = " ".join(str(data) for _, data in host.sent())
    assert "encoding the captions" in said
    assert "step 5 of 5" in said
    import folder_paths

    assert name in folder_paths.get_filename_list("loras")  # selectable without a restart
    path = folder_paths.get_full_path("loras", name)
    recipe = read_recipe(path)
    assert recipe is not None
    assert recipe.base == "FLUX.1-dev"
    options = (run.folder / "job-1" / "job.toml").read_text()
    assert "network_dim = 4" in options
    assert "network_alpha = 4.0" in options


def test_a_preset_keeps_what_no_widget_changed(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    """The 8 GB preset samples nothing; a widget that was set, as in a workflow of an earlier version, counts."""
    default = host.node(TRAIN).INPUT_TYPES()["required"]["samples"][1]["default"]
    for given, expected in (({}, 0), ({"samples": default}, 0), ({"samples": 1}, 1), ({"preset": "24 GB"}, 1)):
        run = train(**{"name": "by preset", "preset": "8 GB", **given})[-1]
        assert run.about["settings"]["samples"] == expected, given


def test_references_of_each_kind(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    """Isolated by default, also in a workflow from before there was a choice."""
    for given, expected in (({}, True), ({"references": "clean"}, False), ({"references": "none"}, False)):
        _, _, _, run = train(name="references", **given)
        recipe = run.about["recipe"]["references"]
        assert (recipe["isolated"], recipe["clean"]) == (expected, given.get("references") != "none")
        extra = json.loads((run.folder / "job-1" / "job.json").read_text(encoding="utf-8"))
        assert (extra["isolated"], extra["reference_share"] > 0) == (expected, given.get("references") != "none")


def test_what_should_be_known_stays_on_the_node(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    host.sent()
    train(name="noted")
    said = [str(data) for _, data in host.sent() if "step 5 of 5" in str(data)]
    assert "no graphics card" in said[-1]


def test_a_failure_is_an_error_of_the_node(train: Callable[..., tuple[Any, ...]]) -> None:
    with pytest.raises(TrainingError, match=r"while training \(exit code 1\)\. The graphics card ran out of memory"):
        train({"fail": "training", "words": "CUDA out of memory."}, name="fails")


def cancel_when(condition: Callable[[], bool], times: int = 1) -> threading.Thread:
    import comfy.model_management

    def wait() -> None:
        for _ in range(times):
            while not condition():
                time.sleep(0.02)
            comfy.model_management.interrupt_current_processing()
            time.sleep(0.5)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def has_steps(run: Run) -> bool:
    return any(event["event"] == run_folder.STEP for event in run.events())


def test_cancel_saves_the_state_and_resume_goes_on(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    import comfy.model_management

    run = Run(Path(host.base) / "output" / "incontext_runs" / "sd-cancelled")
    cancelling = cancel_when(lambda: has_steps(run))
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train({"pause": 0.1}, name="sd-cancelled", steps=60)
    cancelling.join()
    assert run.state == run_folder.CANCELLED
    assert supervise.members(run.folder) == []
    assert states.find_last(run) is not None
    from incontext_lora.nodes.host import resumable_runs

    assert "sd-cancelled" in resumable_runs("sd-scripts")
    name, losses, *_ = train(resume="sd-cancelled")
    assert name == "sd-cancelled.safetensors"
    assert len(losses["loss"]) == 60
    assert "sd-cancelled" not in resumable_runs("sd-scripts")


def test_a_second_cancel_ends_a_trainer_that_does_not_listen(host: Any, train: Callable[..., tuple[Any, ...]]) -> None:
    import comfy.model_management

    run = Run(Path(host.base) / "output" / "incontext_runs" / "deaf")
    cancelling = cancel_when(lambda: has_steps(run), times=2)
    began = time.monotonic()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train({"pause": 0.1, "ignore": True, "fork": True}, name="deaf", steps=5000)
    assert time.monotonic() - began < 30
    cancelling.join()
    comfy.model_management.interrupt_current_processing(False)
    assert supervise.members(run.folder) == []
    assert run.state == run_folder.CANCELLED


def test_in_the_background_it_returns_at_once_and_publishes_later(
    host: Any, train: Callable[..., tuple[Any, ...]]
) -> None:
    name, _, _, run = train({"pause": 0.3}, name="behind", background=True)
    assert name == ""
    assert run.state == run_folder.STARTED
    assert supervise.find(run.folder) is not None
    deadline = time.monotonic() + 30
    while run.state == run_folder.STARTED and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.state == run_folder.FINISHED
    assert (Path(host.base) / "output" / "loras" / "behind.safetensors").exists()


def test_two_trainings_on_one_card(
    host: Any, train: Callable[..., tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second says so, or waits; both nodes do, and the monitor knows which run is on ComfyUI's own card."""
    from incontext_lora.nodes import host as globals_of_host
    from incontext_lora.nodes.server import run_answers
    from incontext_lora.nodes.training import sd_scripts_run

    with_card = replace(sd_scripts_run.this_machine(), on_cpu=False)
    monkeypatch.setattr(sd_scripts_run, "this_machine", lambda: with_card)
    monkeypatch.setattr(globals_of_host, "cards", lambda: ["0"])
    *_, first = train({"pause": 0.3}, name="on-card", steps=9, background=True)
    assert json.loads(run_answers.all_runs().body)["on_card"] == ["on-card"]
    with pytest.raises(TrainingError, match="on-card is still training on the graphics card"):
        train(name="beside", steps=2)
    with pytest.raises(TrainingError, match="on-card is still training on the graphics card"):
        host.call("InContextTrainLoraInHost", model=None, clip=None, vae=None, dataset=None)
    rates = host.call("InContextSweep", learning_rate="1e-4, 2e-4")[0]
    with pytest.raises(TrainingError, match="on-card is still training on the graphics card"):
        train(name="queue", steps=2, validation_sets=1, sweep=rates)
    assert not (with_card.runs / "beside").exists(), "nothing was begun"
    assert not list(with_card.runs.glob("queue*"))
    host.sent()
    name, *_ = train(name="afterwards", steps=2, when_busy="wait")
    assert name == "afterwards.safetensors"
    assert supervise.find(first.folder) is None
    assert "waiting for on-card" in " ".join(str(data) for _, data in host.sent())
    assert json.loads(run_answers.all_runs().body)["on_card"] == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"model": "../../../etc/passwd"}, "There is no model file"),
        ({"model": "none"}, "There is no model file 'none'"),
        ({"text_encoder_1": "none"}, "needs the T5-XXL text encoder"),
        ({"architecture": "Chroma"}, r"a FLUX\.1 model; expected Chroma"),
        ({"architecture": "SDXL"}, "There is no architecture 'SDXL'"),
        ({"preset": "7 GB"}, "There is no preset '7 GB'"),
        ({"resume": "../first"}, "is not a training run"),
    ],
)
def test_what_is_refused(train: Callable[..., tuple[Any, ...]], wrong: dict[str, str], expected: str) -> None:
    with pytest.raises(TrainingError, match=expected):
        train(name="refused", **wrong)


def test_without_a_trainer_the_node_says_how_to_get_one(
    host: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INCONTEXT_LORA_DATA", str(tmp_path))
    with pytest.raises(TrainingError, match=r"not installed\. Install it once with `python run\.py trainer install`"):
        host.call(TRAIN, dataset=dataset, **FILES)


def test_no_input_names_a_program(host: Any) -> None:
    """A stranger's workflow must not be able to start one."""
    described = host.node(TRAIN).INPUT_TYPES()
    inputs = {**described["required"], **described["optional"]}
    texts = {name for name, (kind, *_) in inputs.items() if kind == "STRING"}
    assert texts == {"name"}
    assert not [name for name in inputs if any(word in name for word in ("python", "path", "script", "arg", "command"))]
    assert STAND_IN.exists()
