"""Check that the installed trainer accepts the pack's jobs: `run.py trainer check`.

It is run by the trainer's interpreter. Every option of every architecture and preset goes through the checkout's own
parsers, and the ten published canvas sizes through its own buckets.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...incontext.lora.tasks import OFFICIAL
from . import install_steps, job, probe
from .architectures import ARCHITECTURES, Architecture
from .data import Portion
from .presets import PRESETS, preset
from .runner.errors import JobError
from .runner.options import parse
from .settings import Schedule, SdSettings


def variants(family: Architecture) -> Iterator[SdSettings]:
    """Every preset of a family, unchanged, for the processor, and with further options."""
    for name in PRESETS:
        settings = preset(name, family.name)
        yield settings
        yield settings.on_cpu()
        yield replace(settings, schedule=Schedule.COSINE, warmup_steps=10, validation_sets=2, public_metadata=True)


def example(family: Architecture, settings: SdSettings, encoders: float) -> job.Job:
    """A job that uses every option, for text encoders of so many gigabytes."""
    run, folder = Path("run"), Path("data")
    files = {
        family.model_option: Path("model.safetensors"),
        **{f.option: Path(f"{f.role}.safetensors") for f in family.files},
    }
    portions = [Portion(1024, 1536, folder, True, 20), Portion(1024, 1536, folder, True, 2, validation=True)]
    layout = next(recipe.layout for recipe in OFFICIAL if recipe.name == "film-storyboard")
    segment = job.Segment(2, 100, Path("state"), Path("weights.safetensors"))
    return job.build(
        *(family, settings, files, portions, ["a caption"], layout, (0,)),
        run=run,
        tokenizers=folder,
        segment=segment,
        encoders=encoders,
    )


def file_problems(checkout: Path) -> Iterator[str]:
    """Files that the checkout lacks."""
    for path in install_steps.lacking(checkout):
        yield f"the checkout has no {path}; install the trainer again"


def option_problems() -> Iterator[str]:
    """Options that the checkout's parsers reject."""
    for family in ARCHITECTURES.values():
        module = importlib.import_module(family.script)
        if not hasattr(module, family.trainer):
            yield f"{family.title}: the checkout's {family.script} has no {family.trainer}"
            continue
        for settings, encoders in itertools.product(variants(family), (5.0, 17.0)):
            try:
                parse(module.setup_parser(), dict(example(family, settings, encoders).options))
            except JobError as error:
                yield f"{family.title}: {error}"
                break


def dataset_problems() -> Iterator[str]:
    """Dataset files that the checkout's schema rejects."""
    from library.config_util import ConfigSanitizer

    for family in ARCHITECTURES.values():
        for settings in variants(family):
            try:
                dataset = dict(example(family, settings, 0.0).dataset)
                ConfigSanitizer(True, True, True, True).sanitize_user_config(dataset)
            except Exception as error:
                yield f"{family.title}: the dataset file is refused: {error}"
                break


def bucket_problems() -> Iterator[str]:
    """Published canvas sizes that the checkout would crop or scale."""
    for family in ARCHITECTURES.values():
        sizes = [(recipe.layout.width, recipe.layout.height) for recipe in OFFICIAL]
        asked: list[tuple[int, int, dict[str, Any]]] = [
            (width, height, job.bucket_options(width, height, family.size_step)) for width, height in sizes
        ]
        for (width, height), chosen in zip(sizes, probe.buckets(asked), strict=True):
            if chosen != {"bucket": [width, height], "scaled": [width, height]}:
                yield f"{family.title}: {width}×{height} would become {chosen['bucket']}"


def main(arguments: list[str]) -> int:
    checkout = arguments[0]
    sys.path.insert(0, checkout)
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")  # about optional imports of the trainer
    found = probe.versions()
    memory = f", {found['memory'] / 1e9:.0f} GB" if "memory" in found else ""
    print(f"device      {found['device']}{memory}")
    for name in ("python", *probe.PACKAGES):
        print(f"{name:<11} {found[name] or 'not installed'}")
    problems = [*file_problems(Path(checkout)), *option_problems(), *dataset_problems(), *bucket_problems()]
    if found.get("fits") is False:
        problems.append(f"this torch has no code for {found['device']}; install the trainer again")
    for problem in problems:
        print(f"PROBLEM     {problem}")
    if not problems:
        print(
            f"contract    {len(ARCHITECTURES)} architectures, {len(PRESETS)} presets, {len(OFFICIAL)} canvas sizes: all accepted"
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
