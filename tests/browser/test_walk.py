"""Nothing that the interface does to a node may separate what is seen from what is sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from incontext_lora.tests.browser.walk import Walk

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

SEED = int(os.environ.get("INCONTEXT_LORA_WALK_SEED", "1"))
STEPS = 150  # for each renderer


def test_screen_values_and_prompt_agree_after_every_action_of_a_random_walk(either: Interface) -> None:
    walk = Walk(either, SEED)
    walk.begin()
    walk.go(STEPS)
    assert not walk.mismatches, "\n".join([*walk.actions[-10:], *walk.mismatches])
    assert len(walk.actions) == STEPS
