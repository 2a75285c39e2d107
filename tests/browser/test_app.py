"""The app view of the first templates, in frontends that have one: a few fields, which are seen and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.demo.workflow import load
from incontext_lora.tests.browser.editors import field, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incontext_lora.tests.browser.conftest import Interface

TOGGLE = "Comfy.ToggleLinear"
TOUR = "Comfy.OnboardingCoachmarks.Seen"  # older frontends have a first draft of the view, and no tour of it

SHOWN = """name => [...document.querySelectorAll("img")].some(image =>
    image.src.includes(encodeURIComponent(name)) && image.naturalWidth && image.checkVisibility())"""


@pytest.fixture
def app_view(interface: Interface) -> Iterator[Interface]:
    if interface.page.evaluate(f"() => app.extensionManager.setting.get('{TOUR}')") is None:
        pytest.skip("this frontend has no app view")
    interface.setting(TOUR, ["appMode"])  # the tour takes the focus
    yield interface
    interface.open()  # tests share the page


def show(interface: Interface, name: str) -> None:
    interface.load_template(name)
    interface.page.evaluate(f"() => app.extensionManager.command.execute('{TOGGLE}')")


@pytest.mark.parametrize("name", ["quickstart", "reference-panel", "train-in-host"])
def test_an_app_has_the_fields_that_its_workflow_names(app_view: Interface, name: str) -> None:
    warnings: list[str] = []
    app_view.page.on("console", lambda message: warnings.append(message.text))
    show(app_view, name)
    count = len(load(name)["extra"]["linearData"]["inputs"])
    fields = '[data-testid="linear-widgets"] [data-testid="app-mode-widget-item"]'
    wait(app_view, f"count => document.querySelectorAll('{fields}').length === count", count)
    assert [each for each in warnings if "selectedInput" in each] == []
    app_view.screenshot(f"app-{name}")


def test_a_caption_is_written_in_the_app(app_view: Interface) -> None:
    show(app_view, "quickstart")
    app_view.page.get_by_text("Caption", exact=True).wait_for()
    field(app_view, "[SCENE-2]").fill("a cross")
    assert app_view.inputs(app_view.node_id("InContextJointCaption"))["panel_2"] == "a cross"


def test_the_apps_own_run_button_makes_the_set_that_is_written_there(app_view: Interface) -> None:
    show(app_view, "quickstart")
    seed = app_view.page.locator('[data-testid="app-mode-widget-item"]').filter(has_text="seed").locator("input").first
    seed.fill("5")
    seed.press("Enter")
    field(app_view, "[SCENE-1]").fill("a cross")
    button = app_view.page.locator('[data-testid="linear-run-button"] button').get_by_text("Run", exact=True)
    entry = app_view.entry_after(button.click)
    sent = {node["class_type"]: node["inputs"] for node in entry["prompt"][2].values()}
    assert sent["KSampler"]["seed"] == 5
    assert sent["InContextJointCaption"]["panel_1"] == "a cross"
    assert entry["status"]["status_str"] == "success"
    made = [file["filename"] for output in entry["outputs"].values() for file in output.get("images", [])]
    assert len(made) == 4, "three panels and the set"
    for name in made:
        wait(app_view, SHOWN, name)
    app_view.screenshot("app-after-run")
