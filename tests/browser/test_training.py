"""Trainings in the interface: started, watched, stopped and resumed by clicks, with a page that is reloaded meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.browser.test_advanced import press
from incontext_lora.tests.browser.trainings import (
    TRAIN,
    is_drawn,
    panel,
    past_run,
    pick,
    runs_folder,
    said,
    step_of,
    wait_for_state,
    wait_for_step,
    without_panel,
)
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import begin, settle

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.tests.browser.conftest import Interface


def few_sets(server: ComfyServer) -> str:
    """Six of the demo's sets, which are encoded sooner than all of them."""
    source, target = server.base / "input" / "incontext-demo-sets", server.base / "input" / "few-sets"
    if not target.exists():
        for folder in sorted(path for path in source.iterdir() if path.is_dir())[:6]:
            shutil.copytree(folder, target / folder.name)
    return target.name


@pytest.fixture
def cancelled_at_the_end(prepared_server: ComfyServer) -> Iterator[None]:
    """A test that fails leaves no training to those after it."""
    yield
    prepared_server.interrupt()


@pytest.mark.usefixtures("cancelled_at_the_end")
def test_a_training_is_watched_stopped_and_found_again(either: Interface) -> None:
    """The template, with few steps: the loss moves in the panel and on the node, a reloaded page goes on showing it."""
    is_vue = either.page.evaluate("() => Boolean(LiteGraph.vueNodesMode)")
    name = f"watched-{'vue' if is_vue else 'classic'}"
    either.load_template("train-in-host")
    node = either.node_id(TRAIN)
    either.set_value(either.node_id("InContextBuildDataset"), "folder", few_sets(either.server))
    for widget, value in {"name": name, "steps": 3000, "batch_size": 2, "save_every": 0, "sample_every": 0}.items():
        either.set_value(node, widget, value)
    either.page.evaluate("() => app.queuePrompt(0, 1)")
    shown = panel(either)
    pick(shown, name)  # there may be runs of other tests
    wait_for_step(shown, 3, patience=240)  # the captions are encoded first
    before = step_of(shown)
    wait_for_step(shown, before + 3)
    assert is_drawn(shown)

    either.open()
    shown = panel(either)
    shown.locator(f".incontext-title b:text-is('{name}')").wait_for()
    wait_for_state(shown, "running")
    wait_for_step(shown, before + 4)

    shown.locator("[data-action=sample]").click()
    shown.locator("[data-action=sample]", has_text="Sampling").wait_for()
    said(either, r"the sample of step \d+ is ready")
    shown.locator(".incontext-sample.incontext-cut").first.wait_for()
    panels = shown.locator(".incontext-sample").first.locator(".incontext-panel")
    assert panels.count() == 3
    shown.locator("[data-action=save]").click()
    said(either, r"the checkpoint of step \d+ is saved")
    shown.locator("[data-action=save]", has_text="Save now").wait_for()
    shown.locator("[data-tab=checkpoints]").click()
    shown.locator(".incontext-checkpoint").first.wait_for()
    either.screenshot(f"training-{name}")
    shown.locator("[data-action=stop]").click()
    wait_for_state(shown, "cancelled")
    said(either, rf"{name} stopped at step \d+")
    assert "Resume it from there" in shown.locator(".incontext-message").inner_text()
    assert "s per step" not in shown.locator(".incontext-facts").inner_text(), "it has no pace any more"
    run = Run(runs_folder(either.server) / name)
    assert run.state == run_folder.CANCELLED
    stopped_at = step_of(shown)

    without_panel(either)  # a reloaded page has no workflow yet
    either.load_template("train-in-host")
    either.set_value(either.node_id("InContextBuildDataset"), "folder", few_sets(either.server))
    either.set_value(either.node_id(TRAIN), "name", name)
    shown = panel(either)
    pick(shown, name)
    shown.locator("[data-action=resume]").click()
    said(either, "The training is in the queue")
    wait_for_step(shown, stopped_at + 2, patience=120)
    started = [event for event in run.events() if event["event"] == "started"]
    assert started[-1]["first_step"] == stopped_at
    shown.locator("[data-action=stop]").click()
    wait_for_state(shown, "cancelled")
    shown.locator("[data-tab=checkpoints]").click()

    shown.locator(".incontext-checkpoint button").first.click()
    either.page.locator(".p-toast-message", has_text="is in output/loras now").wait_for()
    assert f"{run.checkpoints[-1].name}" in either.server.get_json("/models/loras")


