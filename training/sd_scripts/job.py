"""Turn settings into the files that the trainer reads.

<run>/job-1/job.toml       the trainer's options, as on its own command line
<run>/job-1/dataset.toml   its datasets: one folder per size
<run>/job-1/prompts.json   the prompts of samples
<run>/job-1/job.json       what the runner does beyond these options, a `Plan`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...incontext.panels.layout import PanelLayout
from ..choices import ReferenceKind
from .architectures import Architecture
from .data import Portion
from .runner.plan import Plan
from .settings import Optimiser, SdSettings

LARGEST_SIDE = 2048


@dataclass(frozen=True)
class Job:
    """One segment of a run.

    Attributes:
        options: the trainer's options.
        dataset: contents of its dataset file.
        prompts: prompts of samples.
        extra: the runner's `Plan`, as JSON.
    """

    options: Mapping[str, Any]
    dataset: Mapping[str, Any]
    prompts: Sequence[Mapping[str, Any]]
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Segment:
    """Where a segment of a run begins.

    Attributes:
        number: of the segment, from 1.
        first_step: number of steps done before.
        state: the trainer's saved state; None at the beginning.
        weights: the LoRA to start from; None for a new one.
    """

    number: int = 1
    first_step: int = 0
    state: Path | None = None
    weights: Path | None = None


def build(
    architecture: Architecture,
    settings: SdSettings,
    files: Mapping[str, Path],
    portions: Sequence[Portion],
    prompts: Sequence[str],
    layout: PanelLayout,
    references: Sequence[int],
    *,
    run: Path,
    tokenizers: Path,
    segment: Segment,
    workers: int = 2,
    encoders: float = 0.0,
) -> Job:
    """The files of a segment, as values.

    Args:
        files: option of the trainer → model file.
        portions: the prepared data, largest size first.
        prompts: captions to sample.
        layout: of the composites.
        references: indices of panels that are always references; empty to draw them.
        run: the run's folder.
        tokenizers: folder of tokenizers.
        workers: processes that load data.
        encoders: size of the text encoders' files, in GB.
    """
    folder = run / f"job-{segment.number}"
    where = encoder_options(architecture, settings, encoders)
    return Job(
        options={
            **trainer_options(architecture, settings, files, portions, folder, run, tokenizers, segment, workers),
            **where,
        },
        dataset=dataset_options(architecture, settings, portions),
        prompts=prompt_options(architecture, settings, prompts, portions[0]),
        extra=asdict(
            Plan(
                script=architecture.script,
                trainer=architecture.trainer,
                converter=architecture.converter,
                name=run.name,
                steps=settings.steps,
                first_step=segment.first_step,
                segment=segment.number,
                save_every=settings.save_every,
                sample_every=settings.sample_every if settings.samples else 0,
                keep=settings.keep,
                ema=settings.ema,
                average_in_main_memory=settings.swapped > 0,
                encoders_on_processor=not where and not fit_on_card(settings, encoders),
                caption_dropout=settings.caption_dropout,
                reference_share=settings.drawn_share,
                isolated=isolates(architecture, settings),
                references=list(references),
                canvas=[layout.width, layout.height],
                panels=[[box.left, box.top, box.width, box.height] for box in layout.boxes],
                public_metadata=settings.public_metadata,
                seed=settings.seed,
                loaders={
                    file.option: {"function": file.loader, "with_tokenizer": file.with_tokenizer}
                    for file in architecture.files
                    if file.loader
                },
                cache=str(portions[0].images.parent),
            )
        ),
    )


def isolates(architecture: Architecture, settings: SdSettings) -> bool:
    """Whether isolated references are trained."""
    return architecture.isolates and settings.references is ReferenceKind.ISOLATED and settings.reference_share > 0


def fit_on_card(settings: SdSettings, encoders: float) -> bool:
    """Whether text encoders of so many gigabytes fit on the card while captions are encoded."""
    return not settings.encoders_on_card or encoders <= settings.encoders_on_card


def encoder_options(architecture: Architecture, settings: SdSettings, encoders: float) -> dict[str, Any]:
    """The trainer's options for text encoders that do not fit on the card; empty if they fit, or it has no such option."""
    if fit_on_card(settings, encoders):
        return {}
    if architecture.fp8_encoders and fit_on_card(settings, encoders / 2):
        return {architecture.fp8_encoders: True}
    return {architecture.encoders_on_cpu: True} if architecture.encoders_on_cpu else {}


def chunk_size(architecture: Architecture, settings: SdSettings, height: int) -> int:
    """Rows that the autoencoder works on at a time for pictures of this height; 0 for all.

    The trainer fails on a picture that is a single chunk, since it pads it wrongly. It also adds up to a quarter of a chunk
    to the last one.
    """
    chunk = settings.vae_chunk_size if architecture.vae_row else 0
    while chunk and height // architecture.vae_row <= chunk + chunk // 4:
        chunk = chunk // 2 if chunk >= 8 else 0
    return chunk


