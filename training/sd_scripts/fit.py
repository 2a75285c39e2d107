"""The interpreter, build of torch and requirements that suit this machine. Standard library only."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)
TORCH = ("torch==2.14.1", "torchvision==0.29.1")  # used if ComfyUI's own build is unknown or has no CUDA
GIGABYTE = 1_000_000_000
# bytes to download, bytes installed; measured with CUDA libraries, estimated without
SIZE_CUDA, SIZE_CPU = (4 * GIGABYTE, 9 * GIGABYTE), (1 * GIGABYTE, 3 * GIGABYTE)
_TORCH_OF_HOST = """
import json, torch
try:
    import torchvision
    vision = torchvision.__version__
except ImportError:
    vision = ""
print(json.dumps({"torch": torch.__version__, "torchvision": vision, "cuda": torch.version.cuda or "",
                  "gpu": torch.cuda.is_available()}))
"""
# Run in each interpreter that is found. Portable builds of ComfyUI lack venv, and some systems lack ensurepip.
_ABOUT_INTERPRETER = """
import sys, json, struct
import venv, ensurepip
print(json.dumps({"version": sys.version_info[:2], "bits": 8 * struct.calcsize("P"),
                  "path": getattr(sys, "_base_executable", "") or sys.executable}))
"""


@dataclass(frozen=True)
class Flavour:
    """The build of torch to install.

    Attributes:
        requirements: for pip.
        index: URL of the package index; empty for pip's own.
        gpu: whether it is for an NVIDIA card.
    """

    requirements: tuple[str, ...]
    index: str = ""
    gpu: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Bytes to download, and bytes on the disk."""
        return SIZE_CUDA if self.gpu else SIZE_CPU


def interpreter_candidates(
    running: str = sys.executable, which: Callable[[str], str | None] = shutil.which, system: str = sys.platform
) -> list[tuple[str, ...]]:
    """Commands that may start an interpreter for the trainer: the running one, then the others, newest first."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    candidates: list[tuple[str, ...]] = [(running,)]
    launcher = which("py") if system == "win32" else None
    if launcher:
        candidates += [(launcher, f"-3.{minor}") for minor in minors]
    names = [*(f"python3.{minor}" for minor in minors), "python3", "python"]
    candidates += [(found,) for name in names if (found := which(name))]
    return list(dict.fromkeys(candidates))


def interpreter_probe(candidate: Sequence[str]) -> tuple[str, ...]:
    """The command that asks an interpreter for its version. It fails if the interpreter cannot create environments."""
    return (*candidate, "-c", _ABOUT_INTERPRETER)


def fitting_interpreter(answer: str) -> str:
    """The path of an interpreter, from the output of `interpreter_probe`.

    Empty if the trainer's requirements do not support it: too old, too new, or a 32-bit build.
    """
    try:
        about = json.loads(answer.strip().splitlines()[-1])
        fits = OLDEST <= tuple(about["version"]) <= NEWEST and about["bits"] == 64
        return str(about["path"]) if fits else ""
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def host_probe(python: Path) -> tuple[str, ...]:
    """The command that asks ComfyUI's interpreter which torch it has."""
    return (str(python), "-c", _TORCH_OF_HOST)


def flavour(host: Mapping[str, object] | None, has_driver: bool) -> Flavour:
    """The torch to install.

    Args:
        host: the output of `host_probe`; None if no ComfyUI was found.
        has_driver: whether an NVIDIA driver is installed.
    """
    if host is None:
        cuda = "https://download.pytorch.org/whl/cu128"
        return Flavour(TORCH, cuda, True) if has_driver else Flavour(TORCH)
    torch, vision, cuda = (str(host.get(name) or "") for name in ("torch", "torchvision", "cuda"))
    if not cuda or not host.get("gpu"):
        return Flavour(TORCH)
    # the build that runs ComfyUI on this card: the same version and CUDA
    requirements = [f"torch=={torch}", *([f"torchvision=={vision}"] if vision else [])]
    return Flavour(tuple(requirements), f"https://download.pytorch.org/whl/cu{cuda.replace('.', '')}", True)


def requirements(text: str, gpu: bool) -> tuple[list[str], dict[str, str]]:
    """The checkout's own requirements, and those that are left out, with the reason."""
    wanted: list[str] = []
    left_out: dict[str, str] = {}
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        name = re.split(r"[\[=<>~! ]", line)[0].lower()
        if not line:
            continue
        if line.startswith("-e"):
            left_out[line] = "not needed: the runner puts the checkout on the path"
        elif name == "bitsandbytes" and not gpu:
            left_out[name] = "its 8-bit optimisers need an NVIDIA card; plain AdamW is used"
        else:
            wanted.append(line)
    return wanted, left_out


def space_problem(folder: Path, torch: Flavour, free: int | None = None) -> str:
    """A sentence if the disk is too small; empty if not."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free if free is None else free
    needed = torch.size[1]
    if free >= needed:
        return ""
    return (
        f"The trainer needs about {needed / GIGABYTE:.0f} GB in {folder}, but only {free / GIGABYTE:.1f} GB are free. Free "
        "some space, or set INCONTEXT_LORA_DATA to a folder on another disk."
    )
