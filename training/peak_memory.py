"""The most memory that a training has used so far."""

from __future__ import annotations

import sys

import torch


def peak_memory() -> float:
    """In GB (10⁹ bytes), of the graphics card if there is one, else of this process; 0 if the system does not say."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1e9 if sys.platform == "darwin" else 1e6), 3)


def reset_peak_memory() -> None:
    """Forget the graphics card's peak so far. The peak of a process cannot be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
