"""The real trainer, stopped, on a full disk and on a card that is too small."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.tests.run_support import of_kind, steps, watch_to_end
from incontext_lora.tests.training import tiny
from incontext_lora.tests.training.orders import Make, sampled_quickly
from incontext_lora.training.runs import output, requests, run_folder, stopping, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import begin, data, follow, preflight, settle, states
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.processes import Processes


def test_a_full_disk_ends_nothing(
    order: Make, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed save is reported and repeated later; the final LoRA waits until there is space."""
    full = tmp_path / "full"
    monkeypatch.setenv(tiny.FULL_DISK, str(full))
    wanted = order("flux", steps=45, save_every=15, keep=1)
    run, process = begin.start(wanted, machine)

    def act(event: dict[str, Any]) -> None:
        if event.get("phase") == "training" and not of_kind(run, run_folder.STEP):
            full.touch()
        elif event["event"] == run_folder.NOTE and "training continues" in event["text"]:
            full.unlink()
        elif event.get("step") == 32 and event["event"] == run_folder.STEP:
            full.touch()
        elif event["event"] == run_folder.NOTE and "waits" in event["text"]:
            full.unlink()

    assert watch_to_end(run, process, act) == 0, output.tail(run.folder)
    assert settle.settle(run, machine.loras, 0).state == run_folder.FINISHED
    assert steps(run) == list(range(1, 46))
    said = [event["text"] for event in of_kind(run, run_folder.NOTE)]
    assert any("could not be saved. The training continues" in text for text in said)
    assert any("is saved." in text for text in said)
    assert any("step 45 could not be saved. The training is over and waits" in text for text in said)


def test_a_stop_leaves_nothing_behind(order: Make, machine: Machine) -> None:
    run, process = begin.start(order("flux", steps=500), machine)
    began = time.monotonic()
    while not steps(run) and time.monotonic() - began < 120:
        time.sleep(0.1)
    asked = time.monotonic()
    follow.stop(run, process)
    assert time.monotonic() - asked < stopping.SAVING
    assert supervise.members(run.folder) == []
    assert settle.settle(run, machine.loras, process.returncode, stopped=True).state == run_folder.CANCELLED
    assert states.find_last(run) is not None


def test_a_stop_ends_a_sample(order: Make, machine: Machine) -> None:
    """A sample of half an hour is not waited for; the step before it is saved."""
    wanted = order("flux", steps=4, sample_every=2, save_every=0)
    slow = replace(wanted.architecture, sampling={**wanted.architecture.sampling, "sample_steps": 50_000})
    run, process = begin.start(replace(wanted, architecture=slow), machine)
    code = watch_to_end(
        run, process, lambda event: event.get("phase") == "sampling" and requests.add(run.folder, "stop")
    )
    assert code == 75, output.tail(run.folder)
    saved = states.find_last(run)
    assert saved is not None
    assert saved[1] == steps(run)[-1] == 1
    assert of_kind(run, run_folder.SAMPLE) == []


def test_a_stop_before_the_first_step(order: Make, machine: Machine) -> None:
    run, process = begin.start(order("flux"), machine)
    requests.add(run.folder, "stop")
    assert watch_to_end(run, process) == 75, output.tail(run.folder)
    result = settle.settle(run, machine.loras, 75)
    assert (result.state, result.message) == (run_folder.CANCELLED, "Stopped before the first step.")


def test_a_sample_that_does_not_fit_ends_nothing(
    order: Make, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said at the first step, and the run trains on as one without samples.

    Validation measures the weights that are saved: with an average it is another loss than that of the raw ones.
    """

    def trained(**settings: Any) -> Run:
        chosen = {
            "steps": 6,
            "save_every": 2,
            "validation_sets": 4,
            "validate_every": 3,
            "learning_rate": 2e-2,
            **settings,
        }
        run, process = begin.start(order("flux", **chosen), machine)
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.FINISHED, result.message
        return run

    def measured(run: Run) -> list[float]:
        return [event["loss"] for event in of_kind(run, run_folder.VALIDATION)]

    monkeypatch.setenv(tiny.TOO_LARGE, "1")
    run, other = trained(sample_every=2, ema=0.99), trained(sample_every=0, ema=0.0)
    assert run.losses() == other.losses()
    notes = [event for event in of_kind(run, run_folder.NOTE) if "did not fit" in event["text"]]
    assert [event["step"] for event in notes] == [1]
    assert "To try none, set samples to 0" in notes[0]["text"]
    assert of_kind(run, run_folder.SAMPLE) == []
    assert len(measured(run)) == len(measured(other)) == 2
    assert all(abs(one - other) > 1e-4 for one, other in zip(measured(run), measured(other), strict=True))


@pytest.mark.parametrize(
    ("name", "share", "option", "phase"),
    [
        ("flux", 0.9, "", "encoding the captions on the processor"),
        ("hunyuan-image", 0.9, "fp8_vl = true", "encoding the captions"),
        ("hunyuan-image", 0.4, "text_encoder_cpu = true", "encoding the captions"),
    ],
)
def test_encoders_that_do_not_fit(
    name: str,
    share: float,
    option: str,
    phase: str,
    order: Make,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Larger text encoders than the card holds: captions are encoded elsewhere, and the run says so."""
    monkeypatch.setattr(data, "FOLDER", f"training-{share}")  # nothing is encoded yet
    if option == "fp8_vl = true":  # the smallest card for which the encoder is made 8-bit may not hold a sample
        monkeypatch.setenv(tiny.TOO_LARGE, "1")
    wanted = order(name, steps=2, save_every=0, sample_every=2)
    held = share * preflight.encoder_size(wanted.architecture, wanted.files)
    wanted = replace(wanted, settings=replace(wanted.settings, encoders_on_card=held, vae_chunk_size=16))
    as_card = replace(machine, on_cpu=False, processes=Processes(cpu=True))
    run, process = begin.start(sampled_quickly(wanted), as_card)
    code = watch_to_end(run, process)
    assert settle.settle(run, machine.loras, code).state == run_folder.FINISHED, output.tail(run.folder)
    assert option in (run.folder / "job-1" / "job.toml").read_text()
    assert phase in [event["phase"] for event in of_kind(run, run_folder.PHASE)]
    assert any("text encoders take" in event["text"] for event in of_kind(run, run_folder.NOTE))


def test_wrong_file_is_refused_before_anything_starts(order: Make, machine: Machine, tmp_path: Path) -> None:
    from incontext_lora.incontext.errors import TrainingError
    from incontext_lora.training.sd_scripts.architectures import CHROMA

    files = order("flux").files
    with pytest.raises(TrainingError, match=r"model.safetensors is a FLUX\.1 model; expected Chroma"):
        preflight.assign(CHROMA, files["pretrained_model_name_or_path"], list(files.values())[1:])
