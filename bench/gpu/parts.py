"""Runs the parts one after another, each as a process with a time limit, and turns what they answer into figures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...demo.server import dies_with_parent
from ..child import ROOT, in_pack
from ..figure import Figure
from .context import Context

SECONDS = 480.0  # for all parts together
NEEDED = 55e9  # bytes of the model files
MARK = "INCONTEXT_LORA_RUN"  # what the trainer's processes have in their environment


@dataclass(frozen=True)
class Part:
    """One process.

    Attributes:
        name: in the results.
        module, arguments: what is run.
        limit: seconds.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    limit: float


PARTS = (
    Part("weights", "write", (), 90),
    Part("in_host_bf16", "in_host", ("bf16",), 110),
    Part("in_host_e4m3fn", "in_host", ("e4m3fn",), 100),
    Part("partial", "partial", (), 90),
    Part("sampling", "sampling", (), 80),
    Part("trainer", "trainer", ("rounds",), 150),
    Part("presets", "trainer", ("presets",), 240),
)


@dataclass(frozen=True)
class Options:
    """Of the command line.

    Attributes:
        card: GB of the card to act like.
        tiny: small models, to try the parts on any machine.
        parts: which, by name; all when empty.
        seconds: for all parts together.
        work: where model files and runs are written; found when None.
        lines: file for one line of JSON per part.
        trainer: interpreter and checkout of sd-scripts; the installed ones when None.
    """

    card: float | None = None
    tiny: bool = False
    parts: tuple[str, ...] = ()
    seconds: float = SECONDS
    work: Path | None = None
    lines: Path | None = None
    trainer: tuple[str, str] | None = None


def gpu_figures(options: Options, say: Callable[[str], None]) -> list[Figure]:
    """Figures of the card; none if there is no card, unless tiny models are asked for."""
    import torch

    if not torch.cuda.is_available() and not options.tiny:
        say("there is no graphics card that torch can use: gpu.* is not measured")
        return []
    with work_folder(options) as work:
        results = run_parts(options, work)
    return figures(results)


@contextlib.contextmanager
def work_folder(options: Options) -> Iterator[Path]:
    """A folder of its own, in memory where that is large enough, removed afterwards."""
    needed = 2e9 if options.tiny else NEEDED
    places = [options.work] if options.work else [Path("/dev/shm"), Path(tempfile.gettempdir())]
    for place in places:
        if place.is_dir() and shutil.disk_usage(place).free > needed:
            with tempfile.TemporaryDirectory(prefix="incontext-gpu-", dir=place, ignore_cleanup_errors=True) as folder:
                yield Path(folder)
            return
    raise SystemExit(
        f"The model files take {needed / 1e9:.0f} GB, and neither of {', '.join(map(str, places))} has that much free. Name "
        "another folder with --work."
    )


def run_parts(options: Options, work: Path) -> list[dict[str, Any]]:
    """One dictionary per part: ``part``, ``seconds``, ``results``, and ``failed`` where it did not end well."""
    ends = time.monotonic() + options.seconds
    results = []
    for part in PARTS:
        if options.parts and part.name not in (*options.parts, "weights"):
            continue
        left = ends - time.monotonic()
        limit = part.limit * 10 if options.tiny else part.limit  # tiny models run on slow processors
        if left < 15:
            result: dict[str, Any] = {"part": part.name, "seconds": 0.0, "results": [], "failed": "no time was left"}
        else:
            result = run_part(part, Context(work, work / f"{part.name}.jsonl", options.card, options.tiny, options.trainer),
                              min(limit, left))  # fmt: skip
        results.append(result)
        line = json.dumps(result)
        print(line, flush=True)
        if options.lines:
            with options.lines.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
    return results


def run_part(part: Part, context: Context, limit: float) -> dict[str, Any]:
    """Run one part, and end it with everything it started when its time is over."""
    log = context.work / f"{part.name}.log"
    command = in_pack(f"bench.gpu.{part.module}", *part.arguments)
    began = time.monotonic()
    failed = ""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **context.to_environment()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **dies_with_parent(),
        )
        try:
            code = process.wait(limit)
            failed = "" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            failed = f"not finished after {limit:.0f} s"
        finally:
            end(process, context.work)
    result: dict[str, Any] = {"part": part.name, "seconds": round(time.monotonic() - began, 1), "results": []}
    if context.answers.exists():
        result["results"] = [json.loads(line) for line in context.answers.read_text(encoding="utf-8").splitlines()]
    if failed:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        result |= {"failed": failed, "log": "\n".join(lines[-12:])[-1500:]}
    return result


