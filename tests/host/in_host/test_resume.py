"""Trainings in ComfyUI that are stopped and resumed, on a small real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests import tiny_models
from incontext_lora.tests.comfy_versions import progress_hook
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets
from incontext_lora.tests.in_host_training import FEW, TRAIN, Tiny
from incontext_lora.training.runs import monitor
from incontext_lora.training.runs.run_folder import Run

STEPS = 9  # another number than that of pictures and captions, which are counted too
# everything that must go on as it was: average, schedule, references, empty captions, accumulation
SETTINGS = {
    "steps": STEPS,
    "ema": 0.9,
    "schedule": "cosine",
    "warmup_steps": 3,
    "caption_dropout": 0.3,
    "gradient_accumulation": 2,
    "save_every": 0,
    "seed": 5,
}


def train(host: Any, tiny: Tiny, vae: Any, dataset: Dataset, **values: Any) -> tuple[Any, ...]:
    given = {**FEW, **SETTINGS, **values}
    return host.call(TRAIN, model=tiny.model, clip=tiny.clip, vae=vae, dataset=dataset, **given)[:6]


def stopped(
    host: Any,
    sd3: Tiny,
    vae: Any,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: int = 4,
    **values: Any,
) -> Run:
    """A run that was cancelled after this step."""
    import comfy.model_management

    def cancel(done: int, total: int, _preview: Any, node_id: Any = None) -> None:
        if (done, total) == (step, STEPS) and not is_over:
            is_over.append(True)
            comfy.model_management.interrupt_current_processing(True)

    is_over: list[bool] = []
    with monkeypatch.context() as patched:
        progress_hook(patched, cancel)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train(host, sd3, vae, dataset, name=name, **values)
    return Run(Path(host.base) / "output" / "incontext_runs" / name)


def resumable() -> list[str]:
    """What the node's ``resume`` offers."""
    from incontext_lora.nodes.host import resumable_runs

    return resumable_runs("in-host")


