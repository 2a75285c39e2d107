"""Questions to a vision server, as tests ask them."""

from __future__ import annotations

from typing import Any

import pytest
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.options import Settings
from incontext_lora.incontext.captions.describe.refusal import ServerError
from incontext_lora.incontext.captions.describe.servers import address
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.tests.vision_server import (
    Behaviour,
    VisionServer,
)

RECIPE = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
GOOD = "SUMMARY: three cups\n[SCENE-1] one\n[SCENE-2] two\n[SCENE-3] three"
SETTINGS = Settings("seeing-model", timeout=20)
QUESTION = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}]}]
KEY = "sk-test-0123456789abcdef"


def ask(server: VisionServer, settings: Settings = SETTINGS, **more: Any) -> str:
    return complete(address(server.url), settings, QUESTION, **more)


def failure(*behaviours: Behaviour, settings: Settings = SETTINGS) -> tuple[str, VisionServer]:
    with VisionServer(*behaviours) as server, pytest.raises(ServerError) as error:
        ask(server, settings)
    return str(error.value), server
