"""The templates' thumbnails and the README's picture, made from real runs of the bundled workflows.

    python -m demo.thumbnails --base BASE --comfyui PATH      (BASE as `run.py serve` prints it)

The templates of published tasks and `caption-panels` need models that are not bundled; their thumbnails are drawings,
and say so.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from incontext.lora.recipe import Recipe
from incontext.lora.tasks import OFFICIAL

from . import world
from .job import Job, Mode
from .models import LORA_FILE
from .picture import before_after
from .server import ComfyServer

ROOT = Path(__file__).parent.parent
SIZE = (512, 384)
_PAPER, _INK, _LINE = (247, 245, 240), (40, 40, 46), (200, 196, 188)


def on_card(pictures: list[Image.Image]) -> Image.Image:
    """Pictures below each other, as large as the card allows."""
    card = Image.new("RGB", SIZE, (255, 255, 255))
    gap = 12
    height = (SIZE[1] - gap * (len(pictures) + 1)) // len(pictures)
    for row, picture in enumerate(pictures):
        scale = min((SIZE[0] - 2 * gap) / picture.width, height / picture.height)
        resized = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        card.paste(
            resized, ((SIZE[0] - resized.width) // 2, gap + row * (height + gap) + (height - resized.height) // 2)
        )
    return card


def framed(picture: np.ndarray, given: int | None = None) -> Image.Image:
    """A set with a frame around the panel that was given."""
    image = Image.fromarray(picture).resize((picture.shape[1] * 2, picture.shape[0] * 2), Image.Resampling.LANCZOS)
    if given is not None:
        side = 2 * world.PANEL
        ImageDraw.Draw(image).rectangle((given * side + 2, 2, (given + 1) * side - 3, side - 3), outline=_INK, width=3)
    return image


def canvas_drawing(recipe: Recipe) -> Image.Image:
    """A task's canvas with its panels' names."""
    card = Image.new("RGB", SIZE, (255, 255, 255))
    draw = ImageDraw.Draw(card)
    layout = recipe.layout
    scale = min((SIZE[0] - 32) / layout.width, (SIZE[1] - 60) / layout.height)
    left, top = (SIZE[0] - layout.width * scale) / 2, 16 + (SIZE[1] - 60 - layout.height * scale) / 2
    for box, name in zip(layout.boxes, layout.names, strict=True):
        x, y = left + box.left * scale, top + box.top * scale
        draw.rectangle((x, y, x + box.width * scale, y + box.height * scale), fill=_PAPER, outline=_LINE, width=2)
        middle = (x + box.width * scale / 2, y + box.height * scale / 2)
        draw.text(middle, f"[{name}]", fill=_INK, anchor="mm", font=_font(18))
    remark = f"{layout.width} x {layout.height} for {recipe.base} (a drawing, not a result)"
    draw.text((SIZE[0] / 2, SIZE[1] - 22), remark, fill=_INK, anchor="mm", font=_font(15))
    return card


def published_cards() -> dict[str, Image.Image]:
    """Drawings for the templates of the ten published tasks, by the template's name."""
    names = {"film-storyboard": "storyboard-flux"}
    return {names.get(recipe.name, f"{recipe.name}-flux"): canvas_drawing(recipe) for recipe in OFFICIAL}


def described(drawn: world.Set, summary: str) -> Image.Image:
    """A set and its joint caption below it, markers set off: what Caption Panels makes of pictures."""
    card = Image.new("RGB", SIZE, (255, 255, 255))
    draw = ImageDraw.Draw(card)
    picture = framed(world.draw_set(drawn))
    card.paste(picture, ((SIZE[0] - picture.width) // 2, 14))
    middle, top, left = SIZE[0] // 2, 14 + picture.height + 12, 64
    draw.polygon(((middle - 9, top), (middle + 9, top), (middle, top + 12)), fill=_INK)
    lines = [
        ("", summary),
        *((f"[SCENE-{n}]", world.panel_text(panel, name_colour=True)) for n, panel in enumerate(drawn.panels, 1)),
    ]
    for row, (marker, text) in enumerate(lines):
        y = top + 36 + row * 39
        draw.rounded_rectangle((left - 14, y - 16, SIZE[0] - left + 14, y + 16), 6, fill=_PAPER, outline=_LINE)
        draw.text((left, y), marker, fill=(124, 58, 160), anchor="lm", font=_font(17))
        draw.text((left + (104 if marker else 0), y), text, fill=_INK, anchor="lm", font=_font(17))
    draw.text((SIZE[0] / 2, SIZE[1] - 22), "a drawing, not a result", fill=_INK, anchor="mm", font=_font(15))
    return card


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--comfyui", type=Path, required=True)
    args = parser.parse_args()
    asked = list(world.held_out_sets(8, seed=0))
    with ComfyServer(args.base, args.comfyui) as server:
        job = Job(server, args.base, print)
        base = job.generate(asked, lora=LORA_FILE, strength=0.0, what="base")[Mode.PLAIN].pictures
        modes = [Mode.PLAIN, Mode.ISOLATED]
        with_lora = job.generate(asked, lora=LORA_FILE, strength=1.0, what="lora", modes=modes)
        history = server.run(job.prompt("build-dataset"))
        images = [image for output in history["outputs"].values() for image in output.get("images", [])]
        image = images[0]
        sheet = Image.open(io.BytesIO(server.fetch_image(image["filename"], image["subfolder"], image["type"])))
    plain, isolated = with_lora[Mode.PLAIN].pictures, with_lora[Mode.ISOLATED].pictures
    cards = {
        "quickstart": on_card([framed(picture) for picture in plain[:3]]),
        "reference-panel": on_card([framed(picture, number) for number, picture in enumerate(isolated[:3])]),
        "build-dataset": on_card([sheet.convert("RGB")]),
        "train-in-host": on_card([framed(base[3]), framed(plain[3])]),
        **published_cards(),
    }
    drawn = world.Set((world.Panel("star", "gold"), world.Panel("moon", "gold"), world.Panel("heart", "gold")))
    cards["caption-panels"] = described(drawn, "Three panels drawn in gold ink,")
    for name, card in cards.items():
        card.save(ROOT / "workflows" / f"{name}.jpg", quality=85)
    (ROOT / "docs").mkdir(exist_ok=True)
    captions = [world.caption(drawn, prefix=world.PREFIX) for drawn in asked]
    columns = [("base model", base), ("with the In-Context LoRA", plain)]
    before_after(captions, columns, ROOT / "docs" / "before-after.jpg")


if __name__ == "__main__":
    main()
