"""Reuses pictures, captions and sample prompts that an earlier run encoded; loads text encoders only when needed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ....incontext.files.atomic import rename_over
from .errors import JobError
from .events import Events
from .plan import Plan


class Encodings:
    """The encoded data of a job, cached for the next run."""

    def __init__(self, plan: Plan, events: Events) -> None:
        self._plan = plan
        self._events = events
        self._groups: list[Any] = []  # the trainer's dataset groups: training, then validation if there is one
        self._pictures: list[Any] = []
        self._prompts_file: Path
        self.prompts: dict[str, Any] | None = None  # sample prompt → encoding; None if none are cached

    def take_data(self, groups: Sequence[Any]) -> None:
        """Take the dataset groups and delete damaged caches of their pictures and captions.

        Raises:
            JobError: if the trainer would cut or scale a picture.
        """
        self._groups = [group for group in groups if group is not None]
        self._pictures = [
            info for group in self._groups for each in group.datasets for info in each.image_data.values()
        ]
        for info in self._pictures:
            if not tuple(info.bucket_reso) == tuple(info.resized_size) == tuple(info.image_size):
                raise JobError(
                    f"The trainer would cut or scale {info.absolute_path} from {info.image_size} to {info.bucket_reso}. "
                    "Composites are never cropped. Build the dataset again."
                )
        if self._events.active:
            pictures, captions, damaged = remove_damaged_caches(self._caches())
            counts = {"pictures_reused": pictures, "captions_reused": captions, "damaged": damaged}
            self._events("cache", pictures=len(self._pictures), **counts)

    def _caches(self) -> list[Path]:
        files = (Path(info.absolute_path) for info in self._pictures)
        return [cache for file in files for cache in file.parent.glob(f"{file.stem}_*.npz")]

    def load_prompts(self, args: Any, strategy: Any, accelerator: Any) -> None:
        """Load the encoded sample prompts if an earlier run encoded them and all captions.

        Args:
            strategy: the trainer's caching strategy, which knows where a caption's encoding is kept.
        """
        self._prompts_file = prompts_file(Path(self._plan.cache), Path(args.sample_prompts), vars(args))
        complete = all(
            strategy.is_disk_cached_outputs_expected(strategy.get_outputs_npz_path(info.absolute_path))
            for info in self._pictures
        )
        accelerator.wait_for_everyone()  # otherwise a fast process could write the file before a slow one looks for it
        if complete and zipfile.is_zipfile(self._prompts_file):
            device = accelerator.device
            target = "cpu" if device.type == "cpu" else device  # torch.load rejects Accelerate's "cpu:0"
            self.prompts = torch.load(self._prompts_file, map_location=target, weights_only=True)

    @contextlib.contextmanager
    def sparing_encoders(self) -> Iterator[None]:
        """Within the context, the checkout loads only the text encoders that are needed."""
        spared = self._plan.loaders if self.prompts is not None else {}
        with without_encoders(spared):
            yield
        if spared:
            self._events("spared", files=list(spared))

    @property
    def on_processor(self) -> bool:
        """Whether captions will be encoded on the processor."""
        return self._plan.encoders_on_processor and self.prompts is None

    def is_first(self, group: Any) -> bool:
        """Whether this is the first group. The others are encoded with it because some trainers then drop their encoders."""
        return group is self._groups[0]

    @property
    def captions(self) -> CaptionGroups:
        return CaptionGroups(self._groups)

    def save_prompts(self, encoded: Any) -> None:
        """Save the encoded sample prompts for the next run; the file appears only once it is complete."""
        file = self._prompts_file
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            torch.save(encoded, unfinished)
            rename_over(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


def prompts_file(folder: Path, prompts: Path, options: Mapping[str, Any]) -> Path:
    """The file for a job's encoded sample prompts. Its name hashes the texts and the options that shape them."""
    texts = [
        [prompt["prompt"], prompt["negative_prompt"]] for prompt in json.loads(prompts.read_text(encoding="utf-8"))
    ]
    shaping = {name: options.get(name) for name in sorted(options) if "attn_mask" in name or "token_length" in name}
    key = hashlib.sha256(json.dumps([texts, shaping]).encode()).hexdigest()[:16]
    return folder / f"prompts-{key}.pt"


def remove_damaged_caches(paths: Sequence[Path]) -> tuple[int, int, int]:
    """Delete caches that a killed run left incomplete.

    Returns:
        The number of intact pictures, of intact captions, and of deleted files.
    """
    pictures = captions = damaged = 0
    for path in paths:
        if not zipfile.is_zipfile(path):
            path.unlink()
            damaged += 1
        elif path.name.endswith("_te.npz"):
            captions += 1
        else:
            pictures += 1
    return pictures, captions, damaged


@contextlib.contextmanager
def without_encoders(loaders: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Within the context, the checkout gets a placeholder when it loads one of these text encoders."""
    with contextlib.ExitStack() as undo:
        for loader in loaders.values():
            where, name = loader["function"].split(".")
            module = importlib.import_module(f"library.{where}")
            empty = placeholder_encoder()
            result = (empty, empty) if loader["with_tokenizer"] else empty  # the encoder may be either of the two
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, lambda *_, _result=result, **__: _result)
        yield


def placeholder_encoder() -> Any:
    """The checkout's own placeholder for a text encoder that is not needed."""
    from library.flux_utils import dummy_clip_l

    return dummy_clip_l().requires_grad_(False)


class CaptionGroups:
    """Several dataset groups that encode their captions together."""

    def __init__(self, groups: Sequence[Any]) -> None:
        self._groups = groups

    def new_cache_text_encoder_outputs(self, encoders: Any, accelerator: Any) -> None:
        for group in self._groups:
            group.new_cache_text_encoder_outputs(encoders, accelerator)


class ProcessorAccelerator:
    """An accelerator whose device is the processor: the checkout moves text encoders to ``accelerator.device``."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.device = torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)


def move(value: Any, device: Any) -> Any:
    """Move tensors to a device, also those inside mappings and sequences."""
    if isinstance(value, dict):
        return {name: move(each, device) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(move(each, device) for each in value)
    return value.to(device) if hasattr(value, "to") else value
