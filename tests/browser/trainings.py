"""What the tests of the training panel have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from incontext_lora.training.runs.run_folder import Run, RunWriter

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator

TRAIN = "InContextTrainLoraInHost"
SHOW = "() => app.extensionManager.command.execute('InContextLora.ShowTrainings')"


def runs_folder(server: ComfyServer) -> Path:
    return server.base / "output" / "incontext_runs"


def panel(interface: Interface) -> Locator:
    """The tab in the bottom panel, opened by its command."""
    interface.page.evaluate(SHOW)
    found = interface.page.locator(".incontext-monitor")
    found.wait_for()
    return found


def without_panel(interface: Interface) -> None:
    """Close the bottom panel, which ComfyUI opens again on the next page; it would lie over the nodes."""
    interface.page.evaluate("() => { app.extensionManager.bottomPanel.activePanel = null }")
    interface.settle()


def pick(shown: Locator, name: str) -> None:
    shown.locator(".incontext-run", has=shown.page.locator(f"b:text-is('{name}')")).click()
    shown.locator(f".incontext-title b:text-is('{name}')").wait_for()


def said(interface: Interface, text: str) -> None:
    """Wait for a message."""
    interface.page.locator(".p-toast-message", has_text=re.compile(text)).first.wait_for()


def step_of(shown: Locator) -> int:
    """The step that is shown."""
    text = " ".join(shown.locator(".incontext-facts span").all_inner_texts())
    return int(text.split("step ")[1].split(" of")[0]) if "step " in text else 0


def wait_for_step(shown: Locator, step: int, patience: float = 60) -> None:
    shown.page.wait_for_function(
        """([element, step]) =>
            Number(/step (\\d+)/.exec(element.querySelector('.incontext-facts')?.textContent)?.[1] ?? 0) >= step""",
        arg=[shown.element_handle(), step],
        timeout=1000 * patience,
    )


def wait_for_state(shown: Locator, state: str) -> None:
    shown.locator(f".incontext-title .incontext-badge.incontext-{state}").wait_for()


def is_drawn(curve: Locator, colour: str = "--incontext-loss") -> bool:
    """Whether the chart's canvas has a line in this colour of the stylesheet, by default that of the smoothed loss."""
    script = """(canvas, name) => {
        const hex = getComputedStyle(canvas).getPropertyValue(name).trim();
        const wanted = [1, 3, 5].map(place => parseInt(hex.slice(place, place + 2), 16));
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4)
            if (wanted.every((value, part) => Math.abs(data[i + part] - value) < 40) && data[i + 3] > 200) count++;
        return count > 20 }"""
    return curve.locator("canvas").evaluate(script, colour)


def past_run(runs: Path, name: str, steps: int = 200) -> Run:
    if (runs / name).exists():
        return Run(runs / name)
    writer = RunWriter.create(runs, name, {"trainer": "in-host", "name": name, "settings": {"steps": steps}})
    writer.event("started", steps=steps)
    for step in range(1, steps + 1):
        loss = 0.3 + 1 / step + 0.1 * ((7919 * step) % 11) / 11
        writer.event("step", step=step, steps=steps, loss=loss, smoothed=0.35 + 1 / step, learning_rate=1e-4)
    writer.event("finished", lora=f"{name}.safetensors")
    writer.close()
    return writer.run
