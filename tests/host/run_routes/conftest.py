"""A client of the server's routes, the folder of runs, and a built dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests.dataset_sets import RECIPE, folder_set, folder_sets
from incontext_lora.tests.route_client import Client

if TYPE_CHECKING:
    from conftest import HostPack


@pytest.fixture(scope="session")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


@pytest.fixture(scope="session")
def dataset(host: HostPack) -> Dataset:
    folder_sets(host.base / "input" / "shown-sets", 4)
    folder_set(host.base / "input" / "shown-sets", 5, images=2)
    return host.call("InContextBuildDataset", folder="shown-sets", recipe=RECIPE)[0]


@pytest.fixture
def runs(host: HostPack) -> Path:
    return host.base / "output" / "incontext_runs"
