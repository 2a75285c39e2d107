"""`python run.py bench [names…] [--json FILE]`: run benchmarks and print their figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from .choosing import choosing_figures
from .demo_figures import demo_table, set_count_curve
from .figure import Figure, table
from .first_paint import first_paint_figures
from .gpu.parts import SECONDS, Options, gpu_figures
from .in_host import step_figures
from .isolated import isolated_figures
from .panels import panel_figures
from .peers import peer_figures
from .references import reference_figures
from .sd_scripts import trainer_figures
from .start import added_milliseconds
from .sweeping import sweep_figures
from .tasks import task_figures
from .trust import fault_figures, trust_figures
from .trust_load import load_figures
from .walk import walk_figures

Say = Callable[[str], None]

GPU = "gpu"
BENCHMARKS: dict[str, Callable[[Path, Say], list[Figure]]] = {
    "start": lambda base, say: [added_milliseconds()],
    "train_in_host": lambda base, say: step_figures(base),
    "choose": choosing_figures,
    "choose.sweep": sweep_figures,
    "demo": demo_table,
    "demo.sets": set_count_curve,
    "tasks": task_figures,
    "references": reference_figures,
    "references.once": lambda base, say: isolated_figures(base),
    "panels": lambda base, say: panel_figures(say),
    "peers": peer_figures,
    "sd_scripts": trainer_figures,
    "interface.walk": walk_figures,
    "interface.first_paint": first_paint_figures,
    "trust": trust_figures,
    "trust.load": load_figures,
    "trust.faults": fault_figures,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench")
    parser.add_argument("names", nargs="*", help=f"which of {', '.join((*BENCHMARKS, GPU))} (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tools", help=argparse.SUPPRESS)  # folder with Playwright, for the interface
    parser.add_argument("--comfyui", type=Path, required=True, help=argparse.SUPPRESS)
    card = parser.add_argument_group("of gpu, which needs a graphics card")
    card.add_argument("--card", type=float, metavar="GB", help="act like a smaller card, such as 24")
    card.add_argument("--parts", default="", help="only these parts, with commas between them")
    card.add_argument("--seconds", type=float, default=SECONDS, help="for all parts (default: %(default)g)")
    card.add_argument("--work", type=Path, help="folder with room for 55 GB of model files (default: memory)")
    card.add_argument("--lines", type=Path, help="append one line of JSON per part there")
    card.add_argument("--trainer", nargs=2, metavar=("PYTHON", "CHECKOUT"), help="an sd-scripts that is not installed")
    card.add_argument("--tiny", action="store_true", help="small models, to try the parts on any machine")
    args = parser.parse_args()
    if args.tools:
        sys.path.append(args.tools)
    options = Options(
        card=args.card,
        tiny=args.tiny,
        parts=tuple(filter(None, args.parts.split(","))),
        seconds=args.seconds,
        work=args.work,
        lines=args.lines,
        trainer=tuple(args.trainer) if args.trainer else None,
    )
    benchmarks = {**BENCHMARKS, GPU: lambda base, say: gpu_figures(options, say)}
    unknown = set(args.names) - set(benchmarks)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(benchmarks)}")
    os.environ["COMFYUI_PATH"] = str(args.comfyui)
    figures: list[Figure] = []
    last = ""

    def say(text: str) -> None:
        nonlocal last
        phase = re.sub(r"\d+", "", text.split(":")[0].split(",")[0])
        if phase != last and not phase.startswith("step "):
            print(f"  {text}", flush=True)
            last = phase

    for name, run in benchmarks.items():
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
