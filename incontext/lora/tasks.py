"""The published tasks as recipes: ten by In-Context LoRA's authors, and the community's diptychs and grids.

Sizes, prompts and file names of the ten come from the README of ali-vilab/In-Context-LoRA on Hugging Face, and their
layouts from the markers in its prompts. Settings of the others come from the projects named in `Recipe.source`.
"""

from __future__ import annotations

from pathlib import PurePath

from ..errors import RecipeError
from ..panels import arrange
from ..panels.box import Box
from ..panels.layout import PanelLayout
from .recipe import Recipe, References, Sampling

_ZOO = "https://huggingface.co/ali-vilab/In-Context-LoRA"
_FLUX = "FLUX.1-dev"
_FILL = "FLUX.1-Fill-dev"


def _official(name: str, title: str, layout: PanelLayout, *, prefix: str = "", opening: str, note: str = "") -> Recipe:
    return Recipe(
        name=name,
        title=title,
        layout=layout,
        prefix=prefix,
        opening=opening,
        base=_FLUX,
        lora=f"{name}.safetensors",
        source=_ZOO,
        sampling=Sampling(steps=20, guidance=3.5),
        note=note,
    )


def _diptych(width: int, height: int, names: tuple[str, str] = ("IMAGE1", "IMAGE2")) -> PanelLayout:
    return PanelLayout(2 * width, height, (Box(0, 0, width, height), Box(width, 0, width, height)), names)


OFFICIAL = (
    _official(
        "couple-profile",
        "Couple profile",
        arrange.columns(2048, 1024, 2),
        opening="This two-part image portrays a couple of",
    ),
    _official(
        "film-storyboard",
        "Film storyboard",
        arrange.rows(1024, 1536, 3),
        prefix="[MOVIE-SHOTS]",
        opening="",
        note="Write names in angle brackets, as in <Leo>. The file is also known as movie-shots.safetensors.",
    ),
    _official(
        "font-design",
        "Font design",
        arrange.grid(1792, 1216, 2, 2),
        opening="The four-panel image showcases a",
    ),
    _official(
        "home-decoration",
        "Home decoration",
        arrange.grid(1344, 1728, 2, 2),
        opening="This four-panel image showcases a",
    ),
    _official(
        "portrait-illustration",
        "Portrait to illustration",
        arrange.columns(1152, 1088, 2),
        opening="This two-panel image presents a transformation from a realistic portrait to",
        note="The photograph is the left panel, the illustration the right one.",
    ),
    _official(
        "portrait-photography",
        "Portrait photography",
        arrange.grid(1344, 1728, 2, 2),
        opening="This [FOUR-PANEL] image illustrates",
    ),
    _official(
        "ppt-templates",
        "Presentation template",
        arrange.grid(1984, 1152, 2, 2),
        opening="This four-panel image showcases a",
    ),
    _official(
        "sandstorm-visual-effect",
        "Sandstorm visual effect",
        arrange.rows(1408, 1600, 2),
        prefix="[SANDSTORM-PSA]",
        opening="This two-part image",
    ),
    _official(
        "sparklers-visual-effect",
        "Sparklers visual effect",
        arrange.rows(960, 1088, 2),
        prefix="[REAL-SPARKLERS-OVERLAYS]",
        opening="The two-part image",
    ),
    _official(
        "visual-identity-design",
        "Visual identity design",
        arrange.columns(1472, 1024, 2),
        opening="The two-panel image showcases the",
        note="The logo is the left panel. Its published example marks the left panel only, within the sentence.",
    ),
)

COMMUNITY = (
    Recipe(
        name="ace-plus",
        title="ACE++ reference to edit",
        layout=_diptych(1024, 1024, ("LEFT", "RIGHT")),
        base=_FILL,
        source="https://huggingface.co/ali-vilab/ACE_Plus",
        sampling=Sampling(steps=28, guidance=50, sampler="euler", scheduler="normal"),
        references=References(clean=False, share=1.0, panels=(0,)),
        note="Fill model with Differential Diffusion, noise mask off. LoRA strength 1.0.",
    ),
    Recipe(
        name="ic-edit",
        title="ICEdit instruction",
        layout=_diptych(512, 768, ("LEFT", "RIGHT")),
        opening=(
            "A diptych with two side-by-side images of the same scene. "
            "On the right, the scene is exactly the same as on the left but"
        ),
        base=_FILL,
        source="https://huggingface.co/sanaka87/ICEdit-MoE-LoRA",
        sampling=Sampling(steps=28, guidance=50, sampler="euler", scheduler="simple"),
        references=References(clean=False, share=1.0, panels=(0,)),
        note="Panels are 512 px wide; the right one starts as a copy of the left.",
    ),
    Recipe(
        name="cat-vton",
        title="CatVTON try-on",
        layout=_diptych(768, 1024),
        base=_FILL,
        source="https://huggingface.co/xiaozaa/catvton-flux-lora-alpha",
        sampling=Sampling(steps=30, guidance=30, sampler="euler", scheduler="normal"),
        references=References(clean=False, share=1.0, panels=(0,)),
        note="The garment is the left panel, the person the right one.",
    ),
    Recipe(
        name="visual-cloze",
        title="VisualCloze grid",
        layout=arrange.grid(1152, 768, 2, 3).named(tuple(f"IMAGE{i}" for i in range(1, 7))),
        opening="6 images are organized into a grid of 2 rows and 3 columns, evenly spaced.",
        base=_FILL,
        source="https://huggingface.co/VisualCloze/VisualClozePipeline-384",
        sampling=Sampling(steps=30, guidance=30),
        references=References(clean=False, share=1.0),
        note="The upper row is the example, the lower row the query with its last image to be painted.",
    ),
    Recipe(
        name="ttp-migration",
        title="TTP object migration",
        layout=_diptych(768, 1024, ("image1", "image2")),
        base=_FLUX,
        source="https://github.com/TTPlanetPig/Comfyui_Object_Migration",
        sampling=Sampling(steps=30, cfg=3.5, guidance=3.5),
        references=References(clean=False, share=1.0, panels=(0,)),
        note="LoRA strength 0.9 to 1.0, inpainting ControlNet 0.9. Further markers: [cloth-on], [3D-Figure].",
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*OFFICIAL, *COMMUNITY)}

# other names of published files
_ALIASES = {"movie-shots": "film-storyboard", "movie_shots": "film-storyboard"}


def recipe(name: str) -> Recipe:
    """The published recipe of this name.

    Raises:
        RecipeError: if there is none; it lists the names.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise RecipeError(f"There is no published task {name!r}. Choose from {', '.join(RECIPES)}.") from None


def recipe_for_file(file_name: str) -> Recipe | None:
    """The recipe of a published LoRA, found by its file name in any folder; None for other files."""
    stem = PurePath(file_name.replace("\\", "/")).stem.lower().replace("_", "-")
    stem = _ALIASES.get(stem, stem)
    for published in OFFICIAL:
        if stem == published.name or stem.endswith("-" + published.name) or stem.startswith(published.name + "-"):
            return published
    return None
