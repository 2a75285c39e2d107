"""Where the recipe of a LoRA is found."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe_file import (
    METADATA_KEY,
    UnreadableRecipe,
    find_recipe,
    read_recipe,
    write_recipe,
)
from incontext_lora.tests.lora_files import RECIPE, lora


def test_the_files_own_recipe_goes_first(tmp_path: Path) -> None:
    path = lora(tmp_path / "film-storyboard.safetensors")
    (tmp_path / "film-storyboard.incontext.json").write_text(json.dumps(replace(RECIPE, name="beside").to_json()))
    assert find_recipe(path)[0] == replace(RECIPE, name="beside")
    write_recipe(path, RECIPE)
    recipe, source = find_recipe(path)
    assert (recipe, source) == (RECIPE, "the file itself")


def test_both_sidecars_in_order(tmp_path: Path) -> None:
    path = lora(tmp_path / "mine.v2.safetensors")
    assert find_recipe(path)[0] is None
    (tmp_path / "mine.v2.json").write_text(json.dumps(replace(RECIPE, name="plain").to_json()), encoding="utf-8-sig")
    recipe, source = find_recipe(path)
    assert recipe is not None
    assert (recipe.name, source) == ("plain", "mine.v2.json beside it")
    (tmp_path / "mine.v2.incontext.json").write_text(json.dumps({METADATA_KEY: RECIPE.to_json()}))
    assert find_recipe(path)[0] == RECIPE


def test_other_programs_sidecars_are_ignored(tmp_path: Path) -> None:
    path = lora(tmp_path / "film-storyboard.safetensors")
    for content in (
        '{"activation text": "a girl", "preferred weight": 0.8}',
        "[1, 2]",
        "no json",
        '{"layout": "grid"}',
    ):
        (tmp_path / "film-storyboard.json").write_text(content)
        recipe, source = find_recipe(path)
        assert recipe == tasks.recipe("film-storyboard")
        assert source == "the table of published LoRAs (film-storyboard)"


def test_a_recipe_that_cannot_be_read_is_named_and_skipped(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors", {METADATA_KEY: '{"version": 1, "name": "broken"'})
    with pytest.raises(UnreadableRecipe):
        read_recipe(path)
    (tmp_path / "a.incontext.json").write_text('{"layout": {"width": 0}}')
    recipe, source = find_recipe(path)
    assert recipe is None
    assert "inside a.safetensors cannot be read: it is not JSON" in source
    assert "a.incontext.json cannot be read" in source


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_newer_recipes_are_read_as_far_as_understood(news: object) -> None:
    data = {**RECIPE.to_json(), "version": 99, "something new": news}
    data["sampling"] = {**data["sampling"], "something new": news}
    with tempfile.TemporaryDirectory() as folder:
        path = lora(Path(folder) / "a.safetensors", {METADATA_KEY: json.dumps(data)})
        assert find_recipe(path)[0] == RECIPE


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["layout", "width", "height", "panels", "box", "name", "markers", "sampling"]), inner
            )
        ),
    )
)
def test_nonsense_in_place_of_a_recipe_never_stops_the_file(nonsense: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = lora(Path(folder) / "a.safetensors", {METADATA_KEY: json.dumps(nonsense)})
        recipe, source = find_recipe(path)
        assert (recipe is None) == source.startswith("no recipe")
