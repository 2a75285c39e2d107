"""The templates' thumbnails and the README's picture.

    python -m demo.thumbnails                                 the drawn cards only; takes a second
    python -m demo.thumbnails --base BASE --comfyui PATH      the others as well (BASE as `run.py serve` prints it)

Templates that run on the demo's models show real results. The others need models that are not bundled: their cards are
drawings of what goes in and what comes out.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from . import drawings, world
from .cards import drawn_cards, picture_card
from .job import Job, Mode
from .models import LORA_FILE, LORA_FILES
from .picture import Column, before_after, side_by_side
from .server import ComfyServer
from .sets import SEED
from .tasks import TASKS
from .workflow import Prompt, find_node

_SKIPPED, _ROWS = 3, 4  # the first three sets of the colour task happen to be blue alike
_HEADINGS = {"colour": "LoRA: one colour", "growth": "LoRA: growing", "rise": "LoRA: rising"}
ROOT = Path(__file__).parent.parent


def framed(picture: np.ndarray, given: int | None = None) -> Image.Image:
    """A set with a frame around the panel that was given."""
    image = Image.fromarray(picture).resize((picture.shape[1] * 2, picture.shape[0] * 2), Image.Resampling.LANCZOS)
    if given is not None:
        side = 2 * world.PANEL
        ImageDraw.Draw(image).rectangle(
            (given * side + 2, 2, (given + 1) * side - 3, side - 3), outline=drawings.ACCENT, width=3
        )
    return image


def save(cards: Mapping[str, Image.Image]) -> None:
    for name, card in cards.items():
        card.save(ROOT / "workflows" / f"{name}.jpg", quality=82, optimize=True)


def run_demo(base: Path, comfyui: Path) -> None:
    """Run the bundled workflows and keep what they make."""
    asked = list(world.held_out_sets(8, seed=0))
    with ComfyServer(base, comfyui) as server:
        job = Job(server, base, print)
        without = job.generate(asked, lora=LORA_FILE, strength=0.0, what="base")[Mode.PLAIN].pictures
        modes = [Mode.PLAIN, Mode.ISOLATED]
        with_lora = job.generate(asked, lora=LORA_FILE, strength=1.0, what="lora", modes=modes)
        (sheet,) = run(server, job.prompt("build-dataset"), "Contact sheet")
        (ROOT / "docs").mkdir(exist_ok=True)
        tasks_picture(job, ROOT / "docs" / "tasks.jpg")
    plain, isolated = with_lora[Mode.PLAIN].pictures, with_lora[Mode.ISOLATED].pictures
    save(
        {
            "quickstart": picture_card([framed(picture) for picture in plain[:3]]),
            "reference-panel": picture_card([framed(picture, number) for number, picture in enumerate(isolated[:3])]),
            "build-dataset": picture_card([sheet]),
            "train-in-host": picture_card([framed(without[3]), framed(plain[3])]),
        }
    )
    captions = [world.caption(drawn, prefix=world.PREFIX) for drawn in asked]
    columns = [("base model", without), ("with the In-Context LoRA", plain)]
    before_after(captions, columns, ROOT / "docs" / "before-after.jpg")


def run(server: ComfyServer, prompt: Prompt, *nodes: str) -> list[Image.Image]:
    """Run a prompt; returns the first picture of each of these nodes."""
    outputs = server.run(prompt)["outputs"]
    files = [outputs[find_node(prompt, node)]["images"][0] for node in nodes]
    fetched = (server.fetch_image(file["filename"], file["subfolder"], file["type"]) for file in files)
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in fetched]


def tasks_picture(job: Job, path: Path) -> None:
    """What the base model and each task's LoRA make of the same captions and seeds, and a set that each learned from."""
    asked = list(world.held_out_sets(_SKIPPED + _ROWS, seed=6))

    def drawn_by(lora: str, strength: float) -> Sequence[np.ndarray]:
        return job.generate(asked, lora=lora, strength=strength, what=lora)[Mode.PLAIN].pictures[_SKIPPED:]

    columns: list[Column] = [("Base model", "draws what the caption says", None, drawn_by(LORA_FILE, 0.0))]
    for task in TASKS.values():
        example = world.draw_set(next(iter(task.training_sets(1, SEED))))
        columns.append((_HEADINGS[task.name], task.says, example, drawn_by(LORA_FILES[task.name], 1.0)))
    captions = [
        ", ".join(world.panel_text(panel, name_colour=False) for panel in drawn.panels) for drawn in asked[_SKIPPED:]
    ]
    side_by_side(captions, columns, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--comfyui", type=Path)
    args = parser.parse_args()
    save(drawn_cards())
    if args.base and args.comfyui:
        run_demo(args.base, args.comfyui)


if __name__ == "__main__":
    main()
