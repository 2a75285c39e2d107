"""A LoRA that the real sd-scripts trains on the demo's model and sets, judged by ComfyUI on captions it has not seen.

Run as a process of its own by `bench.sd_scripts`; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..demo import judge, models, world
from ..demo import sets as demo_sets
from ..demo.job import Job, Mode
from ..demo.server import ComfyServer
from ..incontext.dataset.build import build
from ..incontext.dataset.options import BuildOptions
from ..incontext.lora.recipe import Recipe
from ..incontext.panels.arrange import columns
from ..training.runs import output, run_folder
from ..training.runs.event_tail import EventTail
from ..training.sd_scripts import begin, environment, follow, settle
from ..training.sd_scripts.architectures import SD3
from ..training.sd_scripts.machine import Machine
from ..training.sd_scripts.order import Order
from ..training.sd_scripts.settings import Schedule, SdSettings, Sizes

HELD_OUT = 48
DEMO_SIZE = Path(__file__).resolve().parents[1] / "tests" / "training" / "demo_size.py"

# As the demo's own training in ComfyUI. Noise levels: even ones, shifted by 3. The loss: on the velocity (the trainer takes
# it on the clean picture; its weighting by sigma makes that the same, if sigma is never 0). Layers: attention and MLP.
OPTIONS = {
    "weighting_scheme": "sigma_sqrt",
    "training_shift": 3.0,
    "min_timestep": 1,
    "network_args": ["context_mod_dim=0", "x_mod_dim=0"],
}
ARCHITECTURE = replace(SD3, options=OPTIONS)
SETTINGS = SdSettings(
    steps=600,
    batch_size=16,
    learning_rate=2e-3,
    schedule=Schedule.COSINE,
    warmup_steps=20,
    rank=16,
    alpha=16.0,
    ema=0.0,
    caption_dropout=0.0,
    reference_share=0.75,
    sizes=Sizes.FULL,
    save_every=0,
    sample_every=0,
    gradient_checkpointing=False,
).on_cpu()


@dataclass(frozen=True)
class TrainedLora:
    """The LoRA's file, and the seconds that it took from start to end."""

    lora: Path
    seconds: float


def train(folder: Path, comfyui: Path, settings: SdSettings = SETTINGS) -> TrainedLora:
    """Train on the demo's 40 sets, in ``folder``.

    Raises:
        TrainerNotInstalled: if there is no trainer.
        RuntimeError: if the training failed.
    """
    trainer = environment.find()
    models.write_models(folder / "models")
    demo_sets.write_sets(folder / "sets")
    recipe = Recipe("shape-story", columns(world.PANEL * world.PANELS, world.PANEL, world.PANELS), prefix=world.PREFIX)
    dataset = build(folder / "sets", folder / "datasets", recipe, BuildOptions(name="shape-story"))
    encoder = folder / "models" / "text_encoders" / models.TEXT_ENCODER_FILE
    files = {
        "pretrained_model_name_or_path": folder / "models" / "diffusion_models" / models.TRANSFORMER_FILE,
        **dict.fromkeys(("clip_l", "clip_g", "t5xxl"), encoder),
        "vae": folder / "models" / "vae" / models.AUTOENCODER_FILE,
    }
    order = Order(dataset, ARCHITECTURE, files, settings, "sd-scripts-demo", dataset.recipe)
    place = Machine(
        trainer, folder / "runs", folder / "loras", comfyui, folder / "tokenizers", runner=DEMO_SIZE, on_cpu=True
    )
    began = time.monotonic()
    run, process = begin.start(order, place)
    code = follow.watch(run, process, EventTail(run), lambda event: None)
    result = settle.settle(run, place.loras, code)
    if result.state != run_folder.FINISHED or result.lora is None:
        raise RuntimeError("\n".join([result.message, *output.tail(run.folder)]))
    return TrainedLora(result.lora, time.monotonic() - began)


def agreement(
    server: ComfyServer, lora: Path, say: Callable[[str], None], captions: int = HELD_OUT
) -> dict[str, dict[str, float]]:
    """Without and with the LoRA: share of sets whose panels agree, and of panels that show what their caption says."""
    loras = server.base / "output" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lora, loras / lora.name)
    job = Job(server, server.base, say)
    asked = list(world.held_out_sets(captions, seed=0))
    figures = {}
    for side, strength in (("base", 0.0), ("lora", 1.0)):
        judged = job.generate(asked, lora=lora.name, strength=strength, what=side)[Mode.PLAIN].judged
        figures[side] = {"agreement": judge.set_agreement(judged), "accuracy": judge.caption_accuracy(judged)}
    return figures


def main() -> None:
    comfyui = Path(os.environ["COMFYUI_PATH"])
    try:
        with tempfile.TemporaryDirectory() as temporary:
            trained = train(Path(temporary), comfyui)
            with ComfyServer(Path(os.environ["INCONTEXT_LORA_BASE"]), comfyui) as server:
                figures = agreement(server, trained.lora, lambda text: print(text, file=sys.stderr))
    except environment.TrainerNotInstalled as error:
        print(json.dumps({"missing": str(error)}))
        return
    print(json.dumps({**figures, "captions": HELD_OUT, "seconds": trained.seconds}))


if __name__ == "__main__":
    main()