def test_a_stopped_training_resumed_gives_the_lora_of_one_go(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(host, sd3, vae, dataset, name="one-go")
    run = stopped(host, sd3, vae, dataset, monkeypatch, "two-goes")
    assert monitor.summary(run)["resumable"] is True
    assert monitor.summary(run)["error"] == "Stopped at step 4. Resume it from there."
    assert "two-goes" in resumable()

    # the run's own settings count, not what the node says now
    lora, recipe, losses, again, _, lora_name = train(
        host, sd3, vae, dataset, name="other", resume="two-goes", steps=3, seed=9, rank=4, learning_rate=1.0
    )
    assert again.folder == run.folder
    assert lora_name == "two-goes.safetensors"
    assert recipe == whole[1]
    assert losses == whole[2]
    assert lora.keys() == whole[0].keys()
    assert all(torch.equal(lora[key], whole[0][key]) for key in lora)

    steps = [event["step"] for event in run.events() if event["event"] == "step"]
    assert steps == list(range(1, STEPS + 1))
    assert [event["first_step"] for event in run.events() if event["event"] == "started" and "first_step" in event] == [
        4
    ]
    shown = monitor.summary(run)
    assert (shown["state"], shown["resumable"], shown["lora"]) == ("finished", False, lora_name)
    assert not (run.folder / "state").exists()
    assert "two-goes" not in resumable()
    with pytest.raises(TrainingError, match=r"two-goes is finished\. Choose its LoRA under continue_from"):
        train(host, sd3, vae, dataset, resume="two-goes", name="x")


def test_a_stop_that_was_asked_for_before_the_end_does_not_stop_the_resumed_training(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(host, sd3, vae, dataset, monkeypatch, "asked-late")
    (run.folder / "requests").mkdir(exist_ok=True)
    (run.folder / "requests" / "stop").touch()
    train(host, sd3, vae, dataset, resume="asked-late", name="x")
    assert run.state == "finished"


def test_a_resumed_training_can_be_stopped_and_resumed_once_more(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(host, sd3, vae, dataset, name="one-go-more")
    run = stopped(host, sd3, vae, dataset, monkeypatch, "thrice", step=2)
    assert stopped(host, sd3, vae, dataset, monkeypatch, "thrice", step=5, resume="thrice").folder == run.folder
    assert monitor.summary(run)["error"] == "Stopped at step 5. Resume it from there."
    lora = train(host, sd3, vae, dataset, name="x", resume="thrice")[0]
    assert all(torch.equal(lora[key], whole[0][key]) for key in lora)


def test_a_training_that_was_continued_from_a_lora_resumes_without_its_file(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, first = train(host, sd3, vae, dataset, name="parent")
    whole = train(host, sd3, vae, dataset, name="child", continue_from=first)
    stopped(host, sd3, vae, dataset, monkeypatch, "child-in-two", continue_from=first)
    (Path(host.base) / "output" / "loras" / first).unlink()
    lora, recipe, *_ = train(host, sd3, vae, dataset, name="x", resume="child-in-two")
    assert recipe.lineage == (first,)
    assert all(torch.equal(lora[key], whole[0][key]) for key in lora)


def test_a_run_is_resumed_on_its_own_model_and_dataset_only(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(host, sd3, vae, dataset, monkeypatch, "faithful")
    folder_sets(Path(host.base) / "input" / "other-sets", 5)
    others = host.call("InContextBuildDataset", folder="other-sets", recipe=RECIPE)[0]
    with pytest.raises(
        TrainingError, match=r"faithful was not trained on other-sets as it is now\. Connect the dataset"
    ):
        train(host, sd3, vae, others, name="x", resume="faithful")
    flux = Tiny("flux", tiny_models.flux(), tiny_models.Words.of("flux"))
    with pytest.raises(TrainingError, match=r"trained on SD3, but the model is Flux\. Connect the same model"):
        train(host, flux, vae, dataset, name="x", resume="faithful")
    finetuned = Tiny("sd3", tiny_models.sd3(seed=1), tiny_models.Words.of("sd3"))
    with pytest.raises(TrainingError, match=r"trained on another SD3 than the one connected\. Connect the model file"):
        train(host, finetuned, vae, dataset, name="x", resume="faithful")
    about = run.about
    (run.folder / "run.json").write_text(json.dumps({**about, "trainer": "sd-scripts"}))
    with pytest.raises(
        TrainingError, match=r"faithful was trained with sd-scripts\. Resume it with that trainer's node"
    ):
        train(host, sd3, vae, dataset, name="x", resume="faithful")
    (run.folder / "run.json").write_text(json.dumps({**about, "settings": {"steps": "many"}}))
    with pytest.raises(TrainingError, match=r"run\.json cannot be used"):
        train(host, sd3, vae, dataset, name="x", resume="faithful")
    with pytest.raises(TrainingError, match=r"run\.json"):
        train(host, sd3, vae, dataset, name="x", resume="never-was")
    (run.folder / "run.json").write_text(json.dumps(about))
    assert monitor.summary(run)["state"] == "cancelled"  # a refusal leaves the run as it was


def asked_while_encoding(vae: Any, run: Run, what: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Ask for something at the second picture; the list fills with the pictures that are encoded."""
    encode, seen = vae.encode, []

    def ask(pixels: Any) -> Any:
        seen.append(pixels)
        if len(seen) == 2:
            monitor.ask(run, what)
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", ask)
    return seen


def test_stop_is_followed_while_pictures_are_encoded(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management

    folder = Path(host.base) / "output" / "incontext_runs" / "early"
    seen = asked_while_encoding(vae, Run(folder), "stop", monkeypatch)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(host, sd3, vae, dataset, name="early")
    assert len(seen) == 2
    shown = monitor.summary(Run(folder))
    assert (shown["state"], shown["error"], shown["resumable"]) == (
        "cancelled",
        "Stopped before the first step.",
        False,
    )


def test_what_is_asked_for_while_it_encodes_is_done_after_the_first_step(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(host.base) / "output" / "incontext_runs" / "patient"
    asked_while_encoding(vae, Run(folder), "save", monkeypatch)
    train(host, sd3, vae, dataset, name="patient", steps=3)
    saved = [event["step"] for event in Run(folder).events() if event["event"] == "checkpoint"]
    assert saved == [1, 3]


def test_the_monitor_counts_what_the_node_counts(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(host.base) / "output" / "incontext_runs" / "counted"
    shown: list[tuple[str, int, int]] = []
    encode = vae.encode

    def look(pixels: Any) -> Any:
        summary = monitor.summary(Run(folder))
        shown.append((summary["phase"], summary["phase_done"], summary["phase_total"]))
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", look)
    train(host, sd3, vae, dataset, name="counted", steps=1)
    assert shown == [("encoding picture", number, 4) for number in (1, 2, 3, 4)]
    phases = [event["phase"] for event in Run(folder).events() if event["event"] == "phase"]
    assert phases == ["encoding picture"] * 4 + ["encoding caption"] * 4 + ["training"]
    assert monitor.summary(Run(folder))["phase_total"] is None
