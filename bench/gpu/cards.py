"""`docs/cards.md` from the lines of one or several cards: `python launcher/pack.py bench.gpu.cards LINES… > docs/cards.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .context import SAMPLED
from .parts import PARTS, answers

Results = Sequence[Mapping[str, Any]]
UNKNOWN = "not measured"
HEAD = """# Graphics cards

Time and memory, measured by `python run.py bench gpu` with FLUX.1 at its full size and random weights; nothing here says how
good a LoRA is. "GB" is 10⁹ bytes of tensors on the card; a card needs about 0.5 GB besides.
"""
PRESETS = ("official (about 48 GB)", "80 GB", "40 GB", "24 GB", "16 GB", "12 GB", "10 GB", "8 GB")


def render(cards: Sequence[Results]) -> str:
    """The document; each card has a section."""
    return "\n".join([HEAD, *(section(results) for results in cards)])


def section(results: Results) -> str:
    machine = next(iter(answers(results, "machine")), {})
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("driver", "torch", "ComfyUI", "Python") if machine.get(name)
    )
    shown = f", limited to {machine['limit']:g} GB" if machine.get("limit") else ""
    title = f"## {machine.get('card', 'A card of unknown name')}, {machine.get('memory', '?')} GB{shown}"
    lines = [title, "", f"{machine.get('date', '')}; {versions}.", ""]
    lines += ["### Training on the loaded model", "", "One set per step, rank 16, gradient checkpointing.", ""]
    lines += table(
        ("weights", "canvas", "references", "seconds per step", "peak", "in which phase"),
        [
            (weights, f"{megapixels} MP", references, *step_cells(results, weights, megapixels, references))
            for weights in ("bf16", "e4m3fn")
            for megapixels, references in (("1.0", "none"), ("1.57", "none"), ("1.57", "isolated"), ("2.32", "none"))
        ],
    )
    lines += ["", "### Other claims", "", *table(("claim", "measured"), claims(results))]
    lines += ["", "### Presets of the sd-scripts trainer, 1.57 MP", ""]
    rows = [(preset, *preset_cells(results, preset)) for preset in PRESETS]
    lines += table(("preset", "peak", "in which phase", "phases"), rows)
    unfinished = [f"- {one['part']}: {one['failed']}" for one in results if one.get("failed")]
    if unfinished:
        lines += ["", "Parts that did not finish:", "", *unfinished]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def step_cells(results: Results, weights: str, megapixels: str, references: str) -> tuple[str, str, str]:
    for one in answers(results, "step"):
        if (one["precision"], one["megapixels"], one["references"]) == (weights, megapixels, references):
            phase, peak = max(one["peaks"].items(), key=lambda item: item[1], default=("", 0.0))
            if one.get("failed"):
                return f"fails: {one['failed'].split(':')[0]}", f"{peak:.1f} GB", phase
            return f"{median(one['seconds']):.2f}" if one["seconds"] else UNKNOWN, f"{peak:.1f} GB", phase
    return UNKNOWN, UNKNOWN, ""


def claims(results: Results) -> list[tuple[str, str]]:
    found = {
        name: next(iter(answers(results, name)), None) for name in ("partial", "stop", "kill", "throughput")
    }  # fmt: skip
    partial, stop, kill, throughput = found.values()
    left = [one["left"] for one in answers(results, "freed")]
    sampled = {
        (one["given"], one["kept"]): median(one["seconds"]) for one in answers(results, "sampling") if one["seconds"]
    }
    rows = [
        (
            "LoRA gradients with a partly loaded model compared with a whole one, lowest cosine of all layers",
            f"{partial['cosine']:.6f} ({partial['partly_gb']} of {partial['model_gb']} GB loaded)"
            if partial
            else UNKNOWN,
        ),
        ("Left on the card after unloading", f"{max(left):.2f} GB" if left else UNKNOWN),
    ]
    for given, kept in SAMPLED:
        value = f"{sampled[given, kept]:.3f} s" if (given, kept) in sampled else UNKNOWN
        rows.append((f"A sampling step at 1.57 MP with {given} of 3 panels given, {kept}", value))
    isolated = next(iter(answers(results, "isolated")), None)
    rows.append(
        (
            "The same step with isolated references kept in main memory",
            f"{median(isolated['in_memory_seconds']):.3f} s" if isolated else UNKNOWN,
        )
    )
    rows.append(
        (
            "Latents with references computed once compared with at every step, largest relative difference",
            f"{isolated['each_step_difference']:.1e}" if isolated else UNKNOWN,
        )
    )
    ratio = UNKNOWN
    if throughput:
        ours = [sum(one) / len(one) for one in throughput["ours"]]
        bare = sum(throughput["bare"]) / len(throughput["bare"])
        ratio = f"{bare * len(ours) / sum(ours):.3f} ({', '.join(f'{one:.2f}' for one in (ours[0], bare, ours[-1]))} s per step)"
    rows.append(("Speed of sd-scripts through the runner compared with without it, A B A", ratio))
    rows.append(
        ("From the request to stop until the run is saved and has ended", f"{stop['seconds']} s" if stop else UNKNOWN)
    )
    for name, one in {"a stop": stop, "kill -9": kill}.items():
        known = one is not None and one["empty"] is not None
        rows.append((f"Until the card is empty after {name}", f"{one['empty']} s" if one and known else UNKNOWN))
    return rows


def preset_cells(results: Results, preset: str) -> tuple[str, str, str]:
    for one in answers(results, "preset"):
        if one["preset"] == preset:
            peaks = one.get("peaks") or {}
            phase, peak = max(peaks.items(), key=lambda item: item[1], default=("", 0.0))
            phases = ", ".join(f"{name} {value:.1f}" for name, value in peaks.items())
            if one.get("failed"):
                return one["failed"].split("\n")[0].replace("|", "/"), phase, phases
            return f"{peak:.1f} GB", phase, phases
    return UNKNOWN, "", ""


def main(files: Sequence[str]) -> None:
    cards = [[json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()] for file in files]
    known = {part.name for part in PARTS}
    print(render([[one for one in card if one["part"] in known] for card in cards]), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
