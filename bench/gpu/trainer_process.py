"""Run by the trainer's interpreter in place of our runner: the same, on a card of a given size, with the peak of each phase.

    python trainer_process.py CHECKOUT JOB_FOLDER
    python trainer_process.py bare CHECKOUT JOB_FOLDER STEPS    the checkout's own trainer on the same job, with a clock

Nothing of the pack is imported. `INCONTEXT_LORA_GPU_LIMIT` is the card's size in GB; `INCONTEXT_LORA_GPU_TINY` asks for
tiny sizes.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import runpy
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT, TINY = "INCONTEXT_LORA_GPU_LIMIT", "INCONTEXT_LORA_GPU_TINY"
PEAKS = "peaks.json"


def by_path(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


card = by_path("gpu_bench_card", HERE / "card.py")
weights = by_path("gpu_bench_weights", HERE / "weights.py")
import_runner = runpy.run_path(str(HERE.parents[1] / "training" / "sd_scripts" / "runner" / "__main__.py"))[
    "import_runner"
]
main_module, options_module = import_runner("main"), import_runner("options")


def prepare() -> None:
    """Before the models are loaded: the card's size, and the models'."""
    limit = os.environ.get(LIMIT)
    card.emulate(float(limit) if limit else None)
    if not os.environ.get(TINY):
        return
    from library import flux_models, flux_utils
    from transformers import T5Config

    tiny = weights.TINY
    for name, spec in list(flux_models.configs.items()):
        params = replace(spec.params, hidden_size=tiny.width, num_heads=tiny.heads, axes_dim=list(tiny.axes))
        flux_models.configs[name] = replace(spec, params=params, ae_params=replace(spec.ae_params, ch=tiny.ae_width))
    small = {"num_heads": tiny.t5_heads, "d_ff": tiny.t5_inner}
    flux_utils.T5Config = lambda **values: T5Config(**{**values, **small})


def watch_peaks(run: Path) -> Any:
    """Note the peak of each phase that the runner tells of, in a file beside its events."""
    import torch

    peaks = card.Peaks()

    def keep() -> None:
        (run / PEAKS).write_text(json.dumps(peaks.found), encoding="utf-8")

    def note_and_reset(*_: Any) -> None:
        if torch.cuda.is_available():
            peaks.note()

    class Events(main_module.Events):
        def enter(self, phase: str) -> None:
            peaks.enter(phase)
            keep()
            super().enter(phase)

        def __call__(self, kind: str, **values: Any) -> None:
            peaks.note()
            keep()
            super().__call__(kind, **values)

    torch.cuda.reset_peak_memory_stats = note_and_reset  # the runner's own reset would lose a phase's peak
    main_module.Events = Events
    return peaks


def bare(checkout: str, job: Path, steps: int) -> None:
    """The checkout's trainer as it is; prints the seconds of all steps but the first, and ends."""
    sys.path.insert(0, checkout)
    sys.argv = [str(Path(checkout) / "train.py")]
    extra = json.loads((job / "job.json").read_text(encoding="utf-8"))
    module = importlib.import_module(extra["script"])
    import toml

    options = toml.loads((job / "job.toml").read_text(encoding="utf-8"))
    args = options_module.parse(module.setup_parser(), options)
    prepare()
    times: list[float] = []

    class TimedTrainer(getattr(module, extra["trainer"])):
        def sample_images(self, accelerator: Any, args: Any, epoch: Any, *rest: Any) -> None:
            if epoch is None:
                times.append(time.monotonic())
                if len(times) == steps:
                    print(f"\nseconds {json.dumps([b - a for a, b in pairwise(times)])}", flush=True)
                    os._exit(0)

    TimedTrainer().train(args)


def main(arguments: list[str]) -> int:
    if arguments[0] == "bare":
        bare(arguments[1], Path(arguments[2]), int(arguments[3]))
        return 1  # it ended before its steps were done
    watch_peaks(Path(arguments[1]).resolve().parent)
    return main_module.main(arguments, prepare=prepare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