def test_the_node_shows_its_own_run(either: Interface) -> None:
    past_run(runs_folder(either.server), "of-the-node")
    without_panel(either)
    node = either.add(TRAIN)
    either.set_value(node, "name", "nothing-of-this-name")
    shown = either.page.locator(".incontext-compact")
    shown.locator(".incontext-nothing").wait_for()
    either.set_value(node, "name", "of-the-node")
    either.show(node)
    either.node(node, "app.canvas.ds.offset[1] = 500 - node.pos[1] - node.size[1], app.canvas.setDirty(true, true)")
    wait_for_state(shown, "finished")
    assert step_of(shown) == 200
    either.page.wait_for_function("element => element.querySelector('canvas')?.width > 100", arg=shown.element_handle())
    assert is_drawn(shown)
    either.screenshot(f"training-node-{'vue' if either.page.evaluate('LiteGraph.vueNodesMode') else 'classic'}")
    shown.locator(".incontext-all").click()
    either.page.locator(".incontext-monitor .incontext-title b:text-is('of-the-node')").wait_for()


@pytest.mark.parametrize("kind", ["InContextTrainLora", "InContextTrainLoraInHost"])
def test_a_learning_rate_is_shown_and_stays(interface: Interface, kind: str) -> None:
    """Nodes 2.0 alone would show 0."""
    interface.set_vue_nodes(True)
    node = interface.add(kind)
    if kind == "InContextTrainLora":  # it is one of the advanced inputs there
        press(interface, node)
    interface.show(node)
    rate = interface.page.locator("[aria-label='learning_rate'] input, input[aria-label='learning_rate']").first
    rate.wait_for()
    assert rate.input_value() in ("0.0001", "0.0001000")  # the second in newer ComfyUI
    rate.focus()
    rate.blur()
    interface.settle()
    assert interface.inputs(node)["learning_rate"] == 1e-4


def test_the_curve_goes_on_with_its_training(interface: Interface) -> None:
    about = {"trainer": "in-host", "name": "growing", "settings": {"steps": 90}}
    writer = RunWriter.create(runs_folder(interface.server), "growing", about)
    writer.event("started", steps=90)
    shown = panel(interface)
    for first in (1, 31, 61):
        for step in range(first, first + 30):
            writer.event("step", step=step, steps=90, loss=1 / step, smoothed=1 / step, learning_rate=1e-4)
        if first == 1:
            pick(shown, "growing")
        wait_for_step(shown, first + 29)
        interface.settle()
        box = shown.locator(".u-over").bounding_box()
        assert box
        interface.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 40)
        shown.locator(".u-legend", has_text=f"step {first + 29}").wait_for()
        interface.page.mouse.move(0, 0)
    writer.event("finished")
    writer.close()


def test_ten_thousand_steps_stay_fluid(interface: Interface) -> None:
    past_run(runs_folder(interface.server), "long", steps=10_000)
    shown = panel(interface)
    pick(shown, "long")
    interface.page.wait_for_function("() => document.querySelector('.incontext-monitor canvas')")
    assert is_drawn(shown)
    seconds = interface.page.evaluate(
        """async () => {
            const over = document.querySelector('.incontext-monitor .u-over');
            const {left, top, width} = over.getBoundingClientRect();
            const started = performance.now();
            for (let i = 0; i < 30; i++) {
                const place = {clientX: left + width * i / 30, clientY: top + 40, bubbles: true};
                over.dispatchEvent(new MouseEvent('mousemove', place));
                await new Promise(requestAnimationFrame);
            }
            return (performance.now() - started) / 1000 }"""
    )
    assert seconds / 30 < 0.1, "a pointer over the curve must not wait for it"
    assert "step 9" in shown.locator(".u-legend").inner_text(), "the legend follows the pointer"