def trainer_options(
    architecture: Architecture,
    settings: SdSettings,
    files: Mapping[str, Path],
    portions: Sequence[Portion],
    folder: Path,
    run: Path,
    tokenizers: Path,
    segment: Segment,
    workers: int,
) -> dict[str, Any]:
    """The trainer's own options. All are set explicitly, since its defaults do not suit this method."""
    options: dict[str, Any] = {
        **{option: str(path) for option, path in files.items()},
        **architecture.options,
        "dataset_config": str(folder / "dataset.toml"),
        "sample_prompts": str(folder / "prompts.json"),
        "output_dir": str(run / "checkpoints"),
        "output_name": checkpoint_name(run.name, settings.steps),
        "tokenizer_cache_dir": str(tokenizers),
        "network_module": architecture.network,
        "network_dim": settings.rank,
        "network_alpha": settings.alpha,
        "network_train_unet_only": True,
        "learning_rate": settings.learning_rate,
        "lr_scheduler": _SCHEDULES[settings.schedule.value, settings.warmup_steps > 0],
        "lr_warmup_steps": settings.warmup_steps,
        "optimizer_type": settings.optimiser.value,
        "max_grad_norm": settings.max_grad_norm,
        "max_train_steps": settings.steps - segment.first_step,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "mixed_precision": settings.precision.value,
        "save_precision": "fp16" if settings.precision.value != "no" else "float",
        "save_model_as": "safetensors",
        "sdpa": True,
        "cache_latents": True,
        "cache_latents_to_disk": True,
        "cache_text_encoder_outputs": True,
        "cache_text_encoder_outputs_to_disk": True,
        "max_data_loader_n_workers": workers,
        "persistent_data_loader_workers": workers > 0,
        "seed": settings.seed + segment.first_step,
        "resolution": f"{portions[0].width},{portions[0].height}",  # for the file's metadata only
        "no_metadata": not settings.public_metadata,
        "console_log_simple": True,
    }
    if settings.optimiser is Optimiser.ADAFACTOR:
        options["optimizer_args"] = ["relative_step=False", "scale_parameter=False", "warmup_init=False"]
        options["max_grad_norm"] = 0.0
        options["lr_scheduler"] = "constant_with_warmup" if settings.schedule.value == "constant" else "cosine"
    if settings.optimiser is Optimiser.ADAMW_8BIT:
        options["optimizer_args"] = ["eps=1e-6"]
    if settings.fp8 and architecture.fp8:
        options[architecture.fp8] = True
    swapped = round(settings.swapped * architecture.most_swapped)
    if swapped:
        options["blocks_to_swap"] = swapped
    chunk = chunk_size(architecture, settings, min(portion.height for portion in portions))
    if chunk:
        options["vae_chunk_size"] = chunk
    if any(portion.masked for portion in portions):
        options["masked_loss"] = True
    if any(portion.validation for portion in portions) and settings.validate_every:
        options["validate_every_n_steps"] = settings.validate_every
        options["validate_every_n_epochs"] = 1_000_000_000  # otherwise it also validates after every epoch
        options["validation_seed"] = settings.seed
    if segment.state is not None:
        options["resume"] = str(segment.state)
        options["initial_step"] = 0  # our runner counts; the trainer's own counting is wrong after a resume
    if segment.weights is not None:
        options["network_weights"] = str(segment.weights)
    return options


_SCHEDULES = {
    ("constant", False): "constant",
    ("constant", True): "constant_with_warmup",
    ("cosine", False): "cosine",
    ("cosine", True): "cosine",
}


def dataset_options(architecture: Architecture, settings: SdSettings, portions: Sequence[Portion]) -> dict[str, Any]:
    """The contents of the dataset file, with values that neither crop nor scale composites."""
    return {
        "general": {"caption_extension": ".txt"},
        "datasets": [
            {
                **bucket_options(portion.width, portion.height, architecture.size_step),
                "batch_size": 1 if portion.validation else settings.batch_size,
                **({"validation_split": 1.0, "validation_seed": settings.seed} if portion.validation else {}),
                "subsets": [
                    {
                        "image_dir": str(portion.images),
                        **({"alpha_mask": True} if portion.masked else {}),
                        "num_repeats": 1,
                    }
                ],
            }
            for portion in portions
        ],
    }


def bucket_options(width: int, height: int, step: int) -> dict[str, Any]:
    """Options with which the trainer keeps pictures of this size unchanged."""
    return {
        "resolution": [width, height],
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "bucket_reso_steps": step,
        "min_bucket_reso": min(256, width, height),
        "max_bucket_reso": max(LARGEST_SIDE, width, height),
    }


def prompt_options(
    architecture: Architecture, settings: SdSettings, prompts: Sequence[str], size: Portion
) -> list[dict[str, Any]]:
    """The prompts of samples, each with its own seed. Caption dropout needs the empty negative prompt too.

    Args:
        size: the largest pictures that are trained on; samples have their size.
    """
    return [
        {
            "prompt": prompt,
            "negative_prompt": "",
            "width": size.width,
            "height": size.height,
            "seed": settings.seed + index,
            **architecture.sampling,
        }
        for index, prompt in enumerate(prompts)
    ]


def checkpoint_name(run: str, step: int) -> str:
    return f"{run}-step{step:06d}"


# --- writing --------------------------------------------------------------------------------------------------------


def write(job: Job, folder: Path) -> None:
    """Write the four files of a job.

    Raises:
        OSError: if they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.toml").write_text(to_toml(job.options), encoding="utf-8")
    (folder / "dataset.toml").write_text(to_toml(job.dataset), encoding="utf-8")
    (folder / "prompts.json").write_text(json.dumps(job.prompts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "job.json").write_text(json.dumps(job.extra, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def to_toml(values: Mapping[str, Any], section: str = "") -> str:
    """TOML of a mapping whose values are plain, lists of plain values, mappings, or lists of mappings."""
    plain, nested = [], []
    for name, value in values.items():
        path = f"{section}.{name}" if section else name
        if isinstance(value, Mapping):
            nested.append(f"\n[{path}]\n{to_toml(value, path)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            nested += [f"\n[[{path}]]\n{to_toml(each, path)}" for each in value]
        else:
            plain.append(f"{name} = {_toml_value(value)}\n")
    return "".join([*plain, *nested])


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
