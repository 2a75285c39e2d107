"""How many processes train together, on how many machines. This is a setting of the machine, never of a workflow.

Hugging Face Accelerate starts the processes and combines their gradients. The setting is in a file in the trainer's folder,
so that the node, the monitor and the command line agree; the command line can override it for one run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic

FILE = "processes.json"
LOCAL = "127.0.0.1"
# what the interface may set; not `config`, since Accelerate's file may name programs to run
SETTABLE = ("count", "machines", "rank", "address", "port")
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")


@dataclass(frozen=True)
class Processes:
    """How many processes train together.

    Attributes:
        count: processes on all machines together, one per graphics card.
        machines: number of machines.
        rank: number of this machine; the first is 0.
        address, port: at which the other machines reach the first one.
        config: a file that ``accelerate config`` wrote; it takes precedence over the values above.
        cpu: compute on the processor even if there is a graphics card.

    Raises:
        TrainingError: if the values do not fit together.
    """

    count: int = 1
    machines: int = 1
    rank: int = 0
    address: str = LOCAL
    port: int = 29500
    config: str = ""
    cpu: bool = False

    def __post_init__(self) -> None:
        for name, title in (("count", "Processes"), ("machines", "Machines"), ("rank", "Machine"), ("port", "Port")):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TrainingError(f"{title} is {value!r}; it must be a whole number.")
        if self.count < 1:
            raise TrainingError(f"Processes is {self.count}; it must be at least 1.")
        if self.machines < 1:
            raise TrainingError(f"Machines is {self.machines}; it must be at least 1.")
        if self.count % self.machines:
            raise TrainingError(
                f"{self.count} processes cannot be divided evenly among {self.machines} machines. Choose a multiple of "
                f"{self.machines}."
            )
        if not 0 <= self.rank < self.machines:
            raise TrainingError(
                f"Machine is {self.rank}; with {self.machines} machines, the first is 0 and the last is {self.machines - 1}."
            )
        if not 0 < self.port < 65536:
            raise TrainingError(f"Port is {self.port}; it must be between 1 and 65535.")
        if not isinstance(self.address, str) or not _ADDRESS.fullmatch(self.address):
            raise TrainingError(f"Address is {self.address!r}; it must be a host name or an IP address.")
        if self.machines > 1 and self.address == LOCAL:
            raise TrainingError(
                f"Address is {LOCAL}, at which other machines cannot reach the first one. On every machine, enter the first "
                "machine's name or address in the network."
            )

    @property
    def is_first(self) -> bool:
        """Whether this machine keeps the run and its LoRA; the others help."""
        return self.rank == 0

    @staticmethod
    def load(path: Path) -> Processes:
        """The values in a settings file; one process if there is no file.

        Raises:
            TrainingError: if the file cannot be read.
        """
        if not path.exists():
            return Processes()
        try:
            return Processes(**strict_json.read_object(path))
        except (OSError, ValueError, TypeError, TrainingError) as error:
            raise TrainingError(
                f"{path} cannot be read: {error}. Correct it, or remove it to train in one process."
            ) from error

    def save(self, path: Path) -> None:
        """Write the values to a settings file.

        Raises:
            TrainingError: if the file cannot be written.
        """
        with explain_write_errors(path, TrainingError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")

    def changed(self, values: Mapping[str, Any]) -> Processes:
        """The same with some values of `SETTABLE` replaced.

        Raises:
            TrainingError: if a name is unknown, or the values do not fit together.
        """
        strange = [name for name in values if name not in SETTABLE]
        if strange:
            raise TrainingError(f"{strange[0]!r} cannot be set; {', '.join(SETTABLE)} can.")
        return replace(self, **values)
