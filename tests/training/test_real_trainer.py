"""The real trainer at tiny sizes: LoRAs are trained, resumed, continued and loaded in ComfyUI."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.lora.header import read_header
from incontext_lora.incontext.lora.keys import match
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.run_support import of_kind, steps, watch_to_end
from incontext_lora.tests.training.comfy_names import comfy_names
from incontext_lora.tests.training.orders import Make, sampled_quickly
from incontext_lora.training.choices import ReferenceKind
from incontext_lora.training.runs import output, requests, run_folder, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import begin, settle, states
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.processes import Processes
from safetensors.torch import load_file


@pytest.fixture(autouse=True)
def _comfyui_importable(host: Any) -> None:
    """ComfyUI says which parts of a model a LoRA changes."""


@pytest.fixture(scope="module", params=["flux", "chroma", "sd3", "lumina2", "hunyuan-image", "anima"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_trains_stops_resumes_and_finishes(family: str, order: Make, machine: Machine) -> None:
    """Stop after step 3, resume, finish: true step numbers, one LoRA, the recipe inside, every key matched by ComfyUI."""
    run, process = begin.start(order(family), machine)
    code = watch_to_end(run, process, lambda event: event.get("step") == 2 and requests.add(run.folder, "stop"))
    stopped = settle.settle(run, machine.loras, code)
    assert (stopped.state, code) == (run_folder.CANCELLED, 75), stopped.message
    done = steps(run)[-1]
    assert 2 <= done < 6
    saved = states.find_last(run)
    assert saved is not None
    assert saved[1] == done
    assert not machine.loras.exists()

    process = begin.resume(run, machine)
    assert watch_to_end(run, process) == 0, output.tail(run.folder)
    result = settle.settle(run, machine.loras, process.returncode)
    assert result.state == run_folder.FINISHED, result.message
    assert steps(run) == [1, 2, 3, 4, 5, 6]
    assert len(run.losses()) == 6
    assert result.lora == machine.loras / f"{family}.safetensors"
    reused = [(event["pictures_reused"], event["captions_reused"]) for event in of_kind(run, "cache")]
    assert reused[-1] == (20, 20), (
        "resumed, it encodes nothing; before, a training on the same sets may have encoded them"
    )
    assert len(reused) == 2

    recipe = read_recipe(result.lora)
    assert recipe is not None
    assert recipe.references.share == 0.5
    assert recipe.references.isolated == (family in ("flux", "chroma", "sd3"))
    said = " ".join(event["text"] for event in of_kind(run, run_folder.NOTE))
    assert recipe.references.isolated != ("trained clean instead" in said)
    header = read_header(result.lora)
    assert header.metadata["ss_steps"] == "6"
    assert "caption" not in " ".join(header.metadata).lower()
    assert "ss_tag_frequency" not in header.metadata
    assert (
        float(
            sum(
                np.abs(t.float().numpy()).sum()
                for key, t in load_file(str(result.lora)).items()
                if "up" in key or "lora_B" in key
            )
        )
        > 0
    )
    report = match({key: entry.shape for key, entry in header.tensors.items()}, *comfy_names(family))
    assert (report.unmatched, report.misfits) == ((), ())
    assert len(report.matched) == report.modules > 0


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("flux", ["clip_l", "t5xxl"]),
        ("sd3", ["clip_l", "clip_g", "t5xxl"]),
        ("lumina2", ["gemma2"]),
        ("hunyuan-image", ["text_encoder", "byt5"]),
        ("anima", ["qwen3"]),
    ],
)
def test_what_is_encoded_is_not_loaded_again(name: str, files: list[str], order: Make, machine: Machine) -> None:
    """A second run spares the text encoders, and trains and samples the very same as one that loads them."""

    wanted = sampled_quickly(order(name, steps=2, save_every=0, sample_every=2, caption_dropout=0.5))

    def trained() -> tuple[Run, Path, bytes]:
        run, process = begin.start(wanted, machine)
        code = watch_to_end(run, process)
        result = settle.settle(run, machine.loras, code)
        assert result.lora is not None, result.message
        first, sample = of_kind(run, run_folder.SAMPLE)
        assert (first["step"], sample["step"]) == (1, 2)  # the first step is sampled, to see whether it fits
        return run, result.lora, (run.folder / "samples" / sample["file"]).read_bytes()

    trained()
    spared, lora, picture = trained()
    for prompts in wanted.dataset.folder.glob("training/*/prompts-*.pt"):
        prompts.unlink()
    loaded, other, same_picture = trained()
    assert [event["files"] for event in of_kind(spared, "spared")] == [files]
    assert of_kind(loaded, "spared") == []
    assert spared.losses() == loaded.losses()
    assert picture == same_picture
    ours, theirs = load_file(str(lora)), load_file(str(other))
    assert all(bool((ours[key] == theirs[key]).all()) for key in theirs)


def test_killed_runs_are_found_interrupted_and_resume(order: Make, machine: Machine) -> None:
    """kill -9: nothing half-written, at most one save interval lost, step numbers true."""
    run, process = begin.start(order("flux", steps=8), machine)
    found: list[bool] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == run_folder.STEP and event["step"] == 5:
            found.append(supervise.find(run.folder) is not None)
            process.send_signal(signal.SIGKILL)

    code = watch_to_end(run, process, kill)
    assert found == [True]
    assert supervise.find(run.folder) is None
    ((swept, result),) = settle.sweep(machine.runs, machine.loras)
    assert (swept, code) == (run, -9)
    assert result.state == run.state == run_folder.INTERRUPTED
    assert "Resume" in result.message
    process = begin.resume(run, machine)
    assert watch_to_end(run, process) == 0, output.tail(run.folder)
    assert settle.settle(run, machine.loras, 0).state == run_folder.FINISHED
    second = [
        event["step"]
        for event in list(run.events())[[e["event"] for e in run.events()].index("interrupted") :]
        if event["event"] == "step"
    ]
    assert second[0] in (5, 6)
    assert second == list(range(second[0], 9))
    assert len(run.losses()) == 8


@pytest.mark.parametrize("name", ["flux", "hunyuan-image", "anima"])
def test_everything_on_request(name: str, order: Make, machine: Machine, referenced: Dataset) -> None:
    """Masks, validation, samples, a save and a sample on request, a shortage of nothing."""
    wanted = order(name, referenced, validation_sets=2, validate_every=3, sample_every=4, samples=2, save_every=0)
    run, process = begin.start(replace(sampled_quickly(wanted), name="a / name"), machine)

    def ask(event: dict[str, Any]) -> None:
        if event.get("event") == run_folder.STEP and event["step"] == 1:
            requests.add(run.folder, "save")
            requests.add(run.folder, "sample")

    assert watch_to_end(run, process, ask) == 0, output.tail(run.folder)
    result = settle.settle(run, machine.loras, 0)
    assert result.state == run_folder.FINISHED, result.message
    assert result.lora is not None
    assert result.lora.parent == machine.loras
    asked = of_kind(run, run_folder.SAMPLE)[:2]
    assert [event["file"][-6:] for event in asked] == ["-1.png", "-2.png"]
    assert {event["step"] for event in of_kind(run, run_folder.SAMPLE)} >= {4, 6}
    assert all((run.folder / "samples" / event["file"]).exists() for event in of_kind(run, run_folder.SAMPLE))
    assert of_kind(run, run_folder.CHECKPOINT)[0]["step"] < 6
    assert [event["step"] for event in of_kind(run, run_folder.VALIDATION)] == [3, 6]
    options = (run.folder / "job-1" / "job.toml").read_text()
    assert "masked_loss = true" in options
    assert not (run.folder / "state").exists()
    recipe = read_recipe(result.lora)
    assert recipe is not None
    assert recipe.references.panels == (0,)


@pytest.mark.parametrize("name", ["flux", "hunyuan-image", "anima"])
def test_a_finished_lora_is_continued(name: str, order: Make, machine: Machine) -> None:
    run, process = begin.start(order(name, steps=2), machine)
    watch_to_end(run, process)
    first = settle.settle(run, machine.loras, process.returncode)
    assert first.lora is not None
    recipe = read_recipe(first.lora)
    assert recipe is not None
    other = {"gradient_checkpointing": True, "reference_share": 1.0}
    again = replace(order(name, steps=2, learning_rate=1e-5, **other), weights=first.lora, recipe=recipe, name="more")
    run, process = begin.start(again, machine)
    watch_to_end(run, process)
    second = settle.settle(run, machine.loras, process.returncode)
    assert second.lora is not None, second.message
    continued = read_recipe(second.lora)
    assert continued is not None
    assert continued.lineage == (f"{name}.safetensors",)
    before, after = load_file(str(first.lora)), load_file(str(second.lora))
    moved = [float((after[key] - before[key]).abs().max()) for key in before if "lora" in key]
    assert 0 < max(moved) < 1e-3


def test_kinds_of_references_differ_in_training_alone(order: Make, machine: Machine) -> None:
    """Before anything is learned: another loss in each step, the same in validation, which has no references."""

    def trained(kind: ReferenceKind) -> tuple[list[float], list[float]]:
        wanted = order(
            "flux", steps=2, save_every=0, learning_rate=1e-12, reference_share=1.0, references=kind, validation_sets=2,
            validate_every=2,
        )  # fmt: skip
        run, process = begin.start(wanted, machine)
        code = watch_to_end(run, process)
        result = settle.settle(run, machine.loras, code)
        assert result.lora is not None, result.message
        recipe = read_recipe(result.lora)
        assert recipe is not None
        assert recipe.references.isolated == (kind is ReferenceKind.ISOLATED)
        return run.losses(), [event["loss"] for event in of_kind(run, run_folder.VALIDATION)]

    (isolated, validated), (clean, also) = (trained(kind) for kind in (ReferenceKind.ISOLATED, ReferenceKind.CLEAN))
    assert all(one != other for one, other in zip(isolated, clean, strict=True))
    assert validated == also != []


def test_a_state_of_the_last_step_becomes_a_lora(order: Make, machine: Machine) -> None:
    """Killed after the last state and before the LoRA: there is no step left to train."""
    run, process = begin.start(order("flux", steps=50, ema=0.9), machine)
    watch_to_end(run, process, lambda event: event.get("step") == 2 and requests.add(run.folder, "stop"))
    assert settle.settle(run, machine.loras, 75).state == run_folder.CANCELLED
    saved = states.find_last(run)
    assert saved is not None
    about = run.about
    about["settings"]["steps"] = saved[1]
    (run.folder / "run.json").write_text(json.dumps(about))
    before = load_file(str(next(run.folder.glob("checkpoints/*.safetensors"))))
    for path in run.checkpoints:
        path.unlink()
    process = begin.resume(run, machine)
    assert watch_to_end(run, process) == 0, output.tail(run.folder)
    result = settle.settle(run, machine.loras, 0)
    assert result.lora is not None, result.message
    after = load_file(str(result.lora))
    assert read_header(result.lora).metadata["ss_steps"] == str(saved[1])
    assert {name: value.tolist() for name, value in before.items()} == {
        name: value.tolist() for name, value in after.items()
    }


def test_two_machines_train_one_lora(order: Make, machine: Machine, tmp_path: Path) -> None:
    """Each with a launcher and a run of its own; the first keeps the LoRA, and stops both. Here they are one machine."""
    both = [
        replace(
            machine, processes=Processes(2, 2, rank, "localhost", 29473), runs=tmp_path / f"machine {rank}" / "Läufe 数"
        )
        for rank in range(2)
    ]
    wanted = order("flux", steps=12, save_every=0)
    (first, leader), (second, helper) = (begin.start(wanted, machine) for machine in both)
    watch_to_end(first, leader, lambda event: event.get("step") == 4 and requests.add(first.folder, "stop"))
    helper.wait(60)
    assert settle.settle(first, machine.loras, leader.returncode).state == run_folder.CANCELLED, output.tail(
        first.folder
    )
    assert settle.settle(second, machine.loras, helper.returncode).state == run_folder.FINISHED, output.tail(
        second.folder
    )
    (first, leader), (second, helper) = (begin.join(first, machine) for machine in both)
    assert second.folder.parent == both[1].runs
    assert watch_to_end(first, leader, lambda event: None) == 0, output.tail(first.folder)
    helper.wait(60)
    result = settle.settle(first, machine.loras, 0)
    assert result.state == run_folder.FINISHED, result.message
    assert settle.settle(second, machine.loras, helper.returncode).lora is None
    assert steps(first) == list(range(1, 13))
    assert steps(second) == []
    assert len(list(machine.loras.iterdir())) == 1


def test_two_processes_train_one_lora(order: Make, machine: Machine) -> None:
    """Through Accelerate's launcher, on processors: stop, resume, one LoRA, a falling loss."""
    together = replace(machine, processes=Processes(count=2, port=29471))
    wanted = order("flux", steps=30, save_every=0, learning_rate=5e-3, caption_dropout=0.0, reference_share=0.0)
    run, process = begin.start(wanted, together)
    watch_to_end(run, process, lambda event: event.get("step") == 8 and requests.add(run.folder, "stop"))
    assert settle.settle(run, machine.loras, process.returncode).state == run_folder.CANCELLED, output.tail(run.folder)
    assert supervise.members(run.folder) == []
    process = begin.resume(run, together)
    members: set[int] = set()

    def count(event: dict[str, Any]) -> None:
        members.update(each.pid for each in supervise.members(run.folder) if event["event"] == run_folder.STEP)

    assert watch_to_end(run, process, count) == 0, output.tail(run.folder)
    assert len(members) >= 3, "a launcher and two trainers"
    result = settle.settle(run, machine.loras, 0)
    assert result.state == run_folder.FINISHED, result.message
    assert steps(run) == list(range(1, 31))
    assert len(list(machine.loras.iterdir())) == 1
    losses = run.losses()
    assert sum(losses[-8:]) < sum(losses[:8])
