"""What earlier versions wrote is read as it was meant: recipes, a dataset, a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.files.strict_json import read
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.training.runs import monitor
from incontext_lora.training.runs.run_folder import Run

OLD = Path(__file__).parents[1] / "data" / "old"


@pytest.mark.parametrize("path", sorted((OLD / "recipes").glob("demo-*.json")), ids=lambda path: path.stem)
def test_recipes_of_earlier_loras(path: Path) -> None:
    data = read(path)
    recipe = Recipe.from_json(data)
    assert recipe.layout.to_json() == data["layout"]
    assert list(recipe.markers) == data["markers"]
    assert recipe.references.clean == data["references"]["clean"]
    assert recipe.sampling.steps == data["sampling"]["steps"]


def test_published_recipes_have_kept_what_trainings_depend_on() -> None:
    for name, data in read(OLD / "recipes" / "published.json").items():
        before, now = Recipe.from_json(data), tasks.RECIPES[name]
        assert (before.layout, before.markers, before.prefix) == (now.layout, now.markers, now.prefix), name


def test_a_dataset_of_the_first_version_is_read_and_can_be_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    shutil.copytree(OLD / "dataset", folder)
    dataset = Dataset.load(folder)
    assert [item.set for item in dataset.items] == ["set-0", "set-1"]
    assert dataset.references == (0,)
    assert dataset.text(dataset.items[0]).read_text(encoding="utf-8") == dataset.items[0].caption
    sets = tmp_path / "sets"
    for item in dataset.items:
        (sets / item.set).mkdir(parents=True)
        shutil.copyfile(dataset.image(item), sets / item.set / "1.png")
        shutil.copyfile(dataset.mask(item) or Path(), sets / item.set / "2.png")
        (sets / item.set / "caption.txt").write_text(item.caption, encoding="utf-8")
    again = build(sets, tmp_path, dataset.recipe, dataset.options)
    assert again.folder == folder
    assert Dataset.load(folder) == again


def test_a_run_of_the_first_version_is_shown() -> None:
    run = Run(OLD / "run")
    shown = monitor.summary(run)
    assert (shown["state"], shown["step"], shown["steps"], shown["loss"]) == ("finished", 2, 2, 0.4)
    assert shown["lora"] == "story.safetensors"
    assert monitor.news(run)["points"]["loss"] == [0.5, 0.4]
    assert Recipe.from_json(run.about["recipe"]).name == "pair"
