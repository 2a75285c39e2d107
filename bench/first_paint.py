"""How soon the training panel shows a curve, in a real browser: 50 runs, and 1,000,000 events in the run that is shown."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..demo.server import ComfyServer
from .figure import Figure
from .trust_load import LONG, make_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RUNS, EVENTS, ROUNDS = 50, 1_000_000, 5
NAME = "interface.first_paint_ms"
READY = "Boolean(window.app?.graph && window.app.extensionManager && LiteGraph.registered_node_types.InContextTask)"
# milliseconds from the command that opens the panel until a curve has been drawn
FIRST_PAINT = """() => new Promise(done => {
    const began = performance.now();
    const look = () => {
        const curve = document.querySelector(".incontext-monitor .incontext-curve");
        if (Number(curve?.dataset.lastStep) > 1 && curve.querySelector("canvas")) {
            requestAnimationFrame(() => done(performance.now() - began));
        } else {
            requestAnimationFrame(look);
        }
    };
    app.extensionManager.command.execute("InContextLora.ShowTrainings");
    look();
})"""
WHOLE = "last => Number(document.querySelector('.incontext-monitor .incontext-curve').dataset.lastStep) === last"


def first_paint_figures(
    base: Path, say: Callable[[str], None], *, runs: int = RUNS, events: int = EVENTS, rounds: int = ROUNDS
) -> list[Figure]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        say(f"{NAME} is left out: Playwright is missing")
        return []
    from ..tests.browser.conftest import start_browser

    folder = base / "output" / "incontext_runs"
    with sync_playwright() as playwright:
        browser = start_browser(playwright)
        if browser is None:
            say(f"{NAME} is left out: there is no Chromium")
            return []
        try:
            say(f"writing {runs} runs, one of {events} steps")
            make_runs(folder, runs, events)
            later = time.time() + 60
            os.utime(folder / LONG / "run.json", (later, later))  # the newest is shown first
            with ComfyServer(base) as server:
                say("opening the panel")
                painted, seconds = [], []
                for _ in range(rounds):
                    shown, whole = _paint(browser, server.url, events)
                    painted.append(shown)
                    seconds.append(whole)
        finally:
            browser.close()
            for run in folder.glob("load-*"):
                shutil.rmtree(run)
    detail = (
        f"from the command to a drawn curve; {runs} runs, {events:,} steps in the one shown; all of them are drawn after "
        f"{min(seconds):.0f} to {max(seconds):.0f} s"
    )
    return [Figure.of(NAME, painted, "ms", "", detail)]


def _paint(browser: Browser, url: str, events: int) -> tuple[float, float]:
    """Milliseconds until the first curve, and seconds until the whole one, in a page of its own."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    try:
        page: Page = context.new_page()
        page.goto(url)
        page.wait_for_function(READY)
        began = time.monotonic()
        shown = page.evaluate(FIRST_PAINT)
        page.wait_for_function(WHOLE, arg=events, timeout=600_000)
        return shown, time.monotonic() - began
    finally:
        context.close()
