"""How ComfyUI answers others while 20 pages watch 2,000 trainings, one of them of 1,000,000 steps."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from demo.server import ComfyServer

from .figure import Figure

RUNS, EVENTS, PAGES, SECONDS = 2000, 1_000_000, 20, 20.0


def make_runs(folder: Path, runs: int, events: int) -> None:
    """Past runs; the first has many steps."""
    for number in range(runs):
        run = folder / f"load-{number:05d}"
        (run / "checkpoints").mkdir(parents=True)
        about = {"version": 1, "trainer": "sd-scripts", "name": run.name, "settings": {"steps": 100}}
        (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
        with (run / "events.jsonl").open("w", encoding="utf-8") as file:
            file.write(json.dumps({"time": 0, "seconds": 0, "event": "started", "steps": 100}) + "\n")
            for step in range(1, (events if number == 0 else 20) + 1):
                file.write(
                    f'{{"time": {step}, "event": "step", "step": {step}, "loss": 0.5, "smoothed": 0.5, "seconds_left": 1.0}}\n'
                )
            file.write(json.dumps({"time": 1, "event": "finished", "lora": f"{run.name}.safetensors"}) + "\n")


def watch(server: str, stop: threading.Event) -> None:
    """What a page asks: the list, then all news of one run in portions, again and again."""
    offset = 0
    while not stop.is_set():
        _get(f"{server}/incontext_lora/runs")
        news = json.loads(_get(f"{server}/incontext_lora/runs/load-00000?from={offset}"))["news"]
        offset = news["offset"] if news["more"] else 0
        if not news["more"]:
            stop.wait(1.0)


def delays(server: str, seconds: float) -> list[float]:
    """Milliseconds that /system_stats takes, asked 20 times a second."""
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        _get(f"{server}/system_stats")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.05)
    return took


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
    make_runs(base / "output" / "incontext_runs", runs, events)
    with ComfyServer(base) as server:
        _get(f"{server.url}/incontext_lora/runs")
        stop = threading.Event()
        watchers = [threading.Thread(target=watch, args=(server.url, stop), daemon=True) for _ in range(pages)]
        for watcher in watchers:
            watcher.start()
        say(f"{pages} pages watch")
        took = sorted(delays(server.url, seconds))
        stop.set()
        for watcher in watchers:
            watcher.join(60)
    worst = took[min(len(took) - 1, int(len(took) * 0.99))]
    detail = (
        f"/system_stats beside {pages} pages, {runs} runs, {events:,} events; median {statistics.median(took):.0f} ms"
    )
    return [Figure.of("trust.loop_delay_ms_p99", [worst], "ms", "<= 50", detail)]


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()
