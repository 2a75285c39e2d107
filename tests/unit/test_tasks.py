from __future__ import annotations

import pytest
from incontext_lora.incontext.errors import RecipeError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.choices import TASKS
from incontext_lora.incontext.panels.box import Box

FOUR = ("[TOP-LEFT]", "[TOP-RIGHT]", "[BOTTOM-LEFT]", "[BOTTOM-RIGHT]")


@pytest.mark.parametrize(
    ("name", "canvas", "panel", "markers", "prefix"),
    [
        ("couple-profile", (2048, 1024), (1024, 1024), ("[LEFT]", "[RIGHT]"), ""),
        ("film-storyboard", (1024, 1536), (1024, 512), ("[SCENE-1]", "[SCENE-2]", "[SCENE-3]"), "[MOVIE-SHOTS]"),
        ("font-design", (1792, 1216), (896, 608), FOUR, ""),
        ("home-decoration", (1344, 1728), (672, 864), FOUR, ""),
        ("portrait-illustration", (1152, 1088), (576, 1088), ("[LEFT]", "[RIGHT]"), ""),
        ("portrait-photography", (1344, 1728), (672, 864), FOUR, ""),
        ("ppt-templates", (1984, 1152), (992, 576), FOUR, ""),
        ("sandstorm-visual-effect", (1408, 1600), (1408, 800), ("[TOP]", "[BOTTOM]"), "[SANDSTORM-PSA]"),
        ("sparklers-visual-effect", (960, 1088), (960, 544), ("[TOP]", "[BOTTOM]"), "[REAL-SPARKLERS-OVERLAYS]"),
        ("visual-identity-design", (1472, 1024), (736, 1024), ("[LEFT]", "[RIGHT]"), ""),
    ],
)
def test_the_ten_published_tasks(
    name: str, canvas: tuple[int, int], panel: tuple[int, int], markers: tuple[str, ...], prefix: str
) -> None:
    recipe = tasks.recipe(name)
    assert (recipe.layout.width, recipe.layout.height) == canvas
    assert {(box.width, box.height) for box in recipe.layout.boxes} == {panel}
    assert recipe.markers == markers
    assert recipe.prefix == prefix
    assert recipe.lora == f"{name}.safetensors"


@pytest.mark.parametrize("recipe", tasks.OFFICIAL, ids=lambda recipe: recipe.name)
def test_official_panels_are_multiples_of_32_and_fill_the_canvas(recipe: tasks.Recipe) -> None:
    assert all(side % 32 == 0 for box in recipe.layout.boxes for side in (box.width, box.height))
    assert recipe.layout.gutter_area == 0


def test_the_table() -> None:
    assert len(tasks.OFFICIAL) == 10
    assert len(tasks.RECIPES) == len(tasks.OFFICIAL) + len(tasks.COMMUNITY)
    assert tuple(tasks.RECIPES) == TASKS, "In-Context Task offers other tasks than there are"
    with pytest.raises(RecipeError, match=r"'storyboard'.*film-storyboard"):
        tasks.recipe("storyboard")


def test_the_edited_panel_of_a_diptych_is_the_right_one() -> None:
    recipe = tasks.recipe("ic-edit")
    assert recipe.layout.boxes == (Box(0, 0, 512, 768), Box(512, 0, 512, 768))
    assert recipe.references.panels == (0,)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("film-storyboard.safetensors", "film-storyboard"),
        ("flux/ic-lora/film-storyboard.safetensors", "film-storyboard"),
        ("flux\\Film_Storyboard.safetensors", "film-storyboard"),
        ("movie-shots.safetensors", "film-storyboard"),
        ("flux-couple-profile.safetensors", "couple-profile"),
        ("font-design-fp16.safetensors", "font-design"),
        ("my-font.safetensors", None),
        ("font-designer.safetensors", None),
    ],
)
def test_published_files_are_known_by_name(file: str, name: str | None) -> None:
    recipe = tasks.recipe_for_file(file)
    assert (recipe.name if recipe else None) == name
