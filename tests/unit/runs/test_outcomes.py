"""Runs with the stand-in trainer: a real process that is slow, fails in each phase, forks, fills the disk."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.options import BuildOptions
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe import Recipe, References
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.incontext.panels.box import Box
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.run_support import Start, steps, until, watch_to_end
from incontext_lora.tests.sd_scripts_machine import flux_files, flux_order, small_dataset
from incontext_lora.training.choices import ReferenceKind
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.event_tail import EventTail
from incontext_lora.training.runs.path_length import check_length
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import begin, environment, follow, launch, settle, states
from incontext_lora.training.sd_scripts.architectures import ARCHITECTURES, Architecture
from incontext_lora.training.sd_scripts.machine import Machine, place_tokenizers
from incontext_lora.training.sd_scripts.notes import describe_limits
from incontext_lora.training.sd_scripts.order import trained_recipe
from incontext_lora.training.sd_scripts.processes import Processes
from incontext_lora.training.sd_scripts.settings import Device


class TestSuccess:
    def test_the_lora_is_published_with_its_recipe(self, start: Start, machine: Machine) -> None:
        run, process = start()
        assert watch_to_end(run, process) == 0
        result = settle.settle(run, machine.loras, 0)
        assert (result.state, run.state) == (run_folder.FINISHED, run_folder.FINISHED)
        assert result.lora == machine.loras / "toy.safetensors"
        recipe = read_recipe(result.lora)
        assert recipe is not None
        assert (recipe.name, recipe.base) == ("toy", "FLUX.1-dev")
        assert recipe.references == References(clean=True, share=0.5, isolated=True)
        assert run.losses() == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]

    def test_settling_twice_changes_nothing(self, start: Start, machine: Machine) -> None:
        run, process = start()
        watch_to_end(run, process)
        first = settle.settle(run, machine.loras, 0)
        assert settle.settle(run, machine.loras) == first
        assert len(list(machine.loras.iterdir())) == 1

    def test_a_second_run_of_that_name_takes_nothing_from_the_first(self, start: Start, machine: Machine) -> None:
        for expected in ("toy", "toy-2"):
            run, process = start()
            watch_to_end(run, process)
            result = settle.settle(run, machine.loras, 0)
            assert (run.name, result.lora) == (expected, machine.loras / f"{expected}.safetensors")

    def test_events_are_reported_as_they_happen(self, start: Start) -> None:
        run, process = start(pause=0.05)
        seen: list[str] = []
        follow.watch(run, process, EventTail(run), lambda event: seen.append(event["event"]), pause=0.01)
        assert seen[:2] == [run_folder.STARTED, run_folder.PHASE]
        assert seen.count(run_folder.STEP) == 5
        assert "idle" in seen[seen.index(run_folder.STEP) :]

    def test_old_data_is_removed_unless_it_trains(self, start: Start, machine: Machine) -> None:
        """What a running training reads stays, however long it takes; the log of the next run says what went."""
        run, process = start(pause=5.0)
        until(lambda: steps(run))
        used = Path(json.loads((run.folder / "job-1" / "job.json").read_text())["cache"])
        unused = used.with_name("flux-of-last-year")
        unused.mkdir()
        for folder in (used, unused):
            os.utime(folder, (0, 0))
        other, _ = start({"validation_sets": 1})
        assert used.exists()
        assert not unused.exists()
        assert "removed flux-of-last-year, 0.00 GB" in (other.folder / "log.txt").read_text()
        process.kill()


class TestBeforehand:
    """What is known before a run begins is said before it begins."""

    def said(self, run: Run) -> list[str]:
        events = list(run.events())
        first = next(i for i, event in enumerate(events) if event.get("phase") == "loading the models")
        return [event["text"] for event in events[:first] if event["event"] == run_folder.NOTE]

    def test_without_a_card_it_is_slow(self, start: Start) -> None:
        run, process = start()
        watch_to_end(run, process)
        (text,) = self.said(run)
        assert "no graphics card" in text
        assert "on the processor, in fp32" in text
        assert text in (run.folder / "log.txt").read_text()

    @pytest.mark.parametrize("family", ARCHITECTURES.values(), ids=lambda family: family.name)
    def test_what_cannot_isolate_references(self, family: Architecture, tmp_path: Path) -> None:
        dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
        wanted = replace(flux_order(dataset, flux_files(tmp_path / "models")), architecture=family)

        def said(**settings: Any) -> list[str]:
            chosen = replace(wanted.settings, **settings)
            return list(describe_limits(wanted, chosen, Device.NVIDIA, 0.0))

        isolates = family.name in ("flux", "chroma", "sd3")
        notes = said()
        assert len(notes) == (0 if isolates else 1)
        assert all(f"References of {family.title} cannot be isolated" in note for note in notes)
        for others in (
            {"references": ReferenceKind.CLEAN},
            {"references": ReferenceKind.NONE},
            {"reference_share": 0.0},
        ):
            assert said(**others) == []
        assert trained_recipe(wanted).references.isolated is isolates

    @pytest.mark.parametrize(
        ("device", "expected", "options"),
        [
            (Device.AMD, "AMD", ("AdamW", "bf16")),
            (Device.APPLE, "Apple", ("AdamW", "no")),
            (Device.NVIDIA, "", ("AdamW8bit", "bf16")),
        ],
    )
    def test_what_another_card_lacks(
        self, device: Device, expected: str, options: tuple[str, str], tmp_path: Path, machine: Machine
    ) -> None:
        dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
        wanted = flux_order(dataset, flux_files(tmp_path / "models"), steps=1)
        run, process = begin.start(wanted, replace(machine, on_cpu=False, device=device))
        watch_to_end(run, process)
        said = self.said(run)
        assert len(said) == bool(expected)
        assert all(expected in text for text in said)
        job = (run.folder / "job-1" / "job.toml").read_text()
        assert f'optimizer_type = "{options[0]}"' in job
        assert f'mixed_precision = "{options[1]}"' in job
        assert ("fp8_base" in job) == (device is Device.NVIDIA)

    def test_a_full_disk_is_named_before_anything_is_written(
        self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1_000_000))  # type: ignore[attr-defined]
        with pytest.raises(
            TrainingError, match=r"0\.0\d GB for encoded pictures and captions.*, but only 0\.00 GB are free"
        ):
            start()
        ((run,),) = ([Run(folder) for folder in machine.runs.iterdir()],)
        assert run.state == run_folder.FAILED

    def test_a_small_card_trains_and_says_smaller_pictures(self, tmp_path: Path, machine: Machine) -> None:
        """Pictures, samples and the LoRA's recipe have the size that is trained."""
        recipe = Recipe("toy", rows(512, 768, 3), prefix="[TOY]")
        dataset = build(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets", recipe, BuildOptions(name="toy"))
        wanted = flux_order(dataset, flux_files(tmp_path / "models"), steps=1, megapixels=0.3)
        run, process = begin.start(wanted, machine)
        watch_to_end(run, process)
        prompt = json.loads((run.folder / "job-1" / "prompts.json").read_text())[0]
        assert (prompt["width"], prompt["height"]) == (384, 576)
        assert {path.parent.name for path in dataset.folder.glob("training/*/*/*.png")} == {"384x576"}
        layout = Recipe.from_json(run.about["recipe"]).layout
        assert (layout.width, layout.height, str(layout.boxes[1])) == (384, 576, str(Box(0, 192, 384, 192)))


class TestFailure:
    @pytest.mark.parametrize("phase", ["starting", "loading the models", "encoding the captions", "training", "saving"])
    def test_in_each_phase(self, start: Start, machine: Machine, phase: str) -> None:
        run, process = start(fail=phase, words="torch.OutOfMemoryError: CUDA out of memory.")
        code = watch_to_end(run, process)
        result = settle.settle(run, machine.loras, code)
        assert result.state == run.state == run_folder.FAILED
        assert result.message.startswith(f"The training failed while {phase} (exit code 1). The graphics card ran out")
        assert "CUDA out of memory." in result.message
        assert not machine.loras.exists()

    def test_exit_code_0_without_a_lora_is_a_failure(self, start: Start, machine: Machine) -> None:
        run, process = start(no_file=True)
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.FAILED
        assert "There is no file" in result.message
        assert not machine.loras.exists()

    def test_exit_code_0_in_the_middle_is_a_failure(self, start: Start, machine: Machine) -> None:
        run, process = start(fail="training", code=0, words="No data found. Please verify arguments")
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.FAILED
        assert "no pictures" in result.message

    def test_a_lora_with_foreign_names_is_a_failure(self, start: Start, machine: Machine) -> None:
        run, process = start(wrong_file=True)
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.FAILED
        assert "not a LoRA for FLUX.1" in result.message
        assert not machine.loras.exists()

    def test_a_full_disk_is_named_and_leaves_readable_events(self, start: Start, machine: Machine) -> None:
        run, process = start(full_disk=True)
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.FAILED
        assert "The disk is full" in result.message
        assert run.state == run_folder.FAILED  # although a line before it was cut off

    def test_a_missing_interpreter(self, start: Start, machine: Machine, tmp_path: Path) -> None:
        run, process = start()
        watch_to_end(run, process)
        gone = environment.Trainer(tmp_path / "gone", machine.trainer.checkout)
        started = launch.build(gone, run.folder / "job-1", Processes(), os.environ, offline=True)
        with pytest.raises(TrainingError, match="cannot be started"):
            supervise.start(started, run.folder)


class TestSeveralMachines:
    """The stand-in ends as the runner of a machine that is not the first: without a word, and without a LoRA."""

    def test_one_that_helps_ends_well_without_a_lora(
        self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, process = start({"steps": 20, "save_every": 4}, pause=0.05)
        until(lambda: states.find_last(run))
        follow.stop(run, process)
        settle.settle(run, machine.loras, process.returncode, stopped=True)
        second = replace(machine, processes=Processes(2, 2, 1, "first"))
        launched: list[tuple[str, ...]] = []

        def build_alone(*arguments: Any, **named: Any) -> supervise.Launch:
            launched.append(build(*arguments, **named).arguments)
            return build(*(arguments[0], arguments[1], Processes(), arguments[3]), **named)

        build = launch.build
        monkeypatch.setattr(launch, "build", build_alone)  # Accelerate is not here
        monkeypatch.setenv("STAND_IN", json.dumps({"silent": True, "no_file": True}))
        helping, process = begin.join(run, second)
        try:
            assert helping.folder != run.folder
            assert watch_to_end(helping, process) == 0
            result = settle.settle(helping, machine.loras, 0)
        finally:
            supervise.kill(helping.folder)
        assert (result.state, result.lora) == (run_folder.FINISHED, None)
        assert "on the first machine" in result.message
        assert "--machine_rank 1 --main_process_ip first" in " ".join(launched[0])
        options = (helping.folder / "job-1" / "job.toml").read_text()
        assert f'resume = "{states.find_last(run)[0].as_posix()}"' in options  # type: ignore[index]
        assert not machine.loras.exists() or not list(machine.loras.iterdir())


class TestNames:
    def test_paths_that_windows_would_not_take_are_said_beforehand(self) -> None:
        runs = Path("C:/Users/somebody/Desktop/ComfyUI_windows_portable/ComfyUI/output/incontext_runs")
        check_length(runs, "storyboard", "win32", enabled=False)
        check_length(runs, "x" * 100, "win32", enabled=True)
        check_length(runs, "x" * 100, "linux", enabled=False)
        with pytest.raises(TrainingError, match=r"would have paths of \d+ characters") as told:
            check_length(runs, "x" * 100, "win32", enabled=False)
        possible = int(str(told.value).partition("a name of ")[2].split()[0])
        check_length(runs, "x" * possible, "win32", enabled=False)

    @pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "a/b", "..\\x"])
    def test_names_lead_nowhere_else(self, start: Start, machine: Machine, name: str) -> None:
        assert run_folder.safe_name(name) == Path(run_folder.safe_name(name)).name
        writer = run_folder.RunWriter.create(machine.runs, name, {})
        writer.close()
        assert writer.run.folder.resolve().parent == machine.runs.resolve()


def test_tokenizers_are_comfyuis_own(machine: Machine) -> None:
    from incontext_lora.training.sd_scripts.architectures import FLUX

    place_tokenizers(FLUX, machine.comfyui, machine.tokenizers)
    clip = json.loads((machine.tokenizers / "openai_clip-vit-large-patch14" / "tokenizer_config.json").read_text())
    assert clip["model_max_length"] == 77  # as many as CLIP reads
    assert (machine.tokenizers / "google_t5-v1_1-xxl" / "tokenizer_config.json").exists()
    place_tokenizers(FLUX, machine.comfyui / "gone", machine.tokenizers)  # they are there already
