"""A small autoencoder for tests of sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.reference_models import (
    demo_vae,
)

if TYPE_CHECKING:
    from conftest import HostPack


@pytest.fixture(scope="module")
def vae(host: HostPack) -> Any:
    return demo_vae()
