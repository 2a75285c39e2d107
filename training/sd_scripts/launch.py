"""The command that starts the trainer, and its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runs.supervise import MARK, Launch
from .environment import Trainer
from .processes import Processes

RUNNER = Path(__file__).with_name("runner") / "__main__.py"

# with these, an interpreter would find packages that are not its own
_DETOURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
# set by ComfyUI for its own process. Its choice of visible cards is kept, since the training should use that card
_OF_COMFYUI = (
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"),
    *("MIMALLOC_PURGE_DELAY", "OCL_SET_SVM_SIZE", "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"),
)
_PREFIXES_OF_COMFYUI = ("COMFYUI_", "COMFY_")


def build(
    trainer: Trainer,
    job: Path,
    processes: Processes,
    inherited: Mapping[str, str],
    *,
    offline: bool,
    runner: Path = RUNNER,
    cards: Sequence[str] | None = None,
) -> Launch:
    """The command and the environment for a job. No shell is used, and no part of the command comes from a workflow.

    Args:
        trainer: the installed trainer.
        job: the job's folder, within the run's.
        processes: how many processes train together.
        inherited: this process's environment.
        offline: nothing has to be downloaded.
        runner: the script to run; tests use their own.
        cards: names of the graphics cards it will train on; None if they are not known.
    """
    run = job.parent
    environment = without_comfyui(without_detours(inherited))
    environment |= {
        MARK: str(run),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8",
        "TQDM_MININTERVAL": "5",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if offline:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if processes.cpu:
        environment["ACCELERATE_USE_CPU"] = "true"
    script = (str(runner), str(trainer.checkout), str(job))
    python = str(trainer.python)
    if processes.config:
        start = (python, "-m", "accelerate.commands.launch", "--config_file", processes.config)
    elif processes.count > 1:
        start = (
            *(python, "-m", "accelerate.commands.launch"),
            *("--num_processes", str(processes.count), "--num_machines", str(processes.machines)),
            *("--machine_rank", str(processes.rank), "--main_process_ip", processes.address),
            *("--main_process_port", str(processes.port), "--mixed_precision", "no", "--dynamo_backend", "no"),
            "--multi_gpu",  # Accelerate's launcher for several processes; on processors, ACCELERATE_USE_CPU says so
        )
    else:
        start = (python,)
    return Launch((*start, *script), environment, trainer.checkout, cards)


def without_comfyui(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables without those that ComfyUI sets for its own process."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_COMFYUI and not name.startswith(_PREFIXES_OF_COMFYUI)
    }


def without_detours(inherited: Mapping[str, str]) -> dict[str, str]:
    """Variables without those that make another interpreter find this one's packages."""
    return {name: value for name, value in inherited.items() if name not in _DETOURS}
