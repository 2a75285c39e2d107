"""Small real models of ComfyUI, loaded in inference mode as its executor does, and four sets to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests import tiny_models
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets
from incontext_lora.tests.in_host_training import Tiny


@pytest.fixture(scope="module", params=["sd3", "flux"])
def tiny(host: Any, request: pytest.FixtureRequest) -> Tiny:
    return Tiny(request.param, getattr(tiny_models, request.param)(), tiny_models.Words.of(request.param))


@pytest.fixture(scope="module")
def sd3(host: Any) -> Tiny:
    return Tiny("sd3", tiny_models.sd3(), tiny_models.Words.of("sd3"))


@pytest.fixture(scope="module")
def flux(host: Any) -> Tiny:
    return Tiny("flux", tiny_models.flux(), tiny_models.Words.of("flux"))


@pytest.fixture(scope="module")
def vae(host: Any) -> Any:
    return tiny_models.vae()


@pytest.fixture(scope="session")
def dataset(host: Any) -> Dataset:
    folder_sets(Path(host.base) / "input" / "train-sets", 4)
    return host.call("InContextBuildDataset", folder="train-sets", recipe=RECIPE)[0]
