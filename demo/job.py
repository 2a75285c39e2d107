"""The main job in pieces: train on a dataset, generate held-out sets. All of it runs in a real ComfyUI server, through
the bundled workflows; the demo and the benchmarks only change their values.
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import sets as demo_sets
from . import world
from .judge import Judgement, judge
from .server import ComfyServer
from .tasks import COLOUR, Task
from .workflow import find_node, load, set_value, to_prompt

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainedLora:
    """A finished training: the LoRA's name as Load LoRA lists it, and what it took."""

    lora: str
    steps: int
    seconds: float
    build_seconds: float
    losses: tuple[float, ...]
    run: Path


class Mode(Enum):
    """How a set is generated; the values of references are those of Condition Panels."""

    PLAIN = "from the caption alone"
    ISOLATED = "isolate"
    NOISED = "re-noise"


@dataclass(frozen=True)
class GeneratedSets:
    """Generated pictures, uint8 [PANEL, PANEL * panels, 3] each, and what the checker says of them."""

    pictures: tuple[np.ndarray, ...]
    judged: tuple[Judgement, ...]


class Job:
    """One server and the workflows as prompts.

    Args:
        server: started.
        base: its base folder.
        say: shows progress; a text that replaces the one before.
        task: the relation that datasets have and that generated sets are judged by.
    """

    def __init__(self, server: ComfyServer, base: Path, say: Say, task: Task = COLOUR) -> None:
        self._server = server
        self._task = task
        self._input = base / "input"
        self._output = base / "output"
        self._say = say
        self._info = server.object_info()

    def prompt(self, name: str) -> dict[str, Any]:
        """A bundled workflow, as the interface would send it."""
        return to_prompt(load(name), self._info)

    def dataset_folder(self, count: int) -> str:
        """The name in ComfyUI's input folder of the sets that `train` writes."""
        return f"{demo_sets.FOLDER}-{self._task.name}-{count}"

    def train(
        self,
        count: int,
        *,
        steps: int | None = None,
        seed: int = demo_sets.SEED,
        name: str = "shape-story",
        save_every: int | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> TrainedLora:
        """Draw ``count`` related sets, build the dataset and train a LoRA on it, by the train-in-host workflow."""
        started = time.monotonic()
        folder = self.dataset_folder(count)
        demo_sets.write_sets(self._input / folder, count, seed, self._task)
        prompt = self.prompt("train-in-host")
        set_value(prompt, "InContextBuildDataset", "folder", folder)
        set_value(prompt, "InContextBuildDataset", "name", folder)
        set_value(prompt, "InContextTrainLoraInHost", "name", name)
        for key, value in {"steps": steps, "save_every": save_every, **(values or {})}.items():
            if value is not None:
                set_value(prompt, "InContextTrainLoraInHost", key, value)
        training = find_node(prompt, "InContextTrainLoraInHost")
        began: list[float] = []

        def watch(event: str, data: dict[str, Any]) -> None:
            if event == "executing" and data.get("node") == training:
                began.append(time.monotonic())
            if event == "progress_text":
                self._say(str(data.get("text", "")))

        runs = set((self._output / "incontext_runs").glob("*"))
        self._server.run(prompt, watch)
        (folder_of_run,) = set((self._output / "incontext_runs").glob("*")) - runs
        finished = time.monotonic()
        training_began = began[0] if began else started
        events = [json.loads(line) for line in (folder_of_run / "events.jsonl").read_text().splitlines()]
        losses = tuple(event["loss"] for event in events if event["event"] == "step")
        lora = next(event["lora"] for event in events if event["event"] == "finished")
        return TrainedLora(
            lora, len(losses), finished - training_began, training_began - started, losses, folder_of_run
        )

    def generate(
        self,
        asked: Sequence[world.Set],
        *,
        lora: str,
        strength: float,
        what: str,
        modes: Sequence[Mode] = (Mode.PLAIN,),
        second_lora: str | None = None,
    ) -> dict[Mode, GeneratedSets]:
        """Pictures for held-out sets, in each of the modes. ``second_lora`` is loaded beside ``lora``, at strength 1.

        A set's modes follow each other, so that ComfyUI encodes its caption once.
        """
        prompts = {mode: self._prompt_for(mode, lora, strength, second_lora) for mode in modes}
        pictures: dict[Mode, list[np.ndarray]] = {mode: [] for mode in modes}
        judged: dict[Mode, list[Judgement]] = {mode: [] for mode in modes}
        for number, drawn in enumerate(asked):
            self._say(f"{what}: set {number + 1} of {len(asked)}")
            for mode, prompt in prompts.items():
                reference = None if mode is Mode.PLAIN else number % world.PANELS
                picture = self._picture(self._server.run(self._asking_for(prompt, drawn, reference, seed=number)))
                pictures[mode].append(picture)
                judged[mode].append(judge(drawn, picture, reference, self._task))
        return {mode: GeneratedSets(tuple(pictures[mode]), tuple(judged[mode])) for mode in modes}

    def _prompt_for(self, mode: Mode, lora: str, strength: float, second_lora: str | None) -> dict[str, Any]:
        prompt = self.prompt("quickstart" if mode is Mode.PLAIN else "reference-panel")
        set_value(prompt, "InContextLoadLora", "lora_name", lora)
        set_value(prompt, "InContextLoadLora", "strength", strength)
        set_value(prompt, "InContextJointCaption", "summary", world.OPENING)
        if mode is not Mode.PLAIN:
            set_value(prompt, "InContextConditionPanels", "given_panels", mode.value)
        if second_lora is not None:
            inputs = prompt[find_node(prompt, "InContextLoadLora")]["inputs"]
            second = {"model": inputs["model"], "lora_name": second_lora, "strength_model": 1.0}
            prompt["second-lora"] = {"class_type": "LoraLoaderModelOnly", "inputs": second}
            inputs["model"] = ["second-lora", 0]
        return prompt

    def _asking_for(self, prompt: dict[str, Any], drawn: world.Set, reference: int | None, seed: int) -> dict[str, Any]:
        prompt = copy.deepcopy(prompt)
        for number, panel in enumerate(drawn.panels, 1):
            set_value(prompt, "InContextJointCaption", f"panel_{number}", world.panel_text(panel, name_colour=False))
        set_value(prompt, "KSampler", "seed", seed)
        if reference is not None:
            self._give(prompt, drawn.panels[reference], reference)
        return prompt

    def _give(self, prompt: dict[str, Any], panel: world.Panel, place: int) -> None:
        """Let the panel at ``place`` be the reference, and no other."""
        size = f"{panel.radius:.2f}-{panel.dx:.2f}-{panel.dy:.2f}"
        name = f"incontext-demo-given-{panel.shape}-{panel.colour}-{size}-{place}.png"
        Image.fromarray(world.draw_panel(panel)).save(self._input / name)
        set_value(prompt, "LoadImage", "image", name)
        inputs = prompt[find_node(prompt, "InContextStitchPanels")]["inputs"]
        (given,) = (key for key in inputs if key.startswith("panel_"))
        inputs[f"panel_{place + 1}"] = inputs.pop(given)

    def _picture(self, history: dict[str, Any]) -> np.ndarray:
        """The whole canvas among what the workflow saved."""
        images = [image for output in history["outputs"].values() for image in output.get("images", [])]
        canvas = next(image for image in images if image["filename"].startswith("set"))
        data = self._server.fetch_image(canvas["filename"], canvas["subfolder"], canvas["type"])
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
