"""Panels that are chosen by a click on the layout's picture, with both renderers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator


@pytest.fixture
def repaint(either: Interface) -> int:
    """A Repaint Panels of three panels, of which the second is chosen."""
    task, repaint = either.add("InContextTask"), either.add("InContextRepaintPanels", 500)
    either.connect(task, "layout", repaint, "layout")
    either.show(repaint)
    cells(either).nth(2).wait_for()
    return repaint


def cells(interface: Interface) -> Locator:
    return interface.page.locator(".incontext-picture button.incontext-cell")


def pressed(interface: Interface) -> list[str]:
    return cells(interface).evaluate_all("cells => cells.map(cell => cell.getAttribute('aria-pressed'))")


def test_a_click_chooses_a_panel_and_another_leaves_it_out(either: Interface, repaint: int) -> None:
    assert either.value(repaint, "panels") == "2"
    assert pressed(either) == ["false", "true", "false"]
    cells(either).nth(0).click()
    wait(either, f"() => app.graph.getNodeById({repaint}).widgets.find(w => w.name === 'panels').value === '1, 2'")
    assert pressed(either) == ["true", "true", "false"]
    assert either.page.locator(".incontext-picture .incontext-generated").count() == 2
    cells(either).nth(1).click()
    assert either.inputs(repaint)["panels"] == "1"
    either.screenshot(f"choice-{either.renderer}")


def test_what_was_written_is_kept(either: Interface, repaint: int) -> None:
    either.set_value(repaint, "panels", "[scene-3]; 1")
    wait(either, "() => document.querySelectorAll('.incontext-cell[aria-pressed=true]').length === 2")
    cells(either).nth(1).click()
    assert either.inputs(repaint)["panels"] == "[scene-3]; 1; 2"


def test_each_click_is_one_step_of_undo(either: Interface, repaint: int) -> None:
    for index in (0, 2):
        cells(either).nth(index).click()
        for _ in range(3):
            either.settle()
    assert either.value(repaint, "panels") == "1, 2, 3"
    tracker = "app.extensionManager.workflow.activeWorkflow.changeTracker"
    steps = either.page.evaluate(f"() => {tracker}.undoQueue.length")
    for undone, expected in enumerate(("1, 2", "2"), start=1):
        either.undo()
        # while a workflow is restored, the interface takes no further undo
        wait(either, f"steps => {tracker}.undoQueue.length === steps && !{tracker}._restoringState", steps - undone)
        wait(either, "n => document.querySelectorAll('.incontext-cell[aria-pressed=true]').length === n", 3 - undone)
        assert either.value(repaint, "panels") == expected


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_panels_are_chosen_with_the_keyboard(either: Interface, repaint: int, key: str) -> None:
    cells(either).nth(0).focus()
    either.page.keyboard.press(key)
    wait(either, "() => document.querySelectorAll('.incontext-cell[aria-pressed=true]').length === 2")
    either.page.keyboard.press("Tab")  # the cell still has the focus, though it was drawn again
    either.page.keyboard.press("Tab")
    either.page.keyboard.press(key)
    assert either.inputs(repaint)["panels"] == "1, 2, 3"
    assert not either.page.evaluate("() => app.canvas.read_only"), "the canvas took the key for itself"


def test_what_cannot_be_is_said_in_the_picture(either: Interface, repaint: int) -> None:
    problem = either.page.locator(".incontext-picture .incontext-problem")
    cells(either).nth(1).click()
    problem.get_by_text("No panel is chosen.").wait_for()
    either.set_value(repaint, "panels", "1, 7")
    problem.get_by_text("There is no panel “7”; choose from 1 to 3: SCENE-1, SCENE-2, SCENE-3.").wait_for()
    assert pressed(either) == ["true", "false", "false"]


def test_a_connected_node_chooses_instead(either: Interface, repaint: int) -> None:
    primitive = either.add("PrimitiveString", 0, 400)
    either.connect(primitive, "STRING", repaint, "panels")
    either.page.locator(".incontext-picture").get_by_text("A connected node chooses the panels").wait_for()
    assert cells(either).count() == 0
    assert either.page.locator(".incontext-picture .incontext-cell").count() == 6
    either.screenshot(f"choice-elsewhere-{either.renderer}")


def test_references_of_a_dataset_are_chosen_in_its_picture(either: Interface) -> None:
    task, dataset = either.add("InContextTask"), either.add("InContextBuildDataset", 500)
    either.connect(task, "recipe", dataset, "recipe")
    either.show(dataset)
    cells(either).nth(0).click()
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-reference').length === 1")
    assert either.inputs(dataset)["references"] == "1"
    assert either.page.locator(".incontext-picture .incontext-learned").count() == 2
    either.screenshot(f"choice-dataset-{either.renderer}")
    cells(either).nth(0).click()
    assert either.inputs(dataset)["references"] == ""
    assert either.page.locator(".incontext-picture .incontext-problem").count() == 0
    panels, sets = (
        either.page.locator(f".incontext-{name}").bounding_box() for name in ("picture >> nth=-1", "dataset")
    )
    assert panels
    assert sets
    assert panels["y"] < sets["y"]
