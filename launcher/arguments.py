"""Image sets whose panels belong together: set-up, demo, tests, benchmarks, training, and ComfyUI with the pack in it.

    python run.py demo [--task NAME] [--out DIR]
                                         the whole method on a small bundled model; pictures and report.json
    python run.py test [kind ...]        all tests, or only some kinds; options for pytest after --
    python run.py serve [--port N]       ComfyUI with the pack and the demo models, in the browser
    python run.py bench [name ...]       all benchmarks, or the named ones; --json FILE saves the results
    python run.py bench gpu [--card 24]  time and memory on a graphics card; --card 24 acts like one with 24 GB
    python run.py trainer install        install the sd-scripts trainer in its own environment (also: check, remove)
    python run.py train --dataset DIR …  train a LoRA with sd-scripts, without the browser
    python run.py compare --run NAME …   compare its checkpoints on held-out captions and choose the best
    python run.py sweep --vary rank=8,16 …  train many LoRAs, compare them on held-out sets, stop the hopeless ones early

The first call makes a virtual environment and a ComfyUI in the user's cache folder; later calls start at once.
COMFYUI_PATH names a ComfyUI that you already have: it is used unchanged, and nothing is downloaded or installed.
COMFYUI_PYTHON names its interpreter if run.py does not find it. INCONTEXT_LORA_CACHE names another cache folder.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from .checks import KINDS, test
from .commands import bench, compare, demo, serve, sweep
from .trainer import SD_SCRIPTS, SD_SCRIPTS_COMMIT, train, trainer

Command = Callable[[argparse.Namespace, Sequence[str]], int]
"""Receives its options and the arguments to pass on; returns an exit code."""


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line.

    Returns:
        The command with its options, and the arguments to pass on unchanged.
    """
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, passed_on = arguments[:cut], arguments[cut + 1 :]
    description, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="run.py",
        description=description,
        epilog=rest.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Command, text: str, has_help: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False, add_help=has_help)
        command.set_defaults(run=run)
        return command

    command = add("demo", demo, "run the whole method on the small bundled model")
    command.add_argument(
        "--task",
        default="colour",
        choices=("colour", "growth", "rise"),
        help="what the panels of a set have in common (default: %(default)s)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for pictures and report.json (default: %(default)s)"
    )
    add("test", test, "run all tests, or only some kinds; options for pytest after --").add_argument(
        "kinds", nargs="*", metavar="kind", help=", ".join(KINDS)
    )
    command = add("serve", serve, "start ComfyUI with the pack and the demo models")
    command.add_argument("--port", type=int, default=8188, help="port to listen on (default: %(default)s)")
    command.add_argument(
        "--listen",
        nargs="?",
        const="0.0.0.0",
        metavar="IP",
        help="accept connections from other machines (default IP: all)",
    )
    command = add("bench", bench, "run all benchmarks, or the named ones")
    command.add_argument("names", nargs="*", metavar="name")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    command.add_argument(
        "--lines", type=Path, metavar="FILE", help="append the results of each part of `gpu` to this file"
    )
    command = add("trainer", trainer, "install, check or remove the sd-scripts trainer")
    command.add_argument("action", choices=("install", "check", "remove"))
    source = os.environ.get("INCONTEXT_LORA_SD_SCRIPTS") or SD_SCRIPTS  # the interface sets it for its installations
    command.add_argument("--source", default=source, help="sd-scripts: a git URL, a local repository, or a zip archive")
    command.add_argument(
        "--commit", default=SD_SCRIPTS_COMMIT, help="the commit to check out (default: the tested one)"
    )
    command.add_argument(
        "--python",
        type=Path,
        help="use this interpreter and its packages instead of building an environment; needs --checkout",
    )
    command.add_argument("--checkout", type=Path, help="the sd-scripts checkout to use with --python")
    add("train", train, "train a LoRA with sd-scripts, without the browser", has_help=False)  # its own --help
    add("compare", compare, "compare checkpoints and choose the best, without the browser", has_help=False)
    add(
        "sweep",
        sweep,
        "train many LoRAs and compare them; in ComfyUI with --workflow, else with sd-scripts",
        has_help=False,
    )
    options, unknown = parser.parse_known_args(arguments)
    for kind in getattr(options, "kinds", ()):
        if kind not in KINDS:
            parser.error(f"there is no kind of test called {kind!r}. Choose from {', '.join(KINDS)}")
    if options.command == "test" and unknown:
        parser.error(f"test has no option {' '.join(unknown)}. Put options for pytest after --")
    return options, [*unknown, *passed_on]
