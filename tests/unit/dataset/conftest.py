"""Three sets to build from, and a folder for the result."""

from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.tests.dataset_sets import folder_sets


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return folder_sets(tmp_path / "sets", 3)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
