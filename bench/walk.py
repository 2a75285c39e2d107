"""Whether what is seen is what is sent: random walks through the real interface, with both renderers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..demo.server import ComfyServer
from .figure import Figure

NAME = "interface.walk_mismatches"
SEEDS = (1, 2)
STEPS = 150  # for each renderer and seed


def walk_figures(base: Path, say: Callable[[str], None], *, steps: int = STEPS) -> list[Figure]:
    """Mismatches between screen, widget values and prompt, per walk; a walk ends with its first one."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        say(f"{NAME} is left out: Playwright is missing")
        return []
    from ..tests.browser import conftest as browsing
    from ..tests.browser import walk as walking

    mismatches: list[float] = []
    actions = 0
    with sync_playwright() as playwright:
        browser = browsing.start_browser(playwright)
        if browser is None:
            say(f"{NAME} is left out: there is no Chromium")
            return []
        with ComfyServer(base) as server:
            interface = browsing.open_interface(browser, server)
            for seed in SEEDS:
                for on in (False, True):
                    interface.set_vue_nodes(on)
                    interface.clear()
                    walk = walking.Walk(interface, seed)
                    walk.begin()
                    walk.go(steps)
                    for found in walk.mismatches:
                        say(f"{interface.renderer}, seed {seed}: {found}")
                    mismatches.append(len(walk.mismatches))
                    actions += len(walk.actions)
        browser.close()
    detail = f"{actions} actions on layouts, stitching and captions, on the classic canvas and in Nodes 2.0"
    return [Figure.of(NAME, [sum(mismatches)], "", "<= 0", detail)]
