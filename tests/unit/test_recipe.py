from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from incontext_lora.incontext.errors import InContextError, RecipeError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import VERSION, Evidence, Recipe, References, Sampling
from incontext_lora.incontext.panels import arrange, box

LAYOUT = arrange.rows(64, 128, 2)


@pytest.mark.parametrize("recipe", tasks.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_fields_of_a_newer_version_are_ignored() -> None:
    data = Recipe("new", LAYOUT, prefix="[X]").to_json()
    data |= {"version": VERSION + 1, "invented": 1}
    data["sampling"] |= {"invented": 2}
    data["references"] |= {"invented": 3}
    assert Recipe.from_json(data) == Recipe("new", LAYOUT, prefix="[X]")


def test_an_old_version_may_lack_everything_but_the_layout() -> None:
    assert Recipe.from_json({"layout": LAYOUT.to_json()}) == Recipe("unnamed", LAYOUT)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layout": None}, "not a layout"),
        ({"layout": {"width": 64, "height": 64, "panels": []}}, "at least one panel"),
        ({"sampling": ["euler"]}, "sampling"),
        ({"sampling": {"steps": "20"}}, "'steps' is '20'"),
        ({"sampling": {"cfg": "high"}}, "'cfg' is 'high'"),
        ({"references": {"share": 2}}, "between 0 and 1"),
        ({"references": {"panels": ["first"]}}, "cannot be read"),
        ({"prefix": 5}, "'prefix' is 5"),
        ({"markers": [1, 2]}, "cannot be read"),
        ({"markers": "[A]"}, "'markers' is '[A]'"),
        ({"markers": ["[A]"]}, "2 panels and 1 markers"),
        ({"name_format": "<>"}, "'<{}>'"),
    ],
)
def test_a_damaged_recipe_is_refused_and_never_crashes(changes: dict[str, Any], says: str) -> None:
    data = Recipe("damaged", LAYOUT).to_json() | changes
    with pytest.raises(InContextError) as refused:
        Recipe.from_json(data)
    assert says in str(refused.value)


@pytest.mark.parametrize("data", [None, [], "recipe", {}])
def test_an_invalid_recipe_is_refused(data: Any) -> None:
    with pytest.raises(RecipeError, match="no layout"):
        Recipe.from_json(data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Recipe("r", LAYOUT, markers=("[A]", "[A]")), r"\[A\].*differ"),
        (lambda: Recipe("r", LAYOUT, markers=("[A]", " ")), "none empty"),
        (lambda: Recipe("r", LAYOUT, name_format="{}{}"), "once"),
        (lambda: References(share=-0.1), "-0.1"),
    ],
)
def test_contradictions_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        make()


def test_prefix_opening_and_markers_are_one_line() -> None:
    recipe = Recipe("r", LAYOUT, prefix=" [MY\nSTORY] ", opening="Two\r\nparts ", markers=("[A] ", " [B]"))
    assert (recipe.prefix, recipe.opening, recipe.markers) == ("[MY STORY]", "Two parts", ("[A]", "[B]"))


def test_markers_are_the_panel_names_and_follow_a_new_layout() -> None:
    recipe = Recipe("r", LAYOUT, prefix="[X]", sampling=Sampling(steps=7))
    assert recipe.markers == ("[TOP]", "[BOTTOM]")
    changed = recipe.with_layout(arrange.columns(192, 64, 3))
    assert changed.markers == ("[SCENE-1]", "[SCENE-2]", "[SCENE-3]")
    assert (changed.prefix, changed.sampling) == ("[X]", Sampling(steps=7))


def test_a_recipe_keeps_no_images() -> None:
    whole = box.Box(0, 0, 64, 64)
    placed = LAYOUT.placed([box.Placement(64, 64, whole, whole), None])
    assert Recipe("r", placed).layout == LAYOUT


def test_the_evidence_of_a_choice_comes_back() -> None:
    evidence = Evidence("consistency", "DINOv2", 0.5, 0.45, 0.55, 0.1, 8, 2, 6)
    recipe = Recipe("pair", arrange.columns(128, 64, 2), strength=0.8, evidence=evidence)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "0.500 (0.450 to 0.550), 0.100 without a LoRA" in evidence.describe()
    old = {name: value for name, value in recipe.to_json().items() if name not in ("strength", "evidence")}
    assert Recipe.from_json(old).strength == 1.0
    assert Evidence().describe() == ""


@pytest.mark.parametrize("wrong", [{"strength": math.nan}, {"strength": 1e9}, {"evidence": {"value": math.inf}}])
def test_evidence_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    data = {**Recipe("pair", arrange.columns(128, 64, 2)).to_json(), **wrong}
    with pytest.raises(RecipeError):
        Recipe.from_json(data)
