"""An exponential moving average of a LoRA's weights. Both trainers save and sample it in place of the raw weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class MovingAverage:
    """The moving average of some parameters, in float32.

    Args:
        parameters: name in saved files → parameter.
        decay: per step. The first steps use a smaller one, so that the initial weights are soon forgotten.
        device: where the average is kept; None for each parameter's own device.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], decay: float, device: torch.device | str | None = None
    ) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self._updates = 0
        self._average = {
            name: value.detach().to(device or value.device, torch.float32, copy=True)
            for name, value in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Add the current parameters to the average; call it after each step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, value in self._parameters.items():
            average = self._average[name]
            average.lerp_(value.to(average.device, average.dtype), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context, the parameters hold the average."""
        raw = {
            name: value.detach().to(self._average[name].device, copy=True) for name, value in self._parameters.items()
        }
        self._put(self._average)
        try:
            yield
        finally:
            self._put(raw)

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, torch.Tensor]:
        """The average, by the names of its parameters, and its number of updates."""
        return {**self._average, "updates": torch.tensor(self._updates)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from a `state`.

        Raises:
            KeyError: if it belongs to other parameters.
        """
        self._updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(state[name])

    def save(self, path: Path) -> None:
        """Write the average to a safetensors file, which `load` reads."""
        save_file({name: value.contiguous() for name, value in self.state().items()}, str(path))

    def load(self, path: Path) -> None:
        """Continue from a file that `save` wrote.

        Raises:
            KeyError: if it belongs to other parameters.
            OSError, safetensors.SafetensorError: if it cannot be read.
        """
        self.restore(load_file(str(path)))
