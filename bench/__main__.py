"""`python run.py bench [names…] [--json FILE]`: run benchmarks and print their figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from .demo_figures import demo_table, set_count_curve
from .figure import Figure, table
from .in_host import step_figures
from .peers import peer_figures
from .references import reference_figures
from .sd_scripts import trainer_figures
from .start import added_milliseconds

Say = Callable[[str], None]

BENCHMARKS: dict[str, Callable[[Path, Say], list[Figure]]] = {
    "start": lambda base, say: [added_milliseconds()],
    "train_in_host": lambda base, say: step_figures(base),
    "demo": demo_table,
    "demo.sets": set_count_curve,
    "references": reference_figures,
    "peers": peer_figures,
    "sd_scripts": trainer_figures,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench")
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--comfyui", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    os.environ["COMFYUI_PATH"] = str(args.comfyui)
    figures: list[Figure] = []
    last = ""

    def say(text: str) -> None:
        nonlocal last
        phase = text.split(":")[0].split(",")[0]
        if phase != last and not phase.startswith("step "):
            print(f"  {phase}", flush=True)
            last = phase

    for name, run in BENCHMARKS.items():
        if not args.names or name in args.names:
            print(f"{name} …", flush=True)
            figures += run(args.base, say)
    print(table(figures))
    if args.json:
        machine = {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
        results = [figure.to_json() for figure in figures]
        args.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
