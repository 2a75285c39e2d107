"""A prompt tells where a picture came from; what it does not tell stays unknown."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.sets.origin import Kind, Origin, origin_of, saver_of, savers
from incontext_lora.incontext.sets.painting import Lora
from incontext_lora.incontext.sets.prompt import Prompt, PromptError
from incontext_lora.tests.made_sets import HEIGHT, WIDTH, made_prompt, node

SIZE = (WIDTH, HEIGHT)
CAPTION = r"[TOY] A walk. [SCENE-1] one \(1\) [SCENE-2] two [SCENE-3] three"


def no_recipe(name: str) -> Recipe | None:
    return None


def origin(
    prompt: dict[str, Any], saver: str = "12", size: tuple[int, int] | None = SIZE, lora: Any = no_recipe
) -> Origin:
    parsed = Prompt.parse(json.dumps(prompt))
    images = next(each.images for each in savers(parsed) if each.id == saver)
    found = origin_of(parsed, images, lora, size)
    assert found is not None
    return found


def test_a_canvas_from_a_caption() -> None:
    found = origin(made_prompt())
    assert found.kind is Kind.CANVAS
    assert found.layout is not None
    assert found.layout.names == ("SCENE-1", "SCENE-2", "SCENE-3")
    assert found.caption == CAPTION
    assert found.parts is not None
    assert (found.parts.summary, found.parts.panels[1]) == ("A walk.", "two")
    assert (found.seed, found.loras, found.model) == (7, (Lora("toy.safetensors", 0.8),), "base.safetensors")
    assert (found.given, found.references, found.batch) == (None, (), 1)
    assert found.wiring.sampler == "10"
    assert found.wiring.layout == ("4", 1)
    assert (found.wiring.model, found.wiring.vae) == (("5", 0), ("3", 0))


def test_its_panels_belong_to_the_same_canvas() -> None:
    found = origin(made_prompt(), "14", (WIDTH, HEIGHT // 3))
    assert found.kind is Kind.PANELS
    assert found.order is not None
    assert found.order.panels == (0, 1, 2)
    assert found.wiring.picture == origin(made_prompt()).wiring.picture
    assert found.caption == CAPTION


def test_a_recipe_in_a_lora_tells_the_panels() -> None:
    storyboard = tasks.recipe("film-storyboard")
    prompt = made_prompt(
        node_4=node("InContextLoadLora", model=["1", 0], lora_name="mine.safetensors", strength=1.0),
        node_9=node("EmptySD3LatentImage", width=["4", 3], height=["4", 4], batch_size=2),
        node_6=node("InContextJointCaption", recipe=["4", 1], summary="", panel_1="one", panel_2="two"),
        node_13=node("PreviewImage", images=["11", 0]),
    )
    found = origin(prompt, size=None, lora=lambda name: storyboard if name == "mine.safetensors" else None)
    assert (found.layout, found.batch) == (storyboard.layout, 2)
    assert found.caption.startswith("[MOVIE-SHOTS]")


def test_references_and_what_is_painted_to_them() -> None:
    prompt = made_prompt(
        node_20=node("LoadImage", image="hero.png"),
        node_21=node("InContextStitchPanels", layout=["4", 1], panel_1=["20", 0]),
        node_22=node(
            "InContextConditionPanels", model=["5", 0], vae=["3", 0], canvas=["21", 0], mask=["21", 1], layout=["21", 2],
            positive=["7", 0], negative=["8", 0],
        ),
        node_10=node("KSampler", model=["22", 0], positive=["22", 2], negative=["22", 3], latent_image=["22", 1], seed=1),
        node_13=node("InContextSplitPanels", image=["11", 0], layout=["21", 2]),
        node_14=node("SaveImage", images=["13", 1], filename_prefix="made/panel"),
    )  # fmt: skip
    whole, painted = origin(prompt), origin(prompt, "14", (WIDTH, HEIGHT // 3))
    assert whole.given == (True, False, False)
    assert whole.references == ((0, "hero.png"),)
    assert whole.wiring.stitch == "21"
    assert whole.caption == CAPTION
    assert painted.order is not None
    assert painted.order.panels == (1, 2)


def test_a_repainted_set_has_the_seed_of_the_repaint() -> None:
    prompt = made_prompt(
        node_30=node("InContextRepaintPanels", image=["11", 0], layout=["4", 1], panels="2", fill="gray"),
        node_31=node(
            "InContextConditionPanels", model=["5", 0], canvas=["30", 0], positive=["7", 0], negative=["8", 0]
        ),
        node_32=node(
            "KSampler", model=["31", 0], positive=["31", 2], negative=["31", 3], latent_image=["31", 1], seed=99
        ),
        node_33=node("VAEDecode", samples=["32", 0], vae=["3", 0]),
        node_34=node("InContextKeepGiven", canvas=["30", 0], painted=["33", 0], mask=["30", 1]),
        node_35=node("SaveImage", images=["34", 0], filename_prefix="made/again"),
    )
    assert origin(prompt).seed == 7
    found = origin(prompt, "35")
    assert (found.seed, found.given) == (99, (True, False, True))
    split = node("InContextSplitPanels", image=["34", 0], layout=["4", 1])  # the layout as it was before the repaint
    assert origin({**prompt, "36": split}, "35").given == (True, False, True)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "node_7": node("CLIPTextEncode", clip=["2", 0], text=["40", 0]),
            "node_40": node("LlmWriter", topic="a", model="b"),
        },
        {
            "node_6": node("InContextJointCaption", recipe=["4", 0], summary=["40", 0], panel_1="one"),
            "node_40": node("Llm"),
        },
    ],
    ids=["the whole text", "the summary"],
)
def test_no_caption_is_invented(changes: dict[str, Any]) -> None:
    found = origin(made_prompt(**changes))
    assert (found.caption, found.parts) == ("", None)
    assert found.layout is not None


def test_values_of_primitive_nodes_are_known() -> None:
    changes = {
        "node_40": node("PrimitiveStringMultiline", value="A run."),
        "node_41": node("PrimitiveInt", value=2**63),
        "node_6": node(
            "InContextJointCaption", recipe=["4", 0], summary=["40", 0], panel_1="{red|blue}", wildcard_seed=["41", 0]
        ),
        "node_10": node("KSampler", model=["5", 0], positive=["7", 0], latent_image=["9", 0], seed=["41", 0]),
    }  # fmt: skip
    found = origin(made_prompt(**changes))
    assert found.seed == 2**63
    assert found.parts is not None
    assert found.parts.summary == "A run."
    assert found.parts.panels[0] in ("red", "blue")


def test_an_enlarged_canvas_still_has_its_panels_and_another_picture_has_none() -> None:
    upscaled = made_prompt(
        node_40=node("ImageUpscaleWithModel", image=["11", 0], upscale_model=["41", 0]),
        node_41=node("UpscaleModelLoader", model_name="4x.pth"),
        node_42=node("SaveImage", images=["40", 0], filename_prefix="made/large"),
    )
    assert origin(upscaled, "42", (4 * WIDTH, 4 * HEIGHT)).kind is Kind.CANVAS
    parsed = Prompt.parse(json.dumps(upscaled))
    assert origin_of(parsed, ("40", 0), no_recipe, (640, 480)) is None
    without = {key: value for key, value in upscaled.items() if not value["class_type"].startswith("InContext")}
    assert origin_of(Prompt.parse(json.dumps(without)), ("40", 0), no_recipe) is None


def test_a_pasted_picture_is_one_picture() -> None:
    prompt = made_prompt(
        node_40=node("LoadImage", image="street.png"),
        node_41=node("InContextPastePanels", image=["40", 0], painted=["11", 0], layout=["4", 1]),
        node_42=node("SaveImage", images=["41", 0], filename_prefix="pasted"),
    )
    found = origin(prompt, "42", (900, 600))
    assert (found.kind, found.layout, found.seed) == (Kind.PICTURE, None, 7)


def test_which_node_saved_a_file() -> None:
    prompt = made_prompt(
        node_40=node("PreviewImage", images=["11", 0]),
        node_41=node("SaveImage", images=["11", 0], filename_prefix="%date%/%width%x/set"),
    )
    parsed = Prompt.parse(json.dumps(prompt))

    def first(subfolder: str, name: str, node_id: str | None = None) -> str:
        return saver_of(parsed, subfolder, name, node_id)[0].id

    assert first("made", "set_00012_.png") == "12"
    assert first("made", "panel_00012_.png") == "14"
    assert first("2026-11-26/128x", "set_00001_.png") == "41"
    assert first("", "ComfyUI_temp_abcde_00001_.png") == "40"
    assert first("made", "set_00012_.png", "14") == "14"
    assert {saver.id for saver in saver_of(parsed, "moved", "renamed.png")} == {"12", "14", "40", "41"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(["4", 1])
    | st.just(["11", 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.data())
def test_any_prompt_is_read_without_an_accident(data: st.DataObject) -> None:
    prompt: dict[str, Any] = made_prompt()
    for _ in range(data.draw(st.integers(1, 6))):
        entry = prompt[data.draw(st.sampled_from(sorted(prompt)))]
        entry["inputs"][data.draw(st.sampled_from(sorted(entry["inputs"])))] = data.draw(VALUES)
    try:
        parsed = Prompt.parse(json.dumps(prompt))
    except PromptError:
        return
    for saver in savers(parsed):
        origin_of(parsed, saver.images, no_recipe, SIZE)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"1": 2}', "[" * 100_000, '{"1": {"class_type": 3, "inputs": {}}}']
)
def test_what_is_not_a_prompt_is_refused(text: str) -> None:
    with pytest.raises(InContextError):
        Prompt.parse(text)


def test_a_prompt_with_a_node_that_always_runs_is_read() -> None:
    text = json.dumps({"1": {"class_type": "A", "inputs": {}, "is_changed": [float("nan")]}})
    assert set(Prompt.parse(text).nodes) == {"1"}


def test_loops_end() -> None:
    prompt = made_prompt(
        node_4=node("InContextLayout", recipe=["4", 0]),
        node_5=node("LoraLoader", model=["5", 0], lora_name="a"),
        node_13=node("InContextStitchPanels", layout=["13", 2], images=["11", 0]),
        node_14=node("SaveImage", images=["13", 0], filename_prefix="x"),
        node_7=node("Combine", conditioning=["7", 0]),
    )
    parsed = Prompt.parse(json.dumps(prompt))
    assert origin_of(parsed, ("13", 0), no_recipe, SIZE) is None


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 1e308, "1/0", "1e30000000", True, "", [1], {"__value__": 10**400}]
)
@pytest.mark.parametrize("place", ["4 width", "4 gutter", "4 rows", "5 strength_model", "6 more_panels", "20 factor"])
def test_meaningless_numbers_do_no_harm(place: str, value: Any) -> None:
    prompt = made_prompt(
        node_20=node("InContextEnlargePanels", image=["11", 0], layout=["4", 1], factor=2.0),
        node_21=node("SaveImage", images=["20", 0], filename_prefix="x"),
    )
    node_id, name = place.split()
    prompt[node_id]["inputs"][name] = value
    parsed = Prompt.parse(json.dumps(prompt))
    for saver in savers(parsed):
        origin_of(parsed, saver.images, no_recipe, SIZE)


def test_ways_through_a_prompt_do_not_double_at_each_node() -> None:
    asked: list[str] = []
    prompt = made_prompt(node_100=node("InContextLoadLora", lora_name="a"))
    for number in range(101, 116):
        before = [str(number - 1), 0]
        prompt[str(number)] = node("InContextFindPanels", image=["11", 0], layout=before, expected=before)
    prompt["13"]["inputs"]["layout"] = ["115", 0]
    origin_of(Prompt.parse(json.dumps(prompt)), ("13", 0), lambda name: asked.append(name), SIZE)
    assert len(asked) < 20


def test_a_prefix_of_many_placeholders_is_compared_at_once() -> None:
    prefix = "%date%a" * 5
    prompt = Prompt.parse(json.dumps(made_prompt(node_12=node("SaveImage", images=["11", 0], filename_prefix=prefix))))
    began = time.process_time()
    saver_of(prompt, "", "a" * 150 + ".png")
    assert time.process_time() - began < 1
    assert [saver.id for saver in saver_of(prompt, "", "1a2a3a4a5aa_00001_.png")] == ["12"]


def test_the_savers_of_a_large_prompt_are_found_at_once() -> None:
    previews = {f"node_{number}": node("PreviewImage", images=["11", 0]) for number in range(100, 4900)}
    prompt = Prompt.parse(json.dumps(made_prompt(**previews)))
    began = time.process_time()
    assert len(savers(prompt)) == 4802
    assert time.process_time() - began < 1
