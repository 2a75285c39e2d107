"""`run.py train`: options to an order, and a whole run with the stand-in trainer, stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.launcher import pack
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.lora_files import lora
from incontext_lora.tests.sd_scripts_machine import STAND_IN, flux_files, small_dataset
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import arguments, cli
from incontext_lora.training.sd_scripts.presets import preset
from incontext_lora.training.sd_scripts.processes import Processes
from incontext_lora.training.sd_scripts.settings import Optimiser, Sizes

# run.py train, with the stand-in in place of the runner and no question to torch about a graphics card
MAIN = """
from pathlib import Path
from incontext_lora.training.sd_scripts import cli
from incontext_lora.training.sd_scripts.environment import Trainer
import os, sys
cli.environment.find = lambda: Trainer(Path(sys.executable), Path(os.environ["STAND_IN_CHECKOUT"]))
cli.torch_device.has_gpu = lambda python: False
this_machine = cli.this_machine
def stand_in(options, trainer):
    from dataclasses import replace
    return replace(this_machine(options, trainer), runner=Path(os.environ["STAND_IN_FILE"]))
cli.this_machine = stand_in
raise SystemExit(cli.main(sys.argv[1:]))
"""
REGISTER = f"import runpy\nrunpy.run_path({pack.__file__!r})['register']()\n"


def given(*words: str) -> object:
    return cli.parser().parse_args(["--comfyui", "c", "--output", "o", *words])


class TestOptions:
    def test_a_preset_with_changes(self) -> None:
        options = given("--preset", "24 GB", "--steps", "100", "--optimiser", "AdamW", "--no-fp8", "--rank", "8")
        made = cli.settings(options)  # type: ignore[arg-type]
        assert (made.steps, made.rank, made.optimiser, made.fp8) == (100, 8, Optimiser.ADAMW, False)
        assert (made.batch_size, made.swapped) == (1, preset("24 GB").swapped)

    def test_every_setting_has_an_option(self) -> None:
        made = cli.settings(given("--sizes", Sizes.FULL.value, "--public-metadata", "--ema", "0.9"))  # type: ignore[arg-type]
        assert (made.sizes, made.public_metadata, made.ema) == (Sizes.FULL, True, 0.9)

    def test_processes_and_machines(self) -> None:
        """What is not given is as the machine keeps it; a file of Accelerate's counts only where nothing is given."""
        kept = Processes(count=2, port=29600, config="accelerate.yaml")
        assert cli.processes(given(), kept) == kept  # type: ignore[arg-type]
        assert cli.processes(given("--processes", "4"), kept) == Processes(4, port=29600)  # type: ignore[arg-type]
        words = "--processes 8 --machines 2 --machine-rank 1 --main-address gpu-1 --main-port 29700"
        assert cli.processes(given(*words.split()), kept) == Processes(8, 2, 1, "gpu-1", 29700)  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match="cannot reach the first one"):
            cli.processes(given("--processes", "4", "--machines", "2"), kept)  # type: ignore[arg-type]

    def test_what_is_missing_is_named(self) -> None:
        with pytest.raises(TrainingError, match="--architecture and --model must be given"):
            cli.order(given("--dataset", "x"))  # type: ignore[arg-type]

    def test_names_of_comfyuis_folders(self, tmp_path: Path) -> None:
        path = tmp_path / "diffusion_models" / "flux.safetensors"
        path.parent.mkdir()
        path.touch()
        assert arguments.find_model("flux.safetensors", [tmp_path]) == path
        with pytest.raises(TrainingError, match=r"no model file 'other\.safetensors'"):
            arguments.find_model("other.safetensors", [tmp_path])


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
    model, *others = map(str, flux_files(tmp_path / "models").values())
    comfyui = tmp_path / "ComfyUI"
    for name in ("sd1_tokenizer", "text_encoders/t5_tokenizer"):
        (comfyui / "comfy" / name).mkdir(parents=True)
        (comfyui / "comfy" / name / "tokenizer_config.json").write_text("{}")
    (tmp_path / "sd-scripts").mkdir()
    return [
        sys.executable, "-c", REGISTER + MAIN,
        "--comfyui", str(comfyui), "--output", str(tmp_path / "output"), "--dataset", str(dataset.folder),
        "--architecture", "flux", "--model", model, "--files", *others, "--preset", "8 GB", "--steps", "40",
        "--name", "by hand",
    ]  # fmt: skip


def environ(tmp_path: Path, **told: float) -> dict[str, str]:
    return {
        **os.environ,
        "STAND_IN": json.dumps(told),
        "STAND_IN_FILE": str(STAND_IN),
        "STAND_IN_CHECKOUT": str(tmp_path / "sd-scripts"),
        "INCONTEXT_LORA_DATA": str(tmp_path / "data"),
    }


def test_a_whole_run(command: list[str], tmp_path: Path) -> None:
    answer = subprocess.run(command, env=environ(tmp_path), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "step 40 of 40" in answer.stdout
    assert answer.stdout.splitlines()[-1] == f"finished: {tmp_path / 'output' / 'loras' / 'by hand.safetensors'}"
    finished = Run(tmp_path / "output" / "incontext_runs" / "by hand")
    assert finished.state == run_folder.FINISHED  # the same run as the node's, for the same monitor


def test_a_lora_to_continue_is_found_from_the_trainers_folder_too(command: list[str], tmp_path: Path) -> None:
    """The trainer works in another folder, where a relative path would lead nowhere."""
    lora(tmp_path / "mine.safetensors")
    words = [*command, "--continue", "mine.safetensors"]
    answer = subprocess.run(words, cwd=tmp_path, env=environ(tmp_path), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    begun = Run(tmp_path / "output" / "incontext_runs" / "by hand").about
    assert begun["continue_from"] == str(tmp_path / "mine.safetensors")


def hear_ctrl_c() -> None:
    """What runs in the background of a shell ignores Ctrl-C, and so would its children; the test is to be heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single process")
def test_ctrl_c_saves_the_state_and_resume_goes_on(command: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        command,
        env=environ(tmp_path, pause=0.1),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    stopped = Run(tmp_path / "output" / "incontext_runs" / "by hand")
    deadline = time.monotonic() + 30
    while not stopped.losses():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Resume it from step" in output.splitlines()[-1]
    assert supervise.members(stopped.folder) == []
    again = [*command[: command.index("--dataset")], "--resume", str(stopped.folder)]
    answer = subprocess.run(again, env=environ(tmp_path), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(stopped.losses()) == 40


def test_errors_are_sentences(command: list[str], tmp_path: Path) -> None:
    wrong = [word if word != "flux" else "chroma" for word in command]
    answer = subprocess.run(wrong, env=environ(tmp_path), capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("run.py train: flux.safetensors is a FLUX.1 model; expected Chroma")
