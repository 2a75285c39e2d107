"""References: agreement with given panels on the demo's model, and the exactness of what is pasted back."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..demo import world
from ..demo.models import LORA_FILE
from ..demo.server import ComfyServer
from ..demo.workflow import Prompt, find_node, load, set_value, to_prompt
from ..incontext.panels.box import Box
from ..incontext.panels.choices import ColourMatch
from ..incontext.panels.paste import paste_windows
from ..incontext.panels.windows import context_crop
from .figure import Figure

HELD_OUT = 48
CASES = 100


def reference_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Agreement with one and two of three panels given, in each cell, by the bundled LoRA; and pasting's errors."""
    figures = list(paste_errors())
    asked = list(world.held_out_sets(HELD_OUT, seed=0))
    agreed: dict[int, float] = {}
    with ComfyServer(base) as server:
        prompts = _Prompts(server, base)
        for given_count in (1, 2):
            for mode, suffix in (("isolate", ""), ("re-noise", "_noised")):
                what = f"{given_count} of 3 given, {mode}"
                results = prompts.run_all(asked, given_count, mode, say, what)
                name = f"references.agreement_{given_count}_of_3{suffix}"
                figures.append(_agreement(name, results, "" if suffix else ">= 0.9"))
                if not suffix:
                    agreed[given_count] = _share(results)
                    errors = [result.given_error for result in results]
                    detail = f"{len(asked)} sets, given panels after Keep Given Panels, of 255"
                    name = f"references.given_max_error_{given_count}_of_3"
                    figures.append(Figure.of(name, [max(errors)], "levels", "<= 0", detail))
    mean = sum(agreed.values()) / len(agreed)
    detail = f"{HELD_OUT} held-out captions, 1 and 2 of 3 given"
    figures.append(Figure.of("references.isolated_agreement", [mean], "share", ">= 0.97", detail))
    with computed_at_each_step(base), ComfyServer(base) as server:
        each = _share(_Prompts(server, base).run_all(asked, 2, "isolate", say, "2 of 3 given, computed at each step"))
    detail = f"{HELD_OUT} held-out captions, 2 of 3 given; computed at each step {each:.2f}"
    figures.append(Figure.of("references.once_agreement_loss", [each - agreed[2]], "share", "<= 0", detail))
    return figures


_EACH_STEP = """
import sys, threading, time

NODE_CLASS_MAPPINGS = {}


def patch():
    while True:
        for name, module in list(sys.modules.items()):
            if name.endswith(".nodes.references.isolated_sampling") and hasattr(module, "isolate_references"):
                once = module.Session.recorded

                def always(self, *args):
                    self.close()
                    return once(self, *args)

                module.Session.recorded = always
                return
        time.sleep(0.05)


threading.Thread(target=patch, daemon=True).start()
"""


@contextmanager
def computed_at_each_step(base: Path) -> Iterator[None]:
    """A ComfyUI that starts within the context computes isolated references at every step, by a custom node of its own."""
    node = base / "custom_nodes" / "incontext_bench_each_step.py"
    node.write_text(_EACH_STEP, encoding="utf-8")
    try:
        yield
    finally:
        node.unlink()


def paste_errors() -> Iterator[Figure]:
    """Largest errors of an unpainted crop's round trip, and outside the mask of a painted one, over random cases."""
    rng = random.Random(0)
    roundtrip, outside = 0.0, 0.0
    for number in range(CASES):
        torch.manual_seed(number)
        width, height = rng.randint(40, 400), rng.randint(40, 400)
        picture, mask = torch.rand(1, height, width, 3), torch.zeros(1, height, width)
        for _ in range(rng.randint(1, 3)):
            spot = _spot(rng, width, height)
            mask[:, spot.rows, spot.columns] = 1
        panel = rng.choice([None, (64, 64), (96, 128), (144, 80)])
        cropped = context_crop(picture, mask, panel=panel, context=rng.random(), apart=rng.random() < 0.5)
        settings = {"feather": rng.randint(0, 12), "colours": rng.choice(list(ColourMatch))}
        unpainted = paste_windows(picture, cropped.crops, cropped.windows, **settings)
        painted = paste_windows(picture, torch.rand_like(cropped.crops), cropped.windows, **settings)
        roundtrip = max(roundtrip, _largest(unpainted - picture))
        outside = max(outside, _largest((painted - picture)[mask == 0]))
    detail = f"{CASES} random pictures, masks, panels, feathers and colour matches"
    yield Figure.of("references.outside_mask_max_error", [outside], "of 1", "<= 0", detail)
    yield Figure.of("references.roundtrip_max_error", [roundtrip], "of 1", "<= 0", detail + ", nothing painted")