# --- sd-scripts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in(
    request: pytest.FixtureRequest, prepared_server: ComfyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A run of the stand-in trainer that has just begun, and a server whose trainer is the stand-in too.

    A parameter tells the stand-in how to behave; see tests/stand_in_trainer.py.
    """
    if os.name == "nt":
        pytest.skip("The stand-in's interpreter is a shell script.")
    from incontext_lora.tests.dataset_sets import folder_sets
    from incontext_lora.tests.sd_scripts_machine import (
        STAND_IN,
        flux_files,
        flux_order,
        small_dataset,
        stand_in_machine,
    )
    from incontext_lora.training.sd_scripts import environment

    where = replace(
        stand_in_machine(tmp_path, tmp_path / "ComfyUI"),
        runs=runs_folder(prepared_server),
        loras=prepared_server.base / "output" / "loras",
    )
    (where.trainer.checkout / "train_network.py").touch()
    python = tmp_path / "python"  # runs the stand-in whatever runner it is given
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {shlex.quote(sys.executable)} "$@"\n'
        f'shift\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"\n'
    )
    python.chmod(0o755)
    folder = prepared_server.base / "data" / "trainer"
    environment.remember(replace(where.trainer, python=python, adopted=True), folder)
    monkeypatch.setenv("STAND_IN", json.dumps({"pause": 0.2, **getattr(request, "param", {})}))
    dataset = small_dataset(folder_sets(tmp_path / "sets", 4), tmp_path / "datasets")
    order = replace(flux_order(dataset, flux_files(tmp_path / "models"), steps=60, save_every=2), name="stand-in")
    run, process = begin.start(order, where)

    def wait_and_settle() -> None:
        process.wait(30)
        settle.settle(run, where.loras, process.returncode)

    yield run, wait_and_settle
    supervise.kill(run.folder)
    (folder / "trainer.json").unlink()
    (folder / "processes.json").unlink(missing_ok=True)


def test_a_run_of_sd_scripts_is_stopped_and_resumed(interface: Interface, stand_in: Any) -> None:
    run, wait_and_settle = stand_in
    shown = panel(interface)
    pick(shown, run.name)
    wait_for_state(shown, "running")
    wait_for_step(shown, 3)
    shown.locator("[data-action=stop]").click()
    shown.locator("[data-action=end]").wait_for()
    assert shown.locator("[data-action=stop]").inner_text() == "Stopping …"
    wait_and_settle()
    wait_for_state(shown, "cancelled")
    shown.locator(".incontext-message", has_text="Resume it from step").wait_for()
    shown.locator("[data-action=resume]").click()
    wait_for_state(shown, "running")
    wait_for_state(shown, "finished")
    assert step_of(shown) == 60
    assert f"{run.name}.safetensors" in interface.server.get_json("/models/loras")
    shown.locator("[data-tab=log]").click()
    shown.locator(".incontext-log", has_text="segment 2").wait_for()
    interface.screenshot("training-sd-scripts")
    shown.locator("[data-tab=trainer]").click()
    fields = shown.locator(".incontext-processes input:visible")
    fields.first.wait_for()
    assert [field.get_attribute("name") for field in fields.all()] == ["count", "machines"]
    shown.locator("[name=machines]").fill("2")
    assert [field.get_attribute("name") for field in fields.all()] == ["count", "machines", "rank", "address", "port"]
    shown.locator("[name=count]").fill("4")
    shown.locator("[data-action=processes]").click()
    interface.page.get_by_text("at which other machines cannot reach the first one").first.wait_for()
    shown.locator("[name=address]").fill("gpu-1")
    shown.locator("[data-action=processes]").click()
    interface.page.get_by_text("From the next training on: 4 processes.").first.wait_for()
    kept = json.loads((interface.server.base / "data" / "trainer" / "processes.json").read_text())
    assert (kept["count"], kept["machines"], kept["rank"], kept["address"]) == (4, 2, 0, "gpu-1")
    interface.screenshot("training-processes")


@pytest.mark.parametrize("stand_in", [{"ignore": True}], indirect=True)
def test_a_run_that_does_not_stop_is_ended_now(interface: Interface, stand_in: Any) -> None:
    """What was saved stays, and the run can be resumed."""
    run, wait_and_settle = stand_in
    shown = panel(interface)
    pick(shown, run.name)
    wait_for_step(shown, 5)  # two states are saved by then
    shown.locator("[data-action=stop]").click()
    end = shown.locator("[data-action=end]")
    end.wait_for()
    assert end.inner_text() == "End now"
    before = step_of(shown)
    wait_for_step(shown, before + 1)  # it goes on
    end.click()
    wait_and_settle()
    wait_for_state(shown, "cancelled")
    said(interface, rf"{run.name} stopped at step \d+")
    assert shown.locator("[data-action=end], [data-action=stop]").count() == 0
    assert shown.locator("[data-action=resume]").is_enabled()
    assert supervise.find(run.folder) is None


def test_what_the_trainer_takes_is_said_before_it_is_installed(interface: Interface) -> None:
    without_panel(interface)
    node = interface.add("InContextTrainLora")
    interface.show(node)
    interface.node(node, "app.canvas.ds.offset[1] = 800 - node.pos[1] - node.size[1], app.canvas.setDirty(true, true)")
    interface.page.locator(".incontext-missing button").click()
    shown = interface.page.locator(".incontext-monitor")
    shown.locator("[data-action=install]").wait_for()
    assert "GB on the disk, in a folder of its own" in shown.locator(".incontext-trainer").inner_text()
    assert not (interface.server.base / "data" / "trainer" / "setting-up.txt").exists(), "nothing without a click"


# --- datasets -------------------------------------------------------------------------------------------------------


def test_a_built_dataset_is_shown_with_its_warnings(either: Interface) -> None:
    sets = either.server.base / "input" / "shown-sets"
    if not sets.exists():
        from incontext_lora.tests.dataset_sets import folder_set, folder_sets

        folder_sets(sets, 5)
        folder_set(sets, 6, images=2)
    without_panel(either)
    either.load_template("build-dataset")
    node = either.node_id("InContextBuildDataset")
    either.set_value(node, "folder", "shown-sets")
    either.show(node)
    either.run()
    shown = either.page.locator(".incontext-dataset")
    cards = shown.locator(".incontext-card")
    cards.nth(5).wait_for()
    assert cards.count() == 6
    assert cards.nth(5).locator(".incontext-count.incontext-error").inner_text() == "1"
    cards.nth(5).click()
    shown.locator(".incontext-open .incontext-finding", has_text="has 2 images").wait_for()
    assert cards.nth(5).evaluate("card => card === document.activeElement"), "the keyboard stays on the card"
    either.page.keyboard.press("Enter")
    shown.locator(".incontext-open").wait_for(state="detached")
    cards.first.click()
    whole = shown.locator(".incontext-open .incontext-note:not(.incontext-finding)").inner_text()
    assert all(f"[SCENE-{number}]" in whole for number in (1, 2, 3)), "the whole caption"
    either.page.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=cards.first.locator("img").element_handle()
    )
    either.screenshot(f"dataset-{'vue' if either.page.evaluate('LiteGraph.vueNodesMode') else 'classic'}")
