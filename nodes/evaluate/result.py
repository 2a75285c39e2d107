"""The end of a comparison: score the pictures, choose, put the chosen LoRA in place, and write it all down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ...incontext.captions.describe import pictures
from ...incontext.captions.describe.options import OLLAMA, Settings
from ...incontext.dataset.manifest import Dataset
from ...incontext.evaluate import questions, scores, scoring, sets
from ...incontext.evaluate.comparison import Comparison, decide
from ...incontext.evaluate.grid import Candidate
from ...incontext.evaluate.grid_picture import Row, grid_picture
from ...incontext.evaluate.store import Store
from ...incontext.lora.recipe import Evidence, Recipe
from ...incontext.lora.recipe_file import find_recipe
from ...incontext.lora.save import copy_new
from ...incontext.panels.fit import resize
from ...incontext.panels.stitch import split
from ...incontext.tensors import as_uint8
from ...training.in_host.items import read_picture
from .. import host
from ..captions.describe import asking
from .plan import Inputs, Plan, place_of, reference_of
from .towers import encoder_name, image_embeddings, matching_tower, text_embedding

MOST_TRAINING = 400  # training sets that novelty looks at, spread over the dataset
_SIDE = 768  # pixels of the panels that a vision-language model is shown


def measure_of(clip_vision: Any) -> scoring.Measure:
    """What an image encoder sees; statistics without one."""
    if clip_vision is None:
        return scoring.STATISTICS

    def embed(panels: Tensor) -> Tensor:
        return image_embeddings(clip_vision, panels)

    return scoring.Measure(f"cosine of image embeddings ({encoder_name(clip_vision)})", embed, embed)


class Scoring:
    """The scores of a plan's pictures, all of which exist.

    Args:
        say: shows what is being done.
    """

    def __init__(self, plan: Plan, store: Store, measure: scoring.Measure, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._store = store
        self._measure = measure
        self._say = say
        self.remarks: list[str] = []
        self.seen = self._look([cell.key for cell in plan.cells])
        self.training_composition: float | None = None
        self.found: list[dict[str, float]] = []

    def likeness(self, dataset: Dataset | None) -> None:
        """The scores that need the pictures alone, or the training sets if they are connected."""
        plan, training = self._plan, None
        if dataset is not None and dataset.layout == plan.layout.unplaced():
            items = dataset.items[:: max(1, -(-len(dataset.items) // MOST_TRAINING))]
            self._say(f"looking at {len(items)} training sets")
            pictures_of = (read_picture(dataset.image(item))[None] for item in items)
            training = scoring.look(pictures_of, plan.layout, self._measure)
            self.training_composition = scoring.mean_composition(training)
        elif dataset is not None:
            self.remarks.append("The dataset has another layout, so novelty was not measured.")
        texts = [one.panels for one in plan.asked]
        self.found = scoring.score(plan.cells, plan.captions, texts, self.seen, training)

    def references(self, given: Tensor | None) -> None:
        """Agreement with the given panels."""
        plan = self._plan
        if plan.reference is None or given is None:
            return
        box = plan.layout.boxes[plan.reference]
        shown = [_resized(reference_of(given, number), box.width, box.height) for number in range(len(given))]
        vectors = normalize(torch.cat([self._measure.likeness(one).float().cpu() for one in shown]), dim=-1)
        by_caption = [number if len(given) > 1 else 0 for number in range(len(plan.asked))]
        used = [by_caption[cell.caption] for cell in plan.cells]
        asked = [plan.captions[cell.caption] for cell in plan.cells]
        agreement = sets.reference_agreement(self.seen.likeness, vectors, plan.reference, asked, used)
        scoring.put(self.found, range(len(plan.cells)), {"reference": agreement})

    def captions(self, clip: Any, vision: Any) -> None:
        """Caption following by the two towers of a CLIP."""
        if clip is None and vision is None:
            return
        if clip is None or vision is None:
            self.remarks.append("Captions were not scored: connect both caption_clip and caption_vision.")
            return
        first = image_embeddings(vision, split(self._store.read(self._plan.cells[0].key), self._plan.layout)[0])
        tower, reason = matching_tower(clip, vision, first.shape[-1])
        if tower is None:
            self.remarks.append(f"Captions were not scored: {reason}")
            return
        texts = [
            [text_embedding(clip, tower, text)[0].cpu() if text else None for text in one.panels]
            for one in self._plan.asked
        ]
        for number, cell in enumerate(self._plan.cells):
            self._say(f"scoring caption {number + 1} of {len(self._plan.cells)}")
            panels = [image_embeddings(vision, panel).cpu() for panel in self._panels(cell.key)]
            score = scores.caption_scores(panels, texts[cell.caption])[0]
            if score.mean != scores.NOT_MEASURED:
                self.found[number]["caption"] = score.mean

    def answers(self, ask: questions.Ask, asked_of: str) -> None:
        """Yes or no by a vision-language model; each picture is asked about once."""
        for number, cell in enumerate(self._plan.cells):
            self._say(f"asking {asked_of.partition(' ')[0]} about set {number + 1} of {len(self._plan.cells)}")
            host.stop_if_cancelled()
            one = self._plan.asked[cell.caption]
            name = hashlib.blake2b(f"{asked_of} {one.text}".encode(), digest_size=8).hexdigest()
            share = self._store.answers(cell.key, name)
            if share is None:
                urls = [pictures.data_url(as_uint8(panel[0, ..., :3]), _SIDE) for panel in self._panels(cell.key)]
                try:
                    said = questions.ask_about(self._plan.recipe, one.summary, one.panels, urls, ask)
                except questions.UnclearAnswer as error:
                    self.remarks.append(f"Set {number + 1} has no answers: {error}")
                    continue
                share = said.share
                kept = {"model": asked_of, "share": share, "panels": list(said.panels), "whole": dict(said.whole)}
                self._store.keep_answers(cell.key, name, kept)
            self.found[number]["answers"] = share

    def _look(self, keys: Sequence[str]) -> scoring.SetFeatures:
        def read() -> Any:
            for number, key in enumerate(keys, 1):
                host.stop_if_cancelled()
                self._say(f"looking at set {number} of {len(keys)}")
                yield self._store.read(key)

        return scoring.look(read(), self._plan.layout, self._measure)

    def _panels(self, key: str) -> list[Tensor]:
        host.stop_if_cancelled()
        return split(self._store.read(key), self._plan.layout)


def finish(plan: Plan, store: Store, given: Inputs, say: Callable[[str], None]) -> Comparison:
    """Score the pictures of a plan, choose and write."""
    measure = measure_of(given.clip_vision)
    found = Scoring(plan, store, measure, say)
    found.likeness(given.dataset)
    found.references(given.references)
    found.captions(given.caption_clip, given.caption_vision)
    if given.vision_model.strip():
        settings, server = (
            Settings(given.vision_model.strip(), temperature=0.0),
            given.base_url.strip() or OLLAMA,
        )
        found.answers(asking(server, settings, "", say), f"{settings.model} at {server}")
    return conclude(plan, store, found, measure.name, use=given.use_chosen)


def conclude(plan: Plan, store: Store, found: Scoring, measure: str, *, use: bool) -> Comparison:
    """Choose, put the chosen LoRA into output/loras if asked to, and write the comparison."""
    choice = decide(plan.cells, found.found, plan.captions, training_composition=found.training_composition)
    comparison = Comparison(
        plan.name,
        plan.run,
        plan.captions,
        plan.candidates,
        plan.cells,
        tuple(found.found),
        choice,
        measure,
        tuple(found.remarks),
        grids=tuple(f"grid-{number:03}.png" for number in range(1, len(plan.asked) + 1)),
    )
    if use and comparison.chosen is not None:
        comparison = replace(comparison, lora=put_in_place(plan, comparison, comparison.chosen))
    store.write(comparison, {name: draw(plan, store, comparison, n) for n, name in enumerate(comparison.grids)})
    return comparison


def put_in_place(plan: Plan, comparison: Comparison, chosen: Candidate) -> str:
    """Copy the chosen LoRA to output/loras, with the evidence and the strength in its recipe; its name there."""
    source = host.lora_path(place_of(chosen))
    recipe, _ = find_recipe(source)
    folder = host.loras_output_folder()
    name = f"{plan.name}-chosen"
    path = copy_new(folder, name, source, with_evidence(recipe or plan.recipe, plan, comparison, chosen))
    return path.relative_to(folder).as_posix()


def with_evidence(recipe: Recipe, plan: Plan, comparison: Comparison, chosen: Candidate) -> Recipe:
    standing = next(one for one in comparison.choice.standings if one.candidate == chosen.label)
    evidence = Evidence(
        score=comparison.choice.score,
        measure=comparison.measure,
        value=round(standing.mean, 5),
        low=round(standing.low, 5),
        high=round(standing.high, 5),
        base=round(standing.mean - (standing.gain or 0.0), 5),
        captions=comparison.choice.captions,
        seeds=len(plan.seeds),
        candidates=len(plan.candidates) - 1,
    )
    return replace(recipe, strength=chosen.strength, evidence=evidence)


def draw(plan: Plan, store: Store, comparison: Comparison, caption: int) -> Image.Image:
    """The grid of one caption."""
    scores_by = {
        (cell.candidate.label, cell.seed): (cell.key, found)
        for cell, found in zip(plan.cells, comparison.scores, strict=True)
        if cell.caption == caption
    }
    rows = [
        Row(
            candidate.label,
            tuple(_note(scores_by[candidate.label, seed][1], comparison.choice.score) for seed in plan.seeds),
            candidate.label == comparison.choice.chosen,
        )
        for candidate in plan.candidates
    ]

    def open_cell(row: int, column: int) -> Image.Image:
        return store.open(scores_by[plan.candidates[row].label, plan.seeds[column]][0])

    return grid_picture(plan.asked[caption].text, rows, plan.seeds, open_cell)


def _note(found: Mapping[str, float], score: str) -> str:
    return f"{score} {found[score]:.3f}" if score in found else ""


def _resized(picture: Tensor, width: int, height: int) -> Tensor:
    return resize(picture[..., :3], width, height)