@dataclass(frozen=True)
class _Result:
    given: tuple[int, ...]
    agrees: bool
    given_error: int


class _Prompts:
    """The reference-panel workflow with any panels given, and given panels kept to the bit."""

    def __init__(self, server: ComfyServer, base: Path) -> None:
        self._server = server
        self._input = base / "input"
        self._prompt = to_prompt(load("reference-panel"), server.object_info())

    def run_all(
        self, asked: Sequence[world.Set], count: int, mode: str, say: Callable[[str], None], what: str
    ) -> list[_Result]:
        """Every set with ``count`` panels given, in each cell in turn."""
        results = []
        for number, drawn in enumerate(asked):
            say(f"{what}: set {number + 1} of {len(asked)}")
            results.append(self.run(drawn, _places(count, number), mode, seed=number))
        return results

    def run(self, drawn: world.Set, given: Sequence[int], mode: str, seed: int) -> _Result:
        prompt: Prompt = copy.deepcopy(self._prompt)
        set_value(prompt, "InContextLoadLora", "lora_name", LORA_FILE)
        set_value(prompt, "InContextConditionPanels", "given_panels", mode)
        set_value(prompt, "KSampler", "seed", seed)
        set_value(prompt, "InContextJointCaption", "summary", world.OPENING)
        for number, panel in enumerate(drawn.panels, 1):
            set_value(prompt, "InContextJointCaption", f"panel_{number}", world.panel_text(panel, name_colour=False))
        stitch = prompt[find_node(prompt, "InContextStitchPanels")]["inputs"]
        for key in [key for key in stitch if key.startswith("panel_")]:
            del stitch[key]
        del prompt[find_node(prompt, "LoadImage")]
        pictures = {place: world.draw_panel(drawn.panels[place]) for place in given}
        for place, picture in pictures.items():
            name = f"bench-given-{place}.png"
            Image.fromarray(picture).save(self._input / name)
            prompt[f"given-{place}"] = _node("LoadImage", image=name)
            stitch[f"panel_{place + 1}"] = [f"given-{place}", 0]
        saved = prompt[find_node(prompt, "Save whole set")]["inputs"]
        stitched = find_node(prompt, "InContextStitchPanels")
        prompt["keep"] = _node(
            "InContextKeepGiven",
            canvas=[stitched, 0],
            mask=[stitched, 1],
            painted=saved["images"],
            feather=0,
            colour_match=ColourMatch.OFF.value,
        )
        saved["images"] = ["keep", 0]
        canvas = self._picture(prompt, self._server.run(prompt))
        read = world.read_set(canvas)
        wanted = drawn.panels[given[0]].colour
        agrees = all(reading.colour == wanted for place, reading in enumerate(read) if place not in given)
        return _Result(tuple(given), agrees, max(_difference(canvas, *item) for item in pictures.items()))

    def _picture(self, prompt: Prompt, history: dict[str, Any]) -> np.ndarray:
        (image,) = history["outputs"][find_node(prompt, "Save whole set")]["images"]
        data = self._server.fetch_image(image["filename"], image["subfolder"], image["type"])
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def _places(count: int, number: int) -> tuple[int, ...]:
    """Which panels are given: every cell, or every pair of cells, in turn."""
    first = number % world.PANELS
    return tuple(sorted((first + i) % world.PANELS for i in range(count)))


def _share(results: Sequence[_Result]) -> float:
    return sum(result.agrees for result in results) / len(results)


def _agreement(name: str, results: Sequence[_Result], bound: str) -> Figure:
    cells: dict[tuple[int, ...], list[bool]] = {}
    for result in results:
        cells.setdefault(result.given, []).append(result.agrees)
    shares = {given: sum(agreed) / len(agreed) for given, agreed in sorted(cells.items())}
    listed = ", ".join(f"{'+'.join(str(place + 1) for place in given)}: {share:.2f}" for given, share in shares.items())
    share = _share(results)
    lowest, highest = round(min(shares.values()), 4), round(max(shares.values()), 4)
    return Figure(name, round(share, 4), lowest, highest, "share", bound, f"{len(results)} sets; given {listed}")


def _difference(canvas: np.ndarray, place: int, picture: np.ndarray) -> int:
    panel = canvas[:, place * world.PANEL : (place + 1) * world.PANEL]
    return int(np.abs(panel.astype(int) - picture.astype(int)).max())


def _spot(rng: random.Random, width: int, height: int) -> Box:
    left, top = rng.randrange(width), rng.randrange(height)
    return Box(left, top, rng.randint(1, width - left), rng.randint(1, height - top))


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max()) if difference.numel() else 0.0
