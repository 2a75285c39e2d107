"""Orders for the real trainer at tiny sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from incontext_lora.training.sd_scripts.order import Order

Make = Callable[..., Order]


def sampled_quickly(order: Order) -> Order:
    sampling = {**order.architecture.sampling, "sample_steps": 2}
    return replace(order, architecture=replace(order.architecture, sampling=sampling))
