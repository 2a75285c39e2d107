"""The main job in pieces: train on a dataset, generate held-out sets. All of it runs in a real ComfyUI server, through
the bundled workflows; the demo and the benchmarks only change their values.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import sets as demo_sets
from . import world
from .judge import Judged, judge
from .server import ComfyServer
from .workflow import set_value, to_prompt

WORKFLOWS = Path(__file__).parent.parent / "workflows"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: the LoRA's name as Load LoRA lists it, and what it took."""

    lora: str
    steps: int
    seconds: float
    build_seconds: float
    losses: tuple[float, ...]
    run: Path


@dataclass(frozen=True)
class Generated:
    """Generated pictures, uint8 [PANEL, PANEL * panels, 3] each, and what the checker says of them."""

    pictures: tuple[np.ndarray, ...]
    judged: tuple[Judged, ...]
    seconds: float


class Job:
    """One server and the workflows as prompts.

    Args:
        server: started.
        base: its base folder.
        say: shows progress; a text that replaces the one before.
    """

    def __init__(self, server: ComfyServer, base: Path, say: Say) -> None:
        self._server = server
        self._input = base / "input"
        self._output = base / "output"
        self._say = say
        self._info = server.object_info()

    def prompt(self, name: str) -> dict[str, Any]:
        """A bundled workflow, as the interface would send it."""
        workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
        return to_prompt(workflow, self._info)

    def train(
        self,
        count: int,
        *,
        steps: int | None = None,
        seed: int = demo_sets.SEED,
        name: str = "shape-story",
        save_every: int | None = None,
    ) -> Trained:
        """Draw ``count`` related sets, build the dataset and train a LoRA on it, by the train-in-host workflow."""
        started = time.monotonic()
        folder = f"{demo_sets.FOLDER}-{count}"
        demo_sets.write_sets(self._input / folder, count, seed)
        prompt = self.prompt("train-in-host")
        set_value(prompt, "InContextBuildDataset", "folder", folder)
        set_value(prompt, "InContextBuildDataset", "name", folder)
        set_value(prompt, "InContextTrainLoraInHost", "name", name)
        for key, value in (("steps", steps), ("save_every", save_every)):
            if value is not None:
                set_value(prompt, "InContextTrainLoraInHost", key, value)
        training = next(node for node, one in prompt.items() if one["class_type"] == "InContextTrainLoraInHost")
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
        return Trained(lora, len(losses), finished - training_began, training_began - started, losses, folder_of_run)

    def generate(self, asked: Sequence[world.Set], *, lora: str, strength: float, what: str) -> Generated:
        """One picture for each held-out set, by the quickstart workflow."""
        prompt = self.prompt("quickstart")
        return self._generate(prompt, asked, lora, strength, what, references=[None] * len(asked))

    def generate_from_reference(
        self, asked: Sequence[world.Set], *, lora: str, strength: float, what: str, clean: bool
    ) -> Generated:
        """The same with one panel given, first, second and third in turn, by the reference-panel workflow."""
        prompt = self.prompt("reference-panel")
        mode = "keep clean" if clean else "re-noise"
        set_value(prompt, "InContextConditionPanels", "given_panels", mode)
        places = [number % world.PANELS for number in range(len(asked))]
        return self._generate(prompt, asked, lora, strength, what, references=places)

    def _generate(
        self,
        prompt: dict[str, Any],
        asked: Sequence[world.Set],
        lora: str,
        strength: float,
        what: str,
        references: Sequence[int | None],
    ) -> Generated:
        started = time.monotonic()
        set_value(prompt, "InContextLoadLora", "lora_name", lora)
        set_value(prompt, "InContextLoadLora", "strength", strength)
        pictures: list[np.ndarray] = []
        judged: list[Judged] = []
        for number, (drawn, place) in enumerate(zip(asked, references, strict=True), 1):
            self._say(f"{what}: set {number} of {len(asked)}")
            for panel_number, panel in enumerate(drawn.panels, 1):
                text = world.panel_text(panel, name_colour=False)
                set_value(prompt, "InContextJointCaption", f"panel_{panel_number}", text)
            set_value(prompt, "InContextJointCaption", "summary", world.OPENING)
            set_value(prompt, "KSampler", "seed", number)
            if place is not None:
                self._give(prompt, drawn.panels[place], place)
            history = self._server.run(prompt)
            picture = self._picture(history)
            pictures.append(picture)
            judged.append(judge(drawn, picture, place))
        return Generated(tuple(pictures), tuple(judged), time.monotonic() - started)

    def _give(self, prompt: dict[str, Any], panel: world.Panel, place: int) -> None:
        """Let the panel at ``place`` be the reference, and no other."""
        name = f"incontext-demo-given-{panel.shape}-{panel.colour}-{place}.png"
        Image.fromarray(world.draw_panel(panel)).save(self._input / name)
        set_value(prompt, "LoadImage", "image", name)
        stitch = next(one for one in prompt.values() if one["class_type"] == "InContextStitchPanels")
        image = next(stitch["inputs"].pop(key) for key in list(stitch["inputs"]) if key.startswith("panel_"))
        stitch["inputs"][f"panel_{place + 1}"] = image

    def _picture(self, history: dict[str, Any]) -> np.ndarray:
        """The whole canvas among what the workflow saved."""
        images = [image for output in history["outputs"].values() for image in output.get("images", [])]
        canvas = next(image for image in images if image["filename"].startswith("set"))
        data = self._server.fetch_image(canvas["filename"], canvas["subfolder"], canvas["type"])
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
