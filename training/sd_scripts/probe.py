"""Run by the trainer's interpreter: installed versions, options of the real parsers, buckets that the real code chooses.

    python probe.py versions CHECKOUT
    python probe.py options CHECKOUT SCRIPT ...
    python probe.py buckets CHECKOUT JSON        JSON: [[width, height, dataset settings], ...]

It prints one line of JSON after a marker, since importing the trainer prints too.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import platform
import sys
from typing import Any

MARKER = "incontext-lora: "
PACKAGES = ("torch", "torchvision", "accelerate", "transformers", "diffusers", "safetensors", "bitsandbytes", "toml")


def versions() -> dict[str, Any]:
    """Versions of Python and packages (None if missing), and the device: its name, memory (bytes) and whether torch fits."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    import torch

    found["torch"] = torch.__version__
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["device"] = properties.name
        found["memory"] = properties.total_memory
        found["devices"] = torch.cuda.device_count()
        built = torch.cuda.get_arch_list()
        major, minor = properties.major, properties.minor
        found["fits"] = any(arch in (f"sm_{major}{minor}", f"sm_{major}0", f"compute_{major}{minor}") for arch in built)
    elif torch.backends.mps.is_available():
        found["device"] = "mps"
    else:
        found["device"] = "cpu"
    return found


def options(script: str) -> dict[str, dict[str, Any]]:
    """Every option of a script: whether it is a switch, and its choices."""
    parser: argparse.ArgumentParser = importlib.import_module(script).setup_parser()
    return {
        action.dest: {"switch": action.nargs == 0, "choices": [*action.choices] if action.choices else None}
        for action in parser._actions
        if action.dest != "help"
    }


def buckets(sizes: list[tuple[int, int, dict[str, Any]]]) -> list[dict[str, list[int]]]:
    """The bucket of each picture, and the size to which it is scaled first."""
    from library.train_util import BucketManager

    chosen = []
    for width, height, dataset in sizes:
        manager = BucketManager(
            dataset["bucket_no_upscale"],
            tuple(dataset["resolution"]),
            dataset["min_bucket_reso"],
            dataset["max_bucket_reso"],
            dataset["bucket_reso_steps"],
        )
        if not dataset["bucket_no_upscale"]:
            manager.make_buckets()
        bucket, scaled, _ = manager.select_bucket(width, height)
        chosen.append({"bucket": [int(side) for side in bucket], "scaled": [int(side) for side in scaled]})
    return chosen


def main(arguments: list[str]) -> None:
    what, checkout, *rest = arguments
    sys.path.insert(0, checkout)
    logging.disable(logging.INFO)
    if what == "versions":
        answer: Any = versions()
    elif what == "options":
        answer = {script: options(script) for script in rest}
    else:
        answer = buckets(json.loads(rest[0]))
    print(f"\n{MARKER}{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
