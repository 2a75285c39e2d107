"""A smaller card than the one that is there, and the largest memory of each phase. Torch only: the trainer reads it too."""

from __future__ import annotations

from typing import Any

GIB = 2**30
TAKEN = 0.75  # GiB of a card that the driver and the screen have


def emulate(gigabytes: float | None) -> None:
    """Let this process see and use no more of the card than one of that size would have. None: the whole card."""
    import torch

    if gigabytes is None or not torch.cuda.is_available():
        return
    real = getattr(torch.cuda.mem_get_info, "real", torch.cuda.mem_get_info)
    total = real()[1]
    limit = int((gigabytes - TAKEN) * GIB)
    if limit >= total:
        return

    def mem_get_info(device: Any = None) -> tuple[int, int]:
        free, _ = real(device)
        return max(0, min(free, limit - torch.cuda.memory_reserved(device))), limit

    mem_get_info.real = real  # type: ignore[attr-defined]
    torch.cuda.mem_get_info = mem_get_info
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)


class Peaks:
    """The most memory that was allocated in each phase, in GB; of the process where there is no card."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.phase = "starting"

    def enter(self, phase: str) -> None:
        self.note()
        self.phase = phase

    def note(self) -> None:
        """Count the memory since the last look to the present phase."""
        import psutil
        import torch

        if torch.cuda.is_available():
            used = torch.cuda.max_memory_allocated()
            torch.cuda.memory.reset_peak_memory_stats()
        else:
            used = psutil.Process().memory_info().rss
        self.found[self.phase] = max(self.found.get(self.phase, 0.0), round(used / 1e9, 3))

    @property
    def largest(self) -> tuple[str, float]:
        """The phase with the largest peak, and that peak."""
        return max(self.found.items(), key=lambda item: item[1])


def is_out_of_memory(error: BaseException) -> bool:
    return "out of memory" in str(error).lower()
