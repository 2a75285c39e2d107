"""The pictures of a run, as the training nodes output them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...incontext.dataset.manifest import Dataset
from ...training.in_host.items import read_picture
from ...training.runs.run_folder import Run


def last_picture(run: Run, dataset: Dataset) -> Tensor:
    """The run's last sample, [1, H, W, 3]; the dataset's first set if there is none."""
    pictures = run.samples
    return read_picture(pictures[-1])[None] if pictures else _first_set(dataset)


def last_pictures(run: Run, dataset: Dataset) -> Tensor:
    """All samples of the run's last sampled step, [n, H, W, 3]; the dataset's first set if there is none."""
    pictures = run.samples
    if not pictures:
        return _first_set(dataset)
    last = pictures[-1].name.split("-")[0]
    return torch.stack([read_picture(path) for path in pictures if path.name.split("-")[0] == last])


def _first_set(dataset: Dataset) -> Tensor:
    return read_picture(dataset.image(dataset.items[0]))[None]
