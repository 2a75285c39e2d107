"""What of the trainer fits this machine: the interpreter, the build of torch, the requirements. Standard library only."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)
TORCH = ("torch==2.14.1", "torchvision==0.29.1")  # where the host's own cannot be had
GIGABYTE = 1_000_000_000
# download, installed; measured with CUDA libraries, estimated without
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
# Asked of each interpreter that is found. Portable builds of ComfyUI have no venv, and some systems no ensurepip.
_ABOUT_INTERPRETER = """
import sys, json, struct
import venv, ensurepip
print(json.dumps({"version": sys.version_info[:2], "bits": 8 * struct.calcsize("P"),
                  "path": getattr(sys, "_base_executable", "") or sys.executable}))
"""


@dataclass(frozen=True)
class Flavour:
    """Which torch fits the machine.

    Attributes:
        requirements: for pip.
        index: where they are found; pip's own index when empty.
        gpu: whether an NVIDIA card is used.
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
    """Commands that may start an interpreter for the trainer, the best first: the running one, then the newest."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    candidates: list[tuple[str, ...]] = [(running,)]
    launcher = which("py") if system == "win32" else None
    if launcher:
        candidates += [(launcher, f"-3.{minor}") for minor in minors]
    names = [*(f"python3.{minor}" for minor in minors), "python3", "python"]
    candidates += [(found,) for name in names if (found := which(name))]
    return list(dict.fromkeys(candidates))


def interpreter_probe(candidate: Sequence[str]) -> tuple[str, ...]:
    """The command that asks an interpreter what it is; it fails where no environment can be made with it."""
    return (*candidate, "-c", _ABOUT_INTERPRETER)


def fitting_interpreter(answer: str) -> str:
    """The path of an interpreter that the trainer's requirements support, from what `interpreter_probe` printed.

    Empty where it is too old or too new, or is a 32-bit build, which torch does not support.
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
        host: what `host_probe` printed; None where no ComfyUI was found.
        has_driver: whether an NVIDIA driver is there.
    """
    if host is None:
        cuda = "https://download.pytorch.org/whl/cu128"
        return Flavour(TORCH, cuda, True) if has_driver else Flavour(TORCH)
    torch, vision, cuda = (str(host.get(name) or "") for name in ("torch", "torchvision", "cuda"))
    if not cuda or not host.get("gpu"):
        return Flavour(TORCH)
    # the very build that runs ComfyUI on this card: its version, and its CUDA
    requirements = [f"torch=={torch}", *([f"torchvision=={vision}"] if vision else [])]
    return Flavour(tuple(requirements), f"https://download.pytorch.org/whl/cu{cuda.replace('.', '')}", True)


def requirements(text: str, gpu: bool) -> tuple[list[str], dict[str, str]]:
    """The checkout's own requirements, and what is left out of them with the reason."""
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
    """A sentence where the disk is too small; empty where it is not."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free if free is None else free
    needed = torch.size[1]
    if free >= needed:
        return ""
    return (
        f"The trainer needs about {needed / GIGABYTE:.0f} GB in {folder}, {free / GIGABYTE:.1f} GB are free. Free some "
        "space, or set INCONTEXT_LORA_DATA to a folder on another disk."
    )
