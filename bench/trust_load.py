"""How ComfyUI answers others while 20 pages watch 2,000 trainings, one of them of 1,000,000 steps.

The pages are a process of their own, as browsers are: what they compute must not delay the one that measures.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ..demo.server import ComfyServer
from .child import ROOT, in_pack
from .figure import Figure

RUNS, EVENTS, PAGES, SECONDS = 2000, 1_000_000, 20, 30.0
LONG = "load-00000"


def make_runs(folder: Path, runs: int, events: int) -> None:
    """Past runs; the first has many steps."""
    for number in range(runs):
        run = folder / f"load-{number:05d}"
        (run / "checkpoints").mkdir(parents=True)
        about = {"version": 1, "trainer": "sd-scripts", "name": run.name, "settings": {"steps": 100}}
        (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
        with (run / "events.jsonl").open("w", encoding="utf-8") as file:
            file.write(json.dumps({"time": 0, "seconds": 0, "event": "started", "steps": 100}) + "\n")
            for step in range(1, (events if run.name == LONG else 20) + 1):
                loss = 0.3 + 1 / (step + 1)
                file.write(
                    f'{{"time": {step}, "event": "step", "step": {step}, "loss": {loss:.6f}, "smoothed": {loss:.6f}, '
                    '"learning_rate": 0.0001, "seconds_left": 1.0}\n'
                )
            file.write(json.dumps({"time": 1, "event": "finished", "lora": f"{run.name}.safetensors"}) + "\n")


def watch(server: str, stop: threading.Event, answers: list[int]) -> None:
    """What a page asks: the list, then all news of one run in portions, again and again."""
    offset = 0
    while not stop.is_set():
        listed = _get(f"{server}/incontext_lora/runs")
        told = _get(f"{server}/incontext_lora/runs/{LONG}?from={offset}")
        answers += [len(listed), len(told)]
        news = json.loads(told)["news"]
        offset = news["offset"] if news["more"] else 0
        if not news["more"]:
            stop.wait(1.0)


def watch_all(server: str, pages: int) -> None:
    """Watch until standard input ends, then print what the pages were told."""
    stop = threading.Event()
    answers: list[int] = []
    watchers = [threading.Thread(target=watch, args=(server, stop, answers), daemon=True) for _ in range(pages)]
    for watcher in watchers:
        watcher.start()
    sys.stdin.read()
    stop.set()
    for watcher in watchers:
        watcher.join(60)
    print(json.dumps({"answers": len(answers), "bytes": sum(answers)}))


def delays(server: str, seconds: float) -> list[float]:
    """Milliseconds that /system_stats takes, asked about 20 times a second; sorted."""
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        _get(f"{server}/system_stats")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.05)
    return sorted(took)


def load_figures(
    base: Path,
    say: Callable[[str], None],
    *,
    runs: int = RUNS,
    events: int = EVENTS,
    pages: int = PAGES,
    seconds: float = SECONDS,
) -> list[Figure]:
    say(f"writing {runs} runs, one of {events} steps")
    folder = base / "output" / "incontext_runs"
    try:
        make_runs(folder, runs, events)
        with ComfyServer(base) as server:
            _get(f"{server.url}/incontext_lora/runs")
            alone = delays(server.url, seconds / 3)
            say(f"{pages} pages watch")
            command = in_pack("bench.trust_load", server.url, str(pages))
            with subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as watching:
                took = delays(server.url, seconds)
                told = json.loads(watching.communicate(timeout=120)[0])
    finally:
        for run in folder.glob("load-*"):
            shutil.rmtree(run)
    detail = (
        f"/system_stats beside {pages} pages, {runs:,} runs, {events:,} events; median {statistics.median(took):.0f} ms, "
        f"without pages p99 {_p99(alone):.0f} ms; the pages got {told['answers']:,} answers, {told['bytes'] >> 20} MB, in "
        f"{seconds:g} s; load of the machine {_load()}"
    )
    return [Figure.of("trust.loop_delay_ms_p99", [_p99(took)], "ms", "<= 50", detail)]


def _p99(values: list[float]) -> float:
    return values[min(len(values) - 1, int(len(values) * 0.99))]


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else "unknown"


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


if __name__ == "__main__":
    watch_all(sys.argv[1], int(sys.argv[2]))
