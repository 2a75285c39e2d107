"""Changes to the checkout's functions, where its trainer class has no hook."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....incontext.files.atomic import rename_over
from .errors import JobError
from .plan import Plan
from .references import References
from .report import Report

MODEL_PREFIX = "model.diffusion_model."


def apply(plan: Plan, references: References, report: Report, tokenizers: str) -> None:
    """Change the checkout's functions for one job.

    Args:
        references: keeps references clean when noise is mixed in.
        report: gets the scheduler, to report its learning rate.
        tokenizers: folder with ComfyUI's tokenizers under the names that the trainer uses.
    """
    keep_references_clean(references)
    if "library.sd3_utils" in sys.modules:
        load_separate_sd3_models(sys.modules["library.sd3_utils"])
    if "hunyuan_image_train_network" in sys.modules:
        prepare_hunyuan_image(tokenizers)
    schedule_whole_run(plan, report)
    if not plan.public_metadata:
        skip_model_hashes()


def keep_references_clean(references: References) -> None:
    """Let references enter the model without noise."""
    for name in ("flux_train_utils", "sd3_train_utils", "lumina_train_util"):
        module: Any = sys.modules.get(f"library.{name}")
        if module is not None and hasattr(module, "get_noisy_model_input_and_timesteps"):
            mix = module.get_noisy_model_input_and_timesteps

            def clean_mix(*args: Any, _mix: Callable[..., Any] = mix, **kwargs: Any) -> Any:
                noisy, *rest = _mix(*args, **kwargs)
                return (references.keep_clean(noisy), *rest)

            module.get_noisy_model_input_and_timesteps = clean_mix


def load_separate_sd3_models(module: Any) -> None:
    """Let SD3's diffusion model also come from a file of its own; the trainer expects it inside a full checkpoint."""
    load = module.load_mmdit

    def load_separate(state_dict: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if not any(name.startswith(MODEL_PREFIX) for name in state_dict):
            for name in list(state_dict):
                state_dict[MODEL_PREFIX + name] = state_dict.pop(name)
        model = load(state_dict, *args, **kwargs)
        correct_sd3(model)
        return model

    module.load_mmdit = load_separate


def correct_sd3(model: Any) -> None:
    """Compute SD3.5 medium as it was trained.

    The checkout passes the number of heads where its second attention expects the width of a head, so it computes 64 heads
    of width 24 instead of 24 heads of width 64. A LoRA trained that way does not fit the model that ComfyUI samples with.
    """
    for block in model.joint_blocks:
        if block.x_block.x_block_self_attn:
            block.x_block.attn2.num_heads = block.x_block.attn2.head_dim  # not used for anything else


class FolderTokenizers:
    """Replaces a tokenizer class and loads from a folder instead of the Hugging Face Hub."""

    def __init__(self, tokenizer: Any, folder: str) -> None:
        self._tokenizer, self._folder = tokenizer, Path(folder)

    def from_pretrained(self, name: str) -> Any:
        return self._tokenizer.from_pretrained(str(self._folder / name.replace("/", "_")))


def prepare_hunyuan_image(tokenizers: str) -> None:
    """Load the tokenizers of HunyuanImage's encoders from a folder, and let its sampling script work in any precision."""
    from library import hunyuan_image_text_encoder as encoders

    for name in ("Qwen2Tokenizer", "AutoTokenizer"):
        setattr(encoders, name, FolderTokenizers(getattr(encoders, name), tokenizers))
    try:
        sampling: Any = importlib.import_module("hunyuan_image_minimal_inference")
    except ModuleNotFoundError as error:
        raise JobError(f"This sd-scripts has no {error.name}.py. Install the trainer again.") from error
    generate = sampling.generate_body

    def generate_in_any_precision(settings: Any, *rest: Any) -> Any:
        """The script always passes bfloat16. Its autocast, meant only for fp8, converts to the model's precision."""
        settings.fp8 = True
        return generate(settings, *rest)

    sampling.generate_body = generate_in_any_precision


def schedule_whole_run(plan: Plan, report: Report) -> None:
    """Make the learning rate schedule span the whole run, not one segment. The saved state has the position in it."""
    from library import train_util

    make = train_util.get_scheduler_fix

    def make_for_run(args: Any, optimizer: Any, num_processes: int) -> Any:
        remaining, args.max_train_steps = args.max_train_steps, plan.steps
        try:
            report.scheduler = make(args, optimizer, num_processes)
        finally:
            args.max_train_steps = remaining
        return report.scheduler

    train_util.get_scheduler_fix = make_for_run


def skip_model_hashes() -> None:
    """Do not hash model files, which takes minutes: the hashes are only for metadata that is dropped anyway."""
    from library import train_util

    train_util.model_hash = train_util.calculate_sha256 = lambda file: ""


def convert(converter: str, file: Path, *, reverse: bool = False) -> None:
    """Rename the tensors in a LoRA's file with the checkout's own converter."""
    converted = file.with_name(f".{file.stem}.converted.safetensors")
    options = argparse.Namespace(src_path=str(file), dst_path=str(converted), reverse=reverse)
    importlib.import_module(converter).main(options)
    rename_over(converted, file)
