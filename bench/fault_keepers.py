"""Who looks after a run in the campaign of faults: a bare process, or a real ComfyUI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..demo import sets as demo_sets
from ..demo.server import ComfyServer
from ..demo.workflow import set_value
from ..incontext.dataset.build import build
from ..incontext.dataset.options import BuildOptions
from ..incontext.lora.recipe import Recipe
from ..incontext.panels.arrange import rows
from ..training.runs.run_folder import Run
from ..training.sd_scripts import environment
from ..training.sd_scripts.machine import Machine, place_tokenizers
from ..training.sd_scripts.settings import SdSettings, Sizes
from .child import ROOT, in_pack

STEPS, SAVE_EVERY = 24, 4
TOLD = {"pause": 0.02, "slow": 0.01, "checkpoints": True}


class Keeper(Protocol):
    """Who starts trainings and looks after them."""

    runs: Path
    loras: Path
    save_every: int

    @property
    def process(self) -> subprocess.Popen[Any]: ...

    def begin(self) -> None:
        """Live, again after it was killed."""
        ...

    def start(self) -> None:
        """Ask for a training, without waiting for it."""
        ...

    def resume(self, run: Run) -> str:
        """Go on with one; returns why that cannot be."""
        ...

    def end(self) -> None: ...


class BareKeeper:
    """`fault_host`, in a process of its own."""

    def __init__(self, machine: Mapping[str, str], order: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.runs, self.loras = Path(machine["runs"]), Path(machine["loras"])
        self.save_every = order["settings"]["save_every"]
        self._command = in_pack("bench.fault_host", json.dumps(machine), json.dumps(order))
        self.told = dict(told)
        self._process: subprocess.Popen[Any] | None = None

    @property
    def process(self) -> subprocess.Popen[Any]:
        assert self._process is not None
        return self._process

    def begin(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read().get("ready")

    def start(self) -> None:
        self._say({"do": "start", "told": self.told})

    def started(self) -> dict[str, Any]:
        """The answer to `start` or `ask_to_resume`."""
        return self._read()

    def ask_to_resume(self, run: Run) -> None:
        self._say({"do": "resume", "run": str(run.folder), "told": TOLD})

    def resume(self, run: Run) -> str:
        self.ask_to_resume(run)
        return self.started().get("error", "")

    def stop(self, run: Run, patience: float) -> dict[str, Any]:
        self._say({"do": "stop", "run": str(run.folder), "patience": patience})
        return self._read()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _say(self, what: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}


class ComfyKeeper:
    """ComfyUI itself; ``prompt`` makes what is queued to start a training."""

    def __init__(
        self, base: Path, node: str, prompt: Callable[[ComfyServer], dict[str, Any]], save_every: int, paths: Path
    ) -> None:
        self.runs, self.loras = base / "output" / "incontext_runs", base / "output" / "loras"
        self.save_every = save_every
        self._base, self._prompt = base, prompt
        self._arguments = ["--extra-model-paths-config", str(paths)]
        self._server: ComfyServer | None = None
        self._made: dict[str, Any] = {}
        self._node, self._started = node, 0

    @property
    def process(self) -> subprocess.Popen[Any]:
        assert self._server is not None
        assert self._server._process is not None
        return self._server._process

    def begin(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = ComfyServer(self._base, extra_arguments=self._arguments)
        self._server.__enter__()
        self._made = self._made or self._prompt(self._server)

    def start(self) -> None:
        assert self._server is not None
        self._started += 1  # a prompt that was executed before is answered from memory
        set_value(self._made, self._node, "seed", self._started)
        self._server.post_json("/prompt", {"prompt": self._made, "client_id": "faults"})

    def resume(self, run: Run) -> str:
        import urllib.error

        assert self._server is not None
        try:
            self._server.post_json(f"/incontext_lora/runs/{run.name}/resume", {})
        except urllib.error.HTTPError as error:
            return error.read().decode()
        return ""

    def end(self) -> None:
        if self._server is not None:
            self._server.stop()


def stand_in_keepers(folder: Path, count: int = 2) -> list[BareKeeper]:
    """Hosts of one folder of runs, with the stand-in trainer."""
    from ..tests import sd_scripts_machine
    from ..tests.dataset_sets import folder_sets

    machine = sd_scripts_machine.stand_in_machine(folder / "here", folder / "ComfyUI")
    dataset = sd_scripts_machine.small_dataset(folder_sets(folder / "sets", 3), folder / "datasets")
    files = sd_scripts_machine.flux_files(folder / "models")
    settings = SdSettings(steps=STEPS, save_every=SAVE_EVERY, rank=4, sizes=Sizes.FULL)
    order = _order("flux", list(files.values()), dataset.folder, settings)
    return [BareKeeper(_paths(machine), order, TOLD) for _ in range(count)]


def _order(family: str, files: Sequence[Path], dataset: Path, settings: SdSettings) -> dict[str, Any]:
    return {
        "architecture": family,
        "files": [str(path) for path in files],
        "dataset": str(dataset),
        "name": "toy",
        "settings": settings.to_json(),
    }


def _paths(machine: Machine) -> dict[str, str]:
    return {
        **{name: str(getattr(machine, name)) for name in ("runs", "loras", "comfyui", "tokenizers", "runner")},
        "python": str(machine.trainer.python),
        "checkout": str(machine.trainer.checkout),
    }


def real_keeper(folder: Path, comfyui: Path) -> BareKeeper | None:
    """A host with sd-scripts itself and FLUX at tiny sizes; None if it is not installed."""
    from ..tests.dataset_sets import folder_sets
    from ..tests.training import tiny
    from ..training.sd_scripts.architectures import FLUX

    try:
        trainer = environment.find()
    except environment.TrainerNotInstalled:
        return None
    models, tokenizers = folder / "models", folder / "tokenizers"
    models.mkdir(parents=True)
    command = [str(trainer.python), str(Path(tiny.__file__)), "write", str(trainer.checkout), "flux", str(models)]
    subprocess.run(command, check=True, capture_output=True)
    place_tokenizers(FLUX, comfyui, tokenizers)
    recipe = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
    dataset = build(folder_sets(folder / "sets", 4), folder / "datasets", recipe, BuildOptions(name="toy"))
    files = [models / "model.safetensors", *(p for p in sorted(models.glob("*.safetensors")) if p.stem != "model")]
    settings = SdSettings(
        steps=12, save_every=3, rank=4, alpha=4.0, sizes=Sizes.FULL, sample_every=0, gradient_checkpointing=False,
        batch_size=1,
    )  # fmt: skip
    machine = Machine(
        trainer, folder / "runs", folder / "loras", comfyui, tokenizers, runner=Path(tiny.__file__), on_cpu=True
    )
    return BareKeeper(_paths(machine), _order("flux", files, dataset.folder, settings), {})


def comfy_keeper(folder: Path, base: Path, *, in_host: bool) -> ComfyKeeper:
    """ComfyUI with the demo models and, where it does not train itself, the stand-in trainer as its sd-scripts."""
    from ..demo.job import Job
    from ..launcher.work import model_paths, prepare_base
    from ..tests import sd_scripts_machine
    from ..tests.dataset_sets import folder_sets

    prepare_base(folder, ROOT)
    paths = folder / "models.yaml"
    paths.write_text(model_paths(base / "models"), encoding="utf-8")
    trainer = folder / "data" / "trainer"
    checkout = trainer / "sd-scripts"
    checkout.mkdir(parents=True)
    (checkout / "train_network.py").touch()
    python = trainer / "python"
    script = (
        f'case "$1" in -c) echo cpu;; *) shift; exec "{sys.executable}" "{sd_scripts_machine.STAND_IN}" "$@";; esac'
    )
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    environment.remember(environment.Trainer(python, checkout), trainer)
    for option, path in sd_scripts_machine.flux_files(folder / "made").items():
        kind = {"pretrained_model_name_or_path": "diffusion_models", "ae": "vae"}.get(option, "text_encoders")
        (folder / "models" / kind).mkdir(exist_ok=True)
        shutil.copy(path, folder / "models" / kind)
    os.environ["INCONTEXT_LORA_DATA"] = str(folder / "data")
    os.environ["STAND_IN"] = json.dumps(TOLD)

    def in_comfyui(server: ComfyServer) -> dict[str, Any]:
        demo_sets.write_sets(folder / "input" / "sets", 4, 1)
        prompt = Job(server, folder, lambda text: None).prompt("train-in-host")
        set_value(prompt, "InContextBuildDataset", "folder", "sets")
        for name, value in {"name": "toy", "steps": 400, "save_every": 3, "sample_every": 0}.items():
            set_value(prompt, "InContextTrainLoraInHost", name, value)
        return prompt

    def in_a_process(server: ComfyServer) -> dict[str, Any]:
        folder_sets(folder / "input" / "sets", 3, size=(512, 512))
        prompt = Job(server, folder, lambda text: None).prompt("train-sd-scripts-flux")
        set_value(prompt, "InContextBuildDataset", "folder", "sets")
        values = {
            "steps": STEPS, "save_every": SAVE_EVERY, "rank": 4, "background": True, "samples": 0, "name": "toy",
            "model": "flux.safetensors", "vae": "ae.safetensors", "text_encoder_1": "t5xxl.safetensors",
            "text_encoder_2": "clip_l.safetensors", "text_encoder_3": "none",
        }  # fmt: skip
        for name, value in values.items():
            set_value(prompt, "InContextTrainLora", name, value)
        return prompt

    if in_host:
        return ComfyKeeper(folder, "InContextTrainLoraInHost", in_comfyui, 3, paths)
    return ComfyKeeper(folder, "InContextTrainLora", in_a_process, SAVE_EVERY, paths)