def end(process: subprocess.Popen[Any], work: Path) -> None:
    """Ask, then insist; trainers that it started have sessions of their own and are known by a variable."""
    import psutil

    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(8)
    if process.poll() is None:
        process.kill()
        process.wait()
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if other.environ().get(MARK, "").startswith(str(work)):
                other.kill()


# --- figures ----------------------------------------------------------------------------------------------------------


def answers(results: Sequence[Mapping[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Everything the parts said of one figure."""
    return [one for result in results for one in result["results"] if one["figure"] == figure]


def figures(results: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """What was measured, as `bench` shows it; what was not is left out."""
    found: list[Figure] = []
    for one in answers(results, "step"):
        if one.get("seconds"):
            isolated = one["references"] == "isolated"
            name = f"{one['precision']}_{one['megapixels'].replace('.', '_')}{'_isolated' * isolated}"
            detail = (
                f"FLUX.1, {one['precision']} weights, {one['megapixels']} MP, batch 1, rank 16, checkpointing, references: "
                f"{one['references']}"
            )
            found.append(Figure.of(f"gpu.step_seconds_{name}", one["seconds"], "s", "", detail))
            found.append(Figure.of(f"gpu.step_peak_{name}", [max(one["peaks"].values())], "GB", "", detail))
    for one in answers(results, "partial"):
        detail = f"{one['partly_gb']} of {one['model_gb']} GB on the card; the lowest of {one['layers']} layers"
        found.append(Figure.of("gpu.partial_cosine", [one["cosine"]], "cosine", ">= 0.999", detail))
    left = [one["left"] for one in answers(results, "freed")]
    if left:
        found.append(Figure.of("gpu.left", [max(left)], "GB", "<= 0.2", "allocated after everything was unloaded"))
    for one in answers(results, "sampling"):
        if one["seconds"]:
            isolated = one["kept"] == "isolate"
            detail = f"FLUX.1 bf16, 1.57 MP, given panels: {one['kept']}, peak {one['peak']:.1f} GB"
            name = f"gpu.sample_seconds_{one['given']}_of_3{'_isolated' * isolated}"
            found.append(Figure.of(name, one["seconds"], "s", "", detail))
    for one in answers(results, "isolated"):
        detail = "FLUX.1 bf16, 1.57 MP, 2 of 3 given, isolated"
        found.append(
            Figure.of(
                "gpu.isolated_difference",
                [one["each_step_difference"]],
                "relative",
                "",
                f"{detail}; computed once against at each step",
            )
        )
        found.append(
            Figure.of(
                "gpu.isolated_in_memory_seconds", one["in_memory_seconds"], "s", "", f"{detail}; kept in main memory"
            )
        )
        found.append(
            Figure.of("gpu.isolated_in_memory_difference", [one["in_memory_difference"]], "relative", "<= 0", detail)
        )
    for one in answers(results, "throughput"):
        bare, ours = _mean(one["bare"]), [_mean(seconds) for seconds in one["ours"]]
        detail = (
            f"A B A, {one['steps']} steps, 1.57 MP, {one['optimiser']}; {ours[0]:.2f}, {bare:.2f}, {ours[-1]:.2f} s"
        )
        value = bare / _mean(ours)
        ratios = [bare / seconds for seconds in ours]
        found.append(
            Figure("gpu.trainer_ratio", round(value, 4), round(min(ratios), 4), round(max(ratios), 4), "ratio", ">= 0.98", detail)
        )  # fmt: skip
    for one in answers(results, "stop"):
        found.append(Figure.of("gpu.stop_seconds", [one["seconds"]], "s", "", f"until it ended, {one['state']}"))
        if one["empty"] is not None:
            found.append(Figure.of("gpu.stop_empty", [one["empty"]], "s", "<= 5", "then until the card is empty"))
    for one in answers(results, "kill"):
        if one["empty"] is not None:
            found.append(Figure.of("gpu.kill_empty", [one["empty"]], "s", "<= 10", "kill -9 until the card is empty"))
    for one in answers(results, "preset"):
        if "limit" in one and "failed" not in one:
            size = next(word for word in one["preset"].replace("(", " ").split() if word.isdigit())
            phase, peak = max(one["peaks"].items(), key=lambda item: item[1])
            detail = f"largest while {phase}; limited to {one['limit']:g} GiB"
            found.append(Figure.of(f"gpu.preset_{size}_peak", [peak], "GB", f"<= {size}", detail))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
