"""The outcome of a run in words: the cause of a failure, and what to change."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LESS_MEMORY = (
    "Choose the preset of a smaller card, or batch size 1, or a dataset with a smaller canvas; close other programs that use "
    "the card."
)

# pattern in the trainer's output → what it means and what to do; the first match wins
_CAUSES: tuple[tuple[str, str], ...] = (
    (r"CUDA out of memory|OutOfMemoryError|HIP out of memory|MPS backend out of memory",
     f"The graphics card ran out of memory. {_LESS_MEMORY}"),
    (r"DefaultCPUAllocator: can't allocate memory|MemoryError|Cannot allocate memory",
     f"The computer ran out of memory. {_LESS_MEMORY}"),
    (r"No space left on device|Errno 28|not enough space on the disk|Disk quota exceeded|PytorchStreamWriter failed writing"
     r"|iostream error",
     "The disk is full. Free some space, then resume the run."),
    (r"Cannot copy out of meta tensor|Tensor on device meta|is on the meta device",
     "A model file is incomplete or of the wrong kind: parts of the model have no weights. Choose the original bf16 files of "
     "model, text encoders and autoencoder."),
    (r"size mismatch for|Error\(s\) in loading state_dict",
     "A model file does not match the architecture. Choose the files of this architecture."),
    (r"No data found|not found any images|no images",
     "The trainer found no pictures. Build the dataset again."),
    (r"max_size should be larger|bucket_reso_steps .* divisible|is not divisible|aspect is illegal",
     "The composites do not fit the trainer's size steps. Choose a recipe whose canvas has sides that are multiples of 64."),
    (r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to .huggingface|Can't load tokenizer|gated repo",
     "A tokenizer is not on this machine and could not be fetched. Connect to the network for the first training of this "
     "architecture, and log in to Hugging Face where its licence asks for it."),
    (r"no kernel image is available|not compatible with the current PyTorch|sm_\d+ is not compatible",
     "The trainer's torch has no code for this graphics card. Reinstall it with `python run.py trainer remove` and "
     "`python run.py trainer install`."),
    (r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
     "The graphics driver is too old for the trainer's torch. Update the driver."),
    (r"Address already in use|EADDRINUSE",
     "The port for several processes is already in use. Choose another in the monitor's tab Trainer, or with --main-port."),
    (r"invalid device ordinal",
     "There are fewer graphics cards than processes. Choose fewer in the monitor's tab Trainer, or with --processes."),
    (r"ModuleNotFoundError|ImportError",
     "The trainer's environment lacks a package. `python run.py trainer check` says which."),
)  # fmt: skip


def cause(lines: Sequence[str]) -> str:
    """What the last lines of the trainer's output mean; empty if that is unknown."""
    text = "\n".join(lines)
    return next((words for pattern, words in _CAUSES if re.search(pattern, text)), "")


def failure(phase: str, said: str, code: int | None, lines: Sequence[str]) -> str:
    """The error for the user.

    Args:
        phase: the trainer's last phase; empty if it did not begin.
        said: the runner's own sentence; empty if it has none.
        code: exit code; None if it is unknown.
        lines: the last lines of the trainer's output.
    """
    while_ = f" while {phase}" if phase else ""
    words = said or cause(lines) or "The cause is in the last lines of its output."
    ended = f" (exit code {code})" if code not in (None, 0) else ""
    last = "\n".join(f"    {line}" for line in lines[-12:])
    return f"The training failed{while_}{ended}. {words}" + (f"\n{last}" if last else "")


def interrupted(phase: str, step: int, resumable: int, code: int | None) -> str:
    """The message for a run whose process ended without recording why.

    Args:
        phase: the last phase; empty if it did not begin.
        step: the last step; 0 if there was none.
        resumable: step of the saved state; 0 if there is none.
        code: exit code; None if it is unknown.
    """
    killed = " It was killed (signal 9), probably because the system ran out of memory." if code in (-9, 137) else ""
    begun = f"at step {step}" if step else f"while {phase}" if phase else "before it began"
    go_on = (
        f"Resume it: it continues from step {resumable}." if resumable else "It has no saved state yet; start it again."
    )
    return f"The training was interrupted {begun}.{killed} {go_on}"
