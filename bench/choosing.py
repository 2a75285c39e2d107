"""Whether the right checkpoint is chosen, and how well each score ranks checkpoints, by the toy world's exact checker.

A real training on 40 sets, and one that is overfitted on purpose: many steps on four sets. Compare Checkpoints judges their
checkpoints as a user's would be; the exact checker then says which were good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..demo import compare, world
from ..demo import judge as exact
from ..demo.job import Job
from ..demo.server import ComfyServer
from ..demo.workflow import load, set_value, to_prompt
from ..incontext.evaluate.store import Store, read_comparison
from .figure import Figure
from .ranking import Judgement, rank_figures

CAPTIONS = 12
STEPS, CFG = 10, 4.0  # of sampling
GOOD = {"sets": 40, "steps": 100, "save_every": 50, "batch": 8}
OVERFITTED = {"sets": 4, "steps": 400, "save_every": 200, "batch": 4}
STRENGTHS = "0.3, 0.45, 0.6, 1.0"  # from no agreement to full agreement


class Bench:
    """One server, its trainings and comparisons."""

    def __init__(self, server: ComfyServer, base: Path, say: Callable[[str], None]) -> None:
        self._server = server
        self._base = base
        self._say = say
        self._job = Job(server, base, say)
        self._store = Store(base / "output" / "incontext_comparisons")

    def train(self, name: str, how: Mapping[str, int]) -> str:
        """The run's name."""
        values = {"batch_size": how["batch"], "sample_every": 0}
        trained = self._job.train(
            how["sets"], steps=how["steps"], name=name, save_every=how["save_every"], values=values
        )
        return trained.run.name

    def compare(self, run: str, sets: int, asked: Sequence[world.Set], name: str, strengths: str) -> dict[str, Any]:
        """The comparison as Compare Checkpoints writes it."""
        prompt = to_prompt(load(compare.TEMPLATE), self._server.object_info())
        folder = self._job.dataset_folder(sets)
        set_value(prompt, "InContextBuildDataset", "folder", folder)
        set_value(prompt, "InContextBuildDataset", "name", folder)
        values = {
            "run": run,
            "loras": "",
            "checkpoints": 0,
            "strengths": strengths,
            "captions": "\n".join(world.caption(one) for one in asked),
            "seeds": 1,
            "steps": STEPS,
            "cfg": CFG,
            "use_chosen": False,
            "name": name,
        }
        for key, value in values.items():
            set_value(prompt, compare.NODE, key, value)
        self._server.run(prompt, lambda event, data: self._say(f"{name}: {data.get('text', '')}"))
        return read_comparison(self._store.folder / name)

    def judge(self, comparison: Mapping[str, Any], asked: Sequence[world.Set]) -> dict[str, Judgement]:
        """Each candidate by the exact checker, on the comparison's own pictures."""
        means = {one["candidate"]: one["means"] for one in comparison["choice"]["standings"]}
        found: dict[str, list[exact.Judgement]] = {label: [] for label in means}
        for cell in comparison["cells"]:
            with Image.open(self._store.folder / "cells" / cell["picture"]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            found[cell["candidate"]].append(exact.judge(asked[cell["caption"]], pixels))
        return {
            label: Judgement(
                label,
                means[label],
                exact.set_agreement(judged),
                exact.caption_accuracy(judged),
                sum(one.panels_agree and all(one.captions_met) for one in judged) / len(judged),
            )
            for label, judged in found.items()
        }


def choosing_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Regret of the choice, whether an overfitted run is recognised, and each score's rank correlation."""
    every = list(world.held_out_sets(2 * CAPTIONS, seed=31))
    asked, fresh = every[:CAPTIONS], every[CAPTIONS:]
    with ComfyServer(base) as server:
        bench = Bench(server, base, say)
        good, bad = bench.train("bench-choose", GOOD), bench.train("bench-overfitted", OVERFITTED)
        comparison = bench.compare(good, GOOD["sets"], asked, "bench-choose", STRENGTHS)
        again = bench.compare(good, GOOD["sets"], fresh, "bench-choose-fresh", STRENGTHS)
        overfitted = bench.compare(bad, OVERFITTED["sets"], asked, "bench-overfitted", "1.0")
        by_checker = bench.judge(again, fresh)
        ranked = [*bench.judge(comparison, asked).values(), *_without_base(bench.judge(overfitted, asked))]
    best = max(one.agreement for one in by_checker.values())
    regret = best - by_checker[comparison["choice"]["chosen"] or "base"].agreement
    last = overfitted["candidates"][-1]["label"]
    standing = next(one for one in overfitted["choice"]["standings"] if one["candidate"] == last)
    rejected = bool(standing["rejected"]) and overfitted["choice"]["chosen"] != last
    detail = f"{len(by_checker) - 1} candidates, {CAPTIONS} captions to choose on and {CAPTIONS} fresh ones"
    return [
        Figure.of("choose.regret", [regret], "share", "<= 0.03", f"chosen {comparison['choice']['chosen']}; {detail}"),
        Figure.of(
            "choose.overfitted_rejected",
            [float(rejected)],
            "0 or 1",
            ">= 1",
            f"{OVERFITTED['steps']} steps on {OVERFITTED['sets']} sets: {'; '.join(standing['rejected'])}",
        ),
        *rank_figures(ranked),
    ]


def _without_base(found: Mapping[str, Judgement]) -> list[Judgement]:
    return [one for label, one in found.items() if label != "base"]
