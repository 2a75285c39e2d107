"""Times sampling with isolated references beside clean ones, in turn; compares computing them once with every step; prints JSON.

Run by `bench.isolated` as a process of its own, since it imports ComfyUI. The model is a FLUX.1 of true width with one block
of each kind. A pass is counted as if each block were there as often as FLUX.1 has its kind.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

STEPS = 20
BLOCKS = {"double_blocks": 19, "single_blocks": 38}  # of FLUX.1
TEXT = 512  # tokens
THREE, NINE = (3, 128, 192), (9, 114, 216)  # panels in a row, latent rows and columns: 1.57 megapixels
COUNTS = (1, 2, 4, 8)  # of nine panels
KINDS = ("flux", "flux2", "chroma", "sd3", "qwen-image", "lumina2", "z-image")
SMALL = (3, 8, 24)

Canvas = tuple[int, int, int]


def main(rounds: int) -> None:
    start()
    with torch.inference_mode():
        torch.set_num_threads(1)  # threads of such small models wait for each other more than they compute
        errors = {kind: largest_error(kind) for kind in KINDS}
        torch.set_num_threads(os.cpu_count() or 1)
        model = wide_flux()
        captions = wide_captions()
        sampled(kept_clean(model), captions, THREE, 0)  # warms up
        found = {
            "errors": errors,
            "rounds": [speeds(model, captions, THREE, (2, 1)) for _ in range(rounds)],
            "growth": speeds(model, captions, NINE, COUNTS),
        }
    print(json.dumps(found))


def start() -> None:
    """Make ComfyUI importable, on the processor."""
    sys.argv = sys.argv[:1]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    args = importlib.import_module("comfy.cli_args").args
    args.cpu = args.use_pytorch_cross_attention = True


# --- time -------------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that runs ahead by what missing blocks would have taken.

    Attributes:
        passes: seconds of each pass of the transformer.
    """

    def __init__(self) -> None:
        self.passes: list[float] = []
        self._ahead = 0.0

    def now(self) -> float:
        return time.perf_counter() + self._ahead

    def watch(self, transformer: nn.Module, blocks: Mapping[str, int], undo: ExitStack) -> None:
        self._on_end(transformer, self.passes.append, undo)
        for name, count in blocks.items():
            there = list(transformer.get_submodule(name).children())
            for block in there:
                self._on_end(block, partial(self._add, count / len(there) - 1), undo)

    def _add(self, times: float, seconds: float) -> None:
        self._ahead += times * seconds

    def _on_end(self, module: nn.Module, ended: Callable[[float], None], undo: ExitStack) -> None:
        began: list[float] = []
        undo.callback(module.register_forward_pre_hook(lambda *_: began.append(self.now())).remove)
        undo.callback(module.register_forward_hook(lambda *_: ended(self.now() - began.pop())).remove)


@contextmanager
def timed(transformer: nn.Module, blocks: Mapping[str, int] = BLOCKS) -> Iterator[Clock]:
    """Within the context the clock runs.

    Args:
        blocks: how many the full model has, by the name of the list.
    """
    clock = Clock()
    with ExitStack() as undo:
        clock.watch(transformer, blocks, undo)
        yield clock


def speeds(model: Any, captions: list, canvas: Canvas, given: tuple[int, ...]) -> dict[str, Any]:
    """Seconds of the model with clean references, and with so many isolated ones: their own pass, and a step."""
    plain, _ = sampled(kept_clean(model), captions, canvas, max(given))
    found: dict[str, Any] = {"clean": plain}
    for count in given:
        step, own = sampled(isolated(model), captions, canvas, count)
        found[str(count)] = {"own": own, "step": step}
    return found


def sampled(model: Any, captions: list, canvas: Canvas, given: int) -> tuple[float, float]:
    """Seconds of a step of ComfyUI's sampler, and of the references' own pass if they have one."""
    latent = torch.randn(1, 16, *canvas[1:], generator=torch.Generator().manual_seed(1))
    with timed(model.model.diffusion_model) as clock:
        began = clock.now()
        run_sampler(model, latent, captions, captions, mask_of(canvas, given), 1, 1.0)
        seconds = clock.now() - began
    *own, _ = clock.passes
    return seconds - sum(own), sum(own)


def wide_flux() -> Any:
    from ..tests import reference_models

    return reference_models.flux(size=reference_models.TRUE_WIDTH, dtype=torch.bfloat16)


def wide_captions() -> list:
    from ..tests.reference_models import TRUE_WIDTH

    generator = torch.Generator().manual_seed(2)
    pooled = torch.randn(1, TRUE_WIDTH["vec_in_dim"], generator=generator)
    return [
        [
            torch.randn(1, TEXT, TRUE_WIDTH["context_in_dim"], generator=generator),
            {"pooled_output": pooled, "guidance": 3.5},
        ]
    ]


# --- exactness --------------------------------------------------------------------------------------------------------


def largest_error(kind: str, steps: int = STEPS) -> float:
    """Of all steps, the largest difference of what the model predicts when references are computed once and at every step,
    relative to the largest value of the step. A small model in float32, both captions of guidance, 2 of 3 panels given."""
    from ..nodes.references.isolated_sampling import Session
    from ..tests import tiny_models

    family = tiny_models.FAMILIES.get(kind)
    model = isolated(family.load() if family else getattr(tiny_models, kind)())
    words = tiny_models.Words.of(kind)
    positive, negative = (
        words.encode_from_tokens_scheduled(words.tokenize(caption), {"guidance": 3.5})
        for caption in ("a shape", "no words")
    )
    channels = family.latent if family else (16,)
    latent = torch.randn(1, *channels, *SMALL[1:], generator=torch.Generator().manual_seed(1))

    def always(self: Any, *args: Any, once: Any = Session.recorded) -> Any:
        self.close()
        return once(self, *args)

    predicted: list[list[Tensor]] = []
    for each_step in (False, True):
        with mock.patch.object(Session, "recorded", always) if each_step else nullcontext():
            predicted.append(run_sampler(model, latent, positive, negative, mask_of(SMALL, 2), steps, 3.0))
    return max(((one - each).abs().max() / each.abs().max()).item() for one, each in zip(*predicted, strict=True))


# --- both -------------------------------------------------------------------------------------------------------------


def kept_clean(model: Any) -> Any:
    from ..nodes.references.clean import keep_references_clean

    return keep_references_clean(model)


def isolated(model: Any) -> Any:
    from ..nodes.references.isolated_sampling import isolate_references

    return kept_clean(isolate_references(model))


def mask_of(canvas: Canvas, given: int) -> Tensor:
    """0 where panels are given, the first of the row; 1 where they are painted. Pixels."""
    panels, rows, columns = canvas
    mask = torch.ones(1, 8 * rows, 8 * columns)
    mask[..., : 8 * columns * given // panels] = 0
    return mask


def run_sampler(
    model: Any, latent: Tensor, positive: list, negative: list, mask: Tensor, steps: int, cfg: float
) -> list[Tensor]:
    """What the model predicts for the finished picture at each step."""
    core = importlib.import_module("comfy.sample")
    predicted: list[Tensor] = []
    core.sample(
        model, core.prepare_noise(latent, 5), steps, cfg, "euler", "simple", positive, negative, latent, noise_mask=mask,
        callback=lambda _step, denoised, *_: predicted.append(denoised), disable_pbar=True, seed=5,
    )  # fmt: skip
    return predicted


if __name__ == "__main__":
    main(int(sys.argv[1]))
