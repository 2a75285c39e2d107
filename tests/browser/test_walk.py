"""Nothing that the interface does to a node may separate what is seen from what is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.conftest import open_interface
from incontext_lora.tests.browser.walk import Walk

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Browser

SEED = int(os.environ.get("INCONTEXT_LORA_WALK_SEED", "1"))
STEPS = 150  # for each renderer


@pytest.fixture(params=[False, True], ids=["classic", "nodes-2.0"])
def walked(request: pytest.FixtureRequest, browser: Browser, prepared_server: ComfyServer) -> Iterator[Interface]:
    """A page of its own: a walk goes through all tabs, and other tests leave theirs open."""
    interface = open_interface(browser, prepared_server)
    interface.set_vue_nodes(request.param)
    yield interface
    interface.set_vue_nodes(False)
    interface.page.context.close()
    assert interface.errors == []


def test_screen_values_and_prompt_agree_after_every_action_of_a_random_walk(walked: Interface) -> None:
    walk = Walk(walked, SEED)
    walk.begin()
    walk.go(STEPS)
    assert not walk.mismatches, "\n".join([*walk.actions[-10:], *walk.mismatches])
    assert len(walk.actions) == STEPS
