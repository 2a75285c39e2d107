"""What is known of runs, and what is done with them, in the training panel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from incontext_lora.incontext.evaluate.store import Store
from incontext_lora.tests.browser.trainings import (
    TRAIN,
    is_drawn,
    panel,
    past_run,
    pick,
    runs_folder,
    said,
    wait_for_state,
    without_panel,
)
from incontext_lora.tests.unit.test_comparison import CAPTIONS, comparison
from incontext_lora.training.runs import claims
from incontext_lora.training.runs.run_folder import RunWriter
from PIL import Image

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface


def test_nothing_is_said_before_it_is_known(interface: Interface) -> None:
    """While the server has not answered, there may well be a training."""
    without_panel(interface)
    interface.page.route("**/incontext_lora/runs", lambda route: None)  # answered by nobody
    interface.open()
    node = interface.add(TRAIN)
    interface.show(node)
    assert interface.page.locator(".incontext-compact .incontext-nothing").inner_text() == "Loading the trainings …"
    assert panel(interface).locator(".incontext-nothing").inner_text() == "Loading the trainings …"
    interface.page.unroute("**/incontext_lora/runs")
    interface.open()


def test_what_is_done_is_counted(interface: Interface) -> None:
    about = {"trainer": "in-host", "name": "counting", "settings": {"steps": 90}}
    writer = RunWriter.create(runs_folder(interface.server), "counting", about)
    with claims.attending(writer.run.folder):  # else it counts as interrupted after a moment
        writer.event("started", steps=90)
        writer.event("phase", phase="encoding picture", done=12, total=40)
        shown = panel(interface)
        pick(shown, writer.run.name)
        shown.locator(".incontext-facts", has_text="encoding picture 12 of 40").wait_for()
        shown.locator("[data-action=save]").click()
        shown.locator("[data-action=save][disabled]", has_text="Saving").wait_for()
        writer.event("checkpoint", step=3, file="x.safetensors")
        said(interface, "counting: the checkpoint of step 3 is saved")
        shown.locator("[data-action=sample]").click()
        shown.locator("[data-action=sample][disabled]", has_text="Sampling").wait_for()
        writer.event("cancelled", error="Stopped at step 3. Resume it from there.")
        writer.close()
    wait_for_state(shown, "cancelled")
    assert shown.locator("[data-action=sample]").count() == 0
    assert shown.locator(".incontext-facts").inner_text() == "step 0 of 90"


def test_a_run_is_named_noted_compared_and_deleted(interface: Interface) -> None:
    runs = runs_folder(interface.server)
    for name in ("compared", "unwanted"):
        past_run(runs, name)
    shown = panel(interface)
    pick(shown, "unwanted")
    assert is_drawn(shown)
    compared = shown.locator(".incontext-run-line", has=shown.page.locator("b:text-is('compared')"))
    compared.locator(".incontext-compare").check()
    legend = shown.locator(".u-legend")
    legend.get_by_text("unwanted").wait_for()
    legend.get_by_text("compared").wait_for()
    assert is_drawn(shown, "--incontext-run-2")
    interface.screenshot("training-compared")
    compared.locator(".incontext-compare").uncheck()
    legend.get_by_text("learning rate").wait_for()

    shown.locator("[data-tab=about]").click()
    shown.locator("[name=label]").fill("with better captions")
    shown.locator("[name=label]").press("Enter")
    shown.locator(".incontext-title b:text-is('with better captions')").wait_for()
    shown.locator("[name=note]").fill("the hero's face drifts\nafter step 400")
    shown.locator("[name=note]").blur()
    shown.locator(".incontext-run[title*='drifts']").wait_for()
    assert json.loads((runs / "unwanted" / "label.json").read_text()) == {
        "label": "with better captions",
        "note": "the hero's face drifts\nafter step 400",
    }
    interface.screenshot("training-about")

    shown.locator("[data-action=delete]").click()
    dialog = interface.page.get_by_role("dialog").filter(has_text="Delete with better captions")
    dialog.wait_for()
    interface.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert (runs / "unwanted" / "run.json").is_file(), "nothing without a yes"
    shown.locator("[data-action=delete]").click()
    interface.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    said(interface, "with better captions is deleted")
    shown.locator("b:text-is('with better captions')").first.wait_for(state="detached")
    assert not (runs / "unwanted").exists()


def test_a_note_and_a_press_survive_what_the_training_does(interface: Interface) -> None:
    """The list and the fields are drawn again every second during a training; neither focus nor words are lost."""
    runs = runs_folder(interface.server)
    writer = RunWriter.create(runs, "moving", {"trainer": "in-host", "name": "moving", "settings": {"steps": 90}})
    page = interface.page
    with claims.attending(writer.run.folder):
        writer.event("started", steps=90)
        writer.event("step", step=1, steps=90, loss=0.4, smoothed=0.4, learning_rate=1e-4)
        shown = panel(interface)
        pick(shown, "moving")
        shown.locator("[data-tab=about]").click()
        note = shown.locator("[name=note]")
        note.press_sequentially("the hero")
        moving = shown.locator(".incontext-run", has=page.locator("b:text-is('moving')"))
        newer = RunWriter.create(runs, "newer", {"trainer": "in-host", "name": "newer", "settings": {"steps": 5}})
        newer.close()
        writer.event("step", step=2, steps=90, loss=0.4, smoothed=0.4, learning_rate=1e-4)
        moving.get_by_text("2 / 90").wait_for()
        writer.event("finished", lora="moving.safetensors")
        writer.close()
    wait_for_state(shown, "finished")
    page.keyboard.type(" drifts")
    assert note.input_value() == "the hero drifts"
    note.blur()
    shown.locator(".incontext-run[title*='the hero drifts']").wait_for()

    again = RunWriter.create(runs, "again", {"trainer": "in-host", "name": "again", "settings": {"steps": 90}})
    with claims.attending(again.run.folder):
        again.event("started", steps=90)
        line = shown.locator(".incontext-run", has=page.locator("b:text-is('again')"))
        line.wait_for()
        entry = line.locator(".incontext-about").bounding_box()
        assert entry
        page.mouse.move(entry["x"] + 4, entry["y"] + 4)
        page.mouse.down()
        again.event("step", step=1, steps=90, loss=0.4, smoothed=0.4, learning_rate=1e-4)
        line.get_by_text("1 / 90").wait_for()
        page.mouse.up()
        shown.locator(".incontext-title b:text-is('again')").wait_for()
        again.event("cancelled", error="Stopped.")
        again.close()
    shown.locator("[data-tab=samples]").click()


def test_a_comparison_is_shown_in_its_tab_and_again_when_it_changes(interface: Interface) -> None:
    """With the sentence of the choice, a line for each candidate, and the grids of pictures; in a light theme too."""
    past_run(runs_folder(interface.server), "judged")
    past_run(runs_folder(interface.server), "not-judged")
    shown = panel(interface)
    pick(shown, "not-judged")
    shown.locator("[data-tab=comparison]").click()
    tab = shown.locator(".incontext-comparison")
    tab.get_by_text("No comparison of this training yet").wait_for()

    store = Store(interface.server.base / "output" / "incontext_comparisons")
    store.write(comparison("judged", "judged"), {"grid-001.png": Image.new("RGB", (600, 400), (90, 140, 200))})
    pick(shown, "judged")
    tab.locator("h4").get_by_text("late × 0.8 is chosen").wait_for()
    assert tab.locator("tbody tr").count() == 2
    assert tab.locator("tr.incontext-chosen td").first.inner_text() == "0.505"
    grid = tab.locator("a.incontext-grid img")
    interface.page.wait_for_function("image => image.complete && image.naturalWidth === 600", arg=grid.element_handle())
    assert grid.get_attribute("title") == CAPTIONS[0]
    for palette in ("dark", "light"):
        interface.setting("Comfy.ColorPalette", palette)
        interface.settle()
        interface.screenshot(f"training-comparison-{palette}", shown)
    interface.setting("Comfy.ColorPalette", "dark")

    pick(shown, "not-judged")
    tab.get_by_text("No comparison of this training yet").wait_for()
