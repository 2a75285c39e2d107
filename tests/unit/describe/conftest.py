"""Tries follow each other quickly."""

from __future__ import annotations

import pytest
from incontext_lora.incontext.captions.describe import client


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
