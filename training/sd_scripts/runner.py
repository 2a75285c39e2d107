"""Run by the trainer's interpreter: the checkout's own trainer, watched and steered. Nothing of the pack is imported.

    python runner.py CHECKOUT JOB_FOLDER

It adds what the trainer lacks: a line of JSON for each event; stop, save and sample on request; a moving average of the
weights; caption dropout with cached captions; clean and isolated references; step numbers that stay true when a run is
resumed; files that are there whole or not at all. The trainer's classes are extended, its files never changed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import importlib
import importlib.util
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

STOPPED = 75  # exit code after a stop on request, with everything saved
RECIPE_KEY = "incontext_lora"
MODEL_PREFIX = "model.diffusion_model."
REQUESTS = ("stop", "save", "sample")
SMOOTHING = 0.95
SAVE_AGAIN = "save again"  # beside the requests: what the disk was too full for
AGAIN = 5.0  # seconds until what a full disk refused is tried once more
MOST_WAITING = 20_000  # events that are kept for a full disk, some 5 MB
TOO_LARGE_TO_SAMPLE = (
    "A sample did not fit into memory; the training goes on without samples. For samples, choose the preset of a smaller "
    "card, which keeps more blocks in main memory; with samples 0 none are tried."
)


class Stopped(Exception):
    """A stop was asked for; the state is saved."""


class SamplingStopped(Exception):
    """A stop was asked for while a sample was made."""


class Refused(Exception):
    """The job cannot be run; the message is a sentence for the user."""


class Events:
    """Appends lines to the run's events.jsonl; only the first of several processes does.

    Where the disk is full they wait for space, the last `MOST_WAITING` of them, and the training goes on.
    """

    def __init__(self, path: Path, active: bool = True) -> None:
        self._path = path
        self._started = time.monotonic()
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._refused = False
        self.active = active
        self.phase = ""

    def __call__(self, kind: str, **values: Any) -> None:
        if not self.active:
            return
        record = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - self._started, 3), "event": kind}
        self._waiting.append(f"{json.dumps({**record, **values})}\n".encode())
        try:
            self._write()
        except OSError as error:
            if not is_no_space(error):
                raise
            self._refused = True
            return
        if self._refused:
            self._refused = False
            self("note", text="The disk was full. There is space again; the training went on meanwhile.")

    def _write(self) -> None:
        # opened each time: the folder may be on a network. Without a buffer: a line is written once
        with self._path.open("ab", buffering=0) as file:
            if self._refused:
                file.write(b"\n")  # ends what was written of a line
            while self._waiting:
                line = self._waiting[0]
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._waiting.popleft()

    def enter(self, phase: str) -> None:
        self.phase = phase
        self("phase", phase=phase)


class Output:
    """What is printed; where the disk is full it is lost, and the training goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _space_or_nothing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _space_or_nothing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _space_or_nothing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_no_space(error):
            raise


# torch and safetensors say it in words of their own, Windows with a number of its own
_NO_SPACE = (
    *("No space left on device", "os error 28", "Disk quota exceeded", "os error 122"),
    *(
        "not enough space on the disk",
        "os error 112",
        "PytorchStreamWriter failed writing",
        "unexpected pos ",
        "iostream error",
    ),
)


def is_no_space(error: BaseException) -> bool:
    """Whether an error says that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _NO_SPACE)


def save_whole(
    target: Path, write: Callable[[Path], None], wait: Callable[[Exception], bool] = lambda error: False
) -> None:
    """Have a LoRA on disk whole or not at all.

    Args:
        write: fills the file of the path that it is given; until then its name begins with a dot.
        wait: called where the disk is full; whether to try again.
    """
    unfinished = target.with_name(f".{target.stem}.part.safetensors")
    while True:
        try:
            try:
                write(unfinished)
                with unfinished.open("rb+") as whole:
                    os.fsync(whole.fileno())
                os.replace(unfinished, target)
                return
            finally:
                unfinished.unlink(missing_ok=True)
        except Exception as error:
            if not (is_no_space(error) and wait(error)):
                raise


def put_state(unfinished: Path, state: Path) -> None:
    """Give a state that is whole its name, and remove those before it."""
    shutil.rmtree(state, ignore_errors=True)
    os.replace(unfinished, state)
    for old in state.parent.iterdir():
        if old.name != state.name:
            shutil.rmtree(old, ignore_errors=True)


# --- arguments ------------------------------------------------------------------------------------------------------


def command_line(parser: argparse.ArgumentParser, options: dict[str, Any]) -> list[str]:
    """The trainer's command line for these options, so that its own parser checks every name, type and choice.

    Raises:
        Refused: for an option that this trainer does not have.
    """
    actions = {action.dest: action for action in parser._actions}
    line: list[str] = []
    for name, value in options.items():
        action = actions.get(name)
        if action is None:
            raise Refused(f"This sd-scripts has no option {name!r}; install the commit that the pack names.")
        if action.nargs == 0:
            line += [action.option_strings[0]] if value else []
        elif isinstance(value, list):
            line += [action.option_strings[0], *map(str, value)]
        else:
            line.append(f"{action.option_strings[0]}={value}")  # one word, so that a value may begin with a dash
    return line


def parse(parser: argparse.ArgumentParser, options: dict[str, Any]) -> argparse.Namespace:
    words = command_line(parser, options)

    def refuse(message: str) -> None:
        raise Refused(f"The trainer's own parser refuses the job: {message}.")

    parser.error = refuse  # type: ignore[assignment]
    return parser.parse_args(words)


# --- the pieces that are added --------------------------------------------------------------------------------------


class Average:
    """Exponential moving average of the LoRA's weights; what is saved, sampled and validated.

    Args:
        device: where it is kept; with the weights by default.
    """

    def __init__(self, network: Any, decay: float, saved: Path | None, device: str | None = None) -> None:
        import torch
        from safetensors.torch import load_file

        self._parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self._decay = decay
        self._updates = 0
        self._average = {
            name: value.detach().to(device or value.device, torch.float32, copy=True)
            for name, value in self._parameters.items()
        }
        if saved is not None and saved.exists():
            stored = load_file(str(saved))
            self._updates = int(stored.pop("updates"))
            for name, value in stored.items():
                self._average[name] = value.to(self._average[name].device)
        self._lerp = torch.no_grad()(self._update)

    def update(self) -> None:
        self._lerp()

    def _update(self) -> None:
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))  # forgets the start quickly
        for name, value in self._parameters.items():
            average = self._average[name]
            average.lerp_(value.to(average.device, average.dtype), 1 - decay)

    def save(self, path: Path) -> None:
        import torch
        from safetensors.torch import save_file

        tensors = {name: value.contiguous() for name, value in self._average.items()}
        save_file({**tensors, "updates": torch.tensor(self._updates)}, str(path))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the network holds the average."""
        import torch

        raw = {
            name: value.detach().to(self._average[name].device, copy=True) for name, value in self._parameters.items()
        }
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(self._average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self._parameters.items():
                    value.copy_(raw[name])


def draw_references(panels: int, fixed: Sequence[int], share: float, chance: random.Random) -> list[int]:
    """The panels of one sample that enter without noise; none in ``1 - share`` of the samples."""
    if chance.random() >= share:
        return []
    if fixed:
        return list(fixed)
    return sorted(chance.sample(range(panels), chance.randrange(1, panels))) if panels > 1 else []


def panel_mask(
    panels: Sequence[Sequence[int]], canvas: Sequence[int], chosen: Sequence[int], size: Sequence[int]
) -> Any:
    """Bool [height, width] of a latent: where the chosen panels lie."""
    import torch

    height, width = size
    mask = torch.zeros(height, width, dtype=torch.bool)
    for index in chosen:
        x, y, w, h = panels[index]
        columns = slice(round(x * width / canvas[0]), round((x + w) * width / canvas[0]))
        mask[round(y * height / canvas[1]) : round((y + h) * height / canvas[1]), columns] = True
    return mask


def given_positions(batch: int, latents: Any, extra: dict[str, Any], chance: random.Random) -> Any:
    """Bool [batch, 1, (1,) height, width] of what enters without noise; None where nothing does."""
    import torch

    drawn = [
        draw_references(len(extra["panels"]), extra["references"], extra["reference_share"], chance)
        for _ in range(batch)
    ]
    if not any(drawn):
        return None
    size = latents.shape[-2:]
    masks = torch.stack([panel_mask(extra["panels"], extra["canvas"], chosen, size) for chosen in drawn])
    return masks.reshape(batch, *[1] * (latents.ndim - 3), *size).to(latents.device)


def cleared(result: tuple[Any, ...], given: Any, masked: bool) -> tuple[Any, ...]:
    """Prediction, target, timesteps, weighting → the same without loss on what was given."""
    import torch

    prediction, target, timesteps, weighting = result
    target = torch.where(given, prediction.detach().to(target.dtype), target)
    if not masked:  # the mean is to be over what is painted in the batch; a loss mask has its own scale
        weighting = (1.0 if weighting is None else weighting) / (1 - given.float().mean())
    return prediction, target, timesteps, weighting


def drop_captions(outputs: list[Any], empty: Sequence[Any], share: float, chance: random.Random) -> list[Any]:
    """A batch's cached captions with some of them replaced by the empty one."""
    dropped = [index for index in range(len(next(o for o in outputs if o is not None))) if chance.random() < share]
    if not dropped:
        return outputs
    replaced = []
    for value, other in zip(outputs, empty, strict=False):
        if value is not None and other is not None and value.shape[2:] == other.shape[2:]:
            value = value.clone()
            value[dropped] = as_long(other, value).to(device=value.device, dtype=value.dtype)
        replaced.append(value)
    return [*replaced, *outputs[len(replaced) :]]


def as_long(value: Any, like: Any) -> Any:
    """[batch, tokens, …] with as many tokens as another has, filled with zeros; some encoders give only those of the text."""
    import torch

    if value.shape[1:] == like.shape[1:]:
        return value
    return torch.nn.functional.pad(value, (*[0] * 2 * (value.ndim - 2), 0, like.shape[1] - value.shape[1]))


def remove_damaged_caches(paths: Sequence[Path]) -> tuple[int, int, int]:
    """Delete caches that a killed run left half-written; returns pictures, captions and deleted ones."""
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
def without_encoders(loaders: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Within the context the checkout gets a placeholder where it would load one of these text encoders."""
    with contextlib.ExitStack() as undo:
        for loader in loaders.values():
            place, name = loader["function"].split(".")
            module = importlib.import_module(f"library.{place}")
            empty = no_encoder()
            given = (empty, empty) if loader["with_tokenizer"] else empty  # the encoder is the first or the second
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, lambda *_, _given=given, **__: _given)
        yield


def no_encoder() -> Any:
    """The checkout's own placeholder for a text encoder that is not needed."""
    from library.flux_utils import dummy_clip_l

    return dummy_clip_l().requires_grad_(False)


class Captions:
    """Groups of data as one where their captions are encoded."""

    def __init__(self, groups: Sequence[Any]) -> None:
        self._groups = groups

    def new_cache_text_encoder_outputs(self, encoders: Any, accelerator: Any) -> None:
        for group in self._groups:
            group.new_cache_text_encoder_outputs(encoders, accelerator)


class OnProcessor:
    """The accelerator where text encoders are to stay on the processor: the checkout moves them to its ``device``."""

    def __init__(self, accelerator: Any) -> None:
        import torch

        self._accelerator = accelerator
        self.device = torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)


def moved(value: Any, device: Any) -> Any:
    """Tensors on a device, in the mappings and sequences that hold them."""
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(each, device) for each in value)
    return value.to(device) if hasattr(value, "to") else value


_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory of the card or the computer ran out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def random_numbers() -> tuple[Any, Any]:
    """Where the random numbers of processor and card are."""
    import torch

    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def set_random_numbers(state: tuple[Any, Any]) -> None:
    import torch

    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


def ready_to_train(model: Any, training: bool, autoencoder: Any, device: Any) -> None:
    """Undo what a sample that was cut off has left: the checkout undoes it only at the sample's end.

    Args:
        model: the diffusion model, bare; ``training``: its mode before.
        autoencoder, device: and where it was before.
    """
    autoencoder.to(device)
    model.train(training)
    swap = getattr(model, "switch_block_swap_for_training", getattr(model, "prepare_block_swap_before_forward", None))
    if swap is not None:
        swap()


def prompts_file(folder: Path, prompts: Path, options: dict[str, Any]) -> Path:
    """Where the encoded sample prompts of a job are kept; named by all they come from that ``folder`` is not."""
    texts = [
        [prompt["prompt"], prompt["negative_prompt"]] for prompt in json.loads(prompts.read_text(encoding="utf-8"))
    ]
    shaping = {name: options.get(name) for name in sorted(options) if "attn_mask" in name or "token_length" in name}
    key = hashlib.sha256(json.dumps([texts, shaping]).encode()).hexdigest()[:16]
    return folder / f"prompts-{key}.pt"


def peak_memory() -> float:
    """Gigabytes: of the graphics card where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1e9 if sys.platform == "darwin" else 1e6), 3)


def isolating(model: Any, given: Any) -> contextlib.AbstractContextManager[None]:
    """Within the context a model of the checkout computes these references apart (`isolation`, in the file beside this one)."""
    name = "incontext_isolation"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("isolation.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name].isolating(model, given)


# --- the trainer, extended ------------------------------------------------------------------------------------------


def watched(trainer: type, extra: dict[str, Any], run: Path, events: Events) -> type:
    """A subclass of the checkout's trainer that does all of the above."""
    from accelerate.utils import gather_object, set_seed
    from library import train_util
    from library.device_utils import clean_memory_on_device

    class Watched(trainer):
        def __init__(self) -> None:
            super().__init__()
            self.step = extra["first_step"]
            self.chance = random.Random(f"{extra['seed']}-{extra['first_step']}-{os.environ.get('RANK', '0')}")
            self.losses: list[Any] = []
            self.validation: list[float] = []
            self.smoothed: float | None = None
            self.given: Any = None
            self.latents: Any = None
            self.average: Average | None = None
            self.network: Any = None
            self.accelerator: Any = None
            self.metadata: dict[str, Any] = {}
            self.scheduler: Any = None
            self.can_sample = True
            self.asked: set[str] = set()  # while validating or sampling
            self.stopping = False
            self.unsaved = False  # what the disk was too full for
            self.waits = False  # for space, to save the last LoRA
            self.next_try = 0.0
            self.paused = 0.0
            self.began = time.monotonic()
            self.groups: list[Any] = []
            self.pictures: list[Any] = []
            self.prompts: Path  # where their encodings are kept; known with the options
            self.encoded: dict[str, Any] | None = None

        # --- before the first step

        def assert_extra_args(self, args: Any, train_dataset_group: Any, val_dataset_group: Any) -> None:
            groups = [group for group in (train_dataset_group, val_dataset_group) if group is not None]
            pictures = [info for group in groups for each in group.datasets for info in each.image_data.values()]
            self.groups, self.pictures = groups, pictures
            for info in pictures:
                if tuple(info.bucket_reso) != tuple(info.image_size) or tuple(info.resized_size) != tuple(
                    info.image_size
                ):
                    raise Refused(
                        f"The trainer would cut or scale {info.absolute_path} of {info.image_size} to {info.bucket_reso}; "
                        "composites are never cropped. Build the dataset again."
                    )
            if events.active:
                caches = [
                    p
                    for info in pictures
                    for p in Path(info.absolute_path).parent.glob(f"{Path(info.absolute_path).stem}_*.npz")
                ]
                latents, captions, damaged = remove_damaged_caches(caches)
                events(
                    "cache", pictures=len(pictures), pictures_reused=latents, captions_reused=captions, damaged=damaged
                )
            super().assert_extra_args(args, train_dataset_group, val_dataset_group)

        def load_target_model(self, args: Any, weight_dtype: Any, accelerator: Any) -> Any:
            self.accelerator, self.args = accelerator, args
            events.active = accelerator.is_main_process
            self.enter("loading the models")
            self.encoded = self.encoded_before(args)
            spared = extra["loaders"] if self.encoded is not None else {}
            with without_encoders(spared):
                loaded = super().load_target_model(args, weight_dtype, accelerator)
            if spared:
                events("spared", files=list(spared))
            self.enter("encoding the pictures")
            return loaded

        def enter(self, phase: str) -> None:
            """Begin a phase before the first step, unless a stop was asked for: there is nothing to save yet."""
            events.enter(phase)
            if self.is_stopping():
                raise Stopped

        def is_stopping(self) -> bool:
            return (run / "requests" / "stop").exists()

        def encoded_before(self, args: Any) -> dict[str, Any] | None:
            """Sample prompt → its encoding, where these and all captions were encoded by an earlier run; else None."""
            import torch

            strategy = self.get_text_encoder_outputs_caching_strategy(args)
            self.prompts = prompts_file(Path(extra["cache"]), Path(args.sample_prompts), vars(args))
            whole = all(
                strategy.is_disk_cached_outputs_expected(strategy.get_outputs_npz_path(info.absolute_path))
                for info in self.pictures
            )
            self.accelerator.wait_for_everyone()  # else a process that is ahead would write what another looks for
            if not whole or not zipfile.is_zipfile(self.prompts):
                return None
            device = self.accelerator.device
            where = "cpu" if device.type == "cpu" else device  # torch.load knows no cpu:0, as several processes call it
            return torch.load(self.prompts, map_location=where, weights_only=True)

        def cache_text_encoder_outputs_if_needed(
            self, args: Any, accelerator: Any, unet: Any, vae: Any, text_encoders: Any, dataset: Any, weight_dtype: Any
        ) -> None:
            if dataset is not self.groups[0]:
                return  # encoded with the first: some trainers have no encoders any more when they come to the second
            on_processor = extra["encoders_on_processor"] and self.encoded is None
            self.enter(f"encoding the captions{' on the processor' if on_processor else ''}")
            captions = Captions(self.groups)
            if self.encoded is not None:
                captions.new_cache_text_encoder_outputs(text_encoders, accelerator)  # notes where each is
                self.sample_prompts_te_outputs = self.encoded
            else:
                place = OnProcessor(accelerator) if on_processor else accelerator
                super().cache_text_encoder_outputs_if_needed(
                    args, place, unet, vae, text_encoders, captions, weight_dtype
                )
                if accelerator.is_main_process:
                    self.keep_prompts(self.prompts)
                self.sample_prompts_te_outputs = moved(self.sample_prompts_te_outputs, accelerator.device)
                text_encoders[:] = [no_encoder() for _ in text_encoders]  # else the network would be prepared for them
            set_seed(args.seed)  # what follows is the same whether or not something was loaded and encoded before

        def keep_prompts(self, file: Path) -> None:
            """Keep the encoded sample prompts for the next run, whole or not at all."""
            import torch

            unfinished = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                torch.save(self.sample_prompts_te_outputs, unfinished)
                os.replace(unfinished, file)
            finally:
                unfinished.unlink(missing_ok=True)

        def post_process_network(
            self, args: Any, accelerator: Any, network: Any, text_encoders: Any, unet: Any
        ) -> None:
            self.enter("preparing")
            super().post_process_network(args, accelerator, network, text_encoders, unet)
            self.network = network
            save = network.save_weights

            def save_recipe(file: str, dtype: Any, metadata: dict[str, str] | None) -> None:
                """The averaged weights, with the recipe inside, whole or not at all."""
                remarks = {**(metadata or {}), "ss_steps": str(self.step), RECIPE_KEY: extra["recipe"]}

                def write(unfinished: Path) -> None:
                    with self.averaged():
                        save(str(unfinished), dtype, remarks)
                    if extra["converter"]:
                        convert(extra["converter"], unfinished)

                save_whole(Path(file), write, self.waits_for_space)

            network.save_weights = save_recipe

        def prepare_unet_with_accelerator(self, args: Any, accelerator: Any, unet: Any) -> Any:
            """On several processors Accelerate would wrap the frozen model too, which torch refuses."""
            if accelerator.distributed_type == "MULTI_CPU":
                return unet.to(accelerator.device)
            return super().prepare_unet_with_accelerator(args, accelerator, unet)

        def update_metadata(self, metadata: dict[str, Any], args: Any) -> None:
            super().update_metadata(metadata, args)
            self.metadata = metadata

        # --- each batch

        def on_step_start(
            self,
            args: Any,
            accelerator: Any,
            network: Any,
            text_encoders: Any,
            unet: Any,
            batch: Any,
            weight_dtype: Any,
            is_train: bool = True,
        ) -> None:
            super().on_step_start(args, accelerator, network, text_encoders, unet, batch, weight_dtype, is_train)
            if is_train:
                self.tell_validation()
                empty = (getattr(self, "sample_prompts_te_outputs", None) or {}).get("")
                outputs = batch.get("text_encoder_outputs_list")
                if outputs is not None and empty is not None and extra["caption_dropout"]:
                    batch["text_encoder_outputs_list"] = drop_captions(
                        list(outputs), empty, extra["caption_dropout"], self.chance
                    )

        def get_noise_pred_and_target(self, *args: Any, **kwargs: Any) -> Any:
            latents, batch = args[3], args[4]
            training = kwargs.get("is_train", True)
            self.latents = latents
            self.given = given_positions(len(latents), latents, extra, self.chance) if training else None
            with self.isolated(args[1].unwrap_model(args[6])):
                result = super().get_noise_pred_and_target(*args, **kwargs)
            if self.given is not None:
                result = cleared(result, self.given, batch.get("alpha_masks") is not None)
            self.given = None
            return result

        def isolated(self, model: Any) -> contextlib.AbstractContextManager[None]:
            if self.given is None or not extra["isolated"]:
                return contextlib.nullcontext()
            return isolating(model, self.given)

        def keep_clean(self, noisy: Any) -> Any:
            """Noisy latents with the given positions as they are."""
            import torch

            if self.given is None:
                return noisy
            given, latents = self.given, self.latents.to(noisy.dtype)
            while given.ndim < noisy.ndim:
                given, latents = given.unsqueeze(2), latents.unsqueeze(2)
            return torch.where(given, latents, noisy)

        def process_batch(self, batch: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            # a copy: Anima's takes something out of it, and validation comes with the same batch at each noise level
            batch = dict(batch)
            if kwargs.get("is_train", True):
                self.tell_validation()
                loss = super().process_batch(batch, *args, **kwargs)
                self.losses.append(loss.detach())
                return loss
            if not self.validation:
                events.enter("validating")
            self.asked |= self.requests()
            if "stop" in self.asked and self.step < extra["steps"]:
                self.stop(self.accelerator, self.args)
            with self.averaged():  # the weights that are saved
                loss = super().process_batch(batch, *args, **kwargs)
            self.validation.append(float(loss))
            return loss

        # --- each step

        def sample_images(self, accelerator: Any, args: Any, epoch: Any, global_step: int, *rest: Any) -> None:
            """The trainer calls this after every optimiser step, before the first, and at the end of every epoch."""
            if epoch is not None:
                if global_step == 0 and self.average is None:
                    self.start(args)
                self.tell_validation()
                return
            self.step = extra["first_step"] + global_step
            if self.average is not None:
                self.average.update()
            self.tell_step()
            pause = time.monotonic()
            asked, self.asked = self.asked | self.requests(), set()
            last = self.step >= extra["steps"]
            every = extra["save_every"]
            # saving comes first: a sample may take more memory than there is
            self.stopping |= "stop" in asked
            if not last and (asked & {"stop", "save", SAVE_AGAIN} or (every and self.step % every == 0)):
                self.save(accelerator, args)
            if self.stopping and not self.unsaved and not last:
                raise Stopped
            if "sample" in asked or self.is_sample_due(last):
                if last and accelerator.is_main_process:
                    self.save_weights(args, Path(args.output_dir) / f"{args.output_name}.safetensors")
                self.sample(accelerator, args, rest)
                self.asked |= self.requests()
                if "stop" in self.asked and not last:
                    self.stop(accelerator, args)
            self.paused += time.monotonic() - pause
            if last:
                events.enter("saving")

        def is_sample_due(self, last: bool) -> bool:
            """After the first step of a run too, so that a card that is too small for samples is known at once."""
            every = extra["sample_every"]
            return bool(every) and self.can_sample and (last or self.step == 1 or self.step % every == 0)

        def start(self, args: Any) -> None:
            import torch

            saved = Path(args.resume) / "average.safetensors" if args.resume else None
            if extra["ema"]:
                device = "cpu" if extra["average_in_main_memory"] else None
                self.average = Average(self.network, extra["ema"], saved, device)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            events.enter("training")
            self.began = time.monotonic()

        def averaged(self) -> contextlib.AbstractContextManager[None]:
            return self.average.applied() if self.average is not None else contextlib.nullcontext()

        def tell_step(self) -> None:
            loss = float(sum(self.losses) / max(1, len(self.losses)))
            self.losses.clear()
            if not math.isfinite(loss):
                raise Refused(
                    f"The loss is {loss} at step {self.step}. Lower the learning rate, or choose another precision or model "
                    "file; the last checkpoint is kept."
                )
            self.smoothed = loss if self.smoothed is None else SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
            done = self.step - extra["first_step"]
            seconds = (time.monotonic() - self.began - self.paused) / done
            rate = self.scheduler.get_last_lr()[0] if self.scheduler is not None else 0.0
            events(
                "step",
                step=self.step,
                steps=extra["steps"],
                loss=round(loss, 6),
                smoothed=round(self.smoothed, 6),
                learning_rate=rate,
                seconds_per_step=round(seconds, 4),
                seconds_left=round((extra["steps"] - self.step) * seconds, 1),
                memory=peak_memory(),
            )

        def tell_validation(self) -> None:
            if self.validation:
                events("validation", step=self.step, loss=round(sum(self.validation) / len(self.validation), 6))
                self.validation.clear()
                events.enter("training" if self.step < extra["steps"] else "saving")

        def requests(self) -> set[str]:
            """What was asked for since the last step; all processes agree on it."""
            found = [name for name in REQUESTS if (run / "requests" / name).exists()] if events.active else []
            if events.active and self.unsaved and time.monotonic() >= self.next_try:
                found.append(SAVE_AGAIN)
            if self.accelerator.num_processes > 1:
                from accelerate.utils import broadcast_object_list

                found = broadcast_object_list([found])[0]
            if events.active:
                for name in found:
                    (run / "requests" / name).unlink(missing_ok=True)
            return set(found)

        def stop(self, accelerator: Any, args: Any) -> None:
            """Save and end; where the disk is full, go on and end as soon as it is saved."""
            self.asked.discard("stop")
            self.stopping = True
            self.save(accelerator, args)
            if not self.unsaved:
                raise Stopped

        def waits_for_space(self, error: Exception) -> bool:
            """Called where a LoRA does not fit on the disk: the last one waits for space, others are tried again later."""
            if self.step < extra["steps"]:
                return False
            if not self.waits:
                self.waits = True
                self.tell_full(error, "The training is over and waits for space")
            if self.is_stopping():
                raise Stopped from error
            time.sleep(AGAIN)
            return True

        def tell_full(self, error: Exception, what_next: str) -> None:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            text = f"The disk was full at step {self.step}, which could not be saved. {what_next}."
            events("note", step=self.step, text=f"{text} Free space where the run's folder is.")

        def sample(self, accelerator: Any, args: Any, rest: Sequence[Any]) -> None:
            """Let the trainer sample into a folder of its own, then give the pictures their names.

            A sample that does not fit into memory ends neither the training nor what is asked for next; a stop ends the
            sample.
            """
            events.enter("sampling")
            folder = run / "job-samples"
            _, autoencoder, *_, unet = rest
            model = accelerator.unwrap_model(unet)
            training, place, numbers = model.training, autoencoder.device, random_numbers()
            where, every = args.output_dir, args.sample_every_n_steps
            args.output_dir, args.sample_every_n_steps = str(folder), 1
            watch = model.register_forward_pre_hook(self.give_way)
            cut_off, too_large = False, False
            try:
                with self.averaged():
                    super().sample_images(accelerator, args, None, self.step, *rest)
            except SamplingStopped:
                cut_off = True
            except Exception as error:
                if not (is_out_of_memory(error) or is_no_space(error)):
                    raise
                traceback.print_exc()
                cut_off, too_large = True, is_out_of_memory(error)
            finally:
                watch.remove()
                args.output_dir, args.sample_every_n_steps = where, every
            if cut_off:  # only here, where the error no longer holds what the sample had in memory
                clean_memory_on_device(accelerator.device)
                ready_to_train(model, training, autoencoder, place)
                set_random_numbers(numbers)
            if events.active:
                for number, picture in enumerate(sorted(folder.glob("sample/*.png"))):
                    name = f"step{self.step:06d}-{number + 1}.png"
                    os.replace(picture, run / "samples" / name)
                    events("sample", step=self.step, file=name)
                shutil.rmtree(folder, ignore_errors=True)
            if any(gather_object([too_large])):
                self.can_sample = False
                events("note", step=self.step, text=TOO_LARGE_TO_SAMPLE)
            events.enter("training")

        def give_way(self, *_: Any) -> None:
            """Called before each denoising step of a sample."""
            if self.is_stopping():
                raise SamplingStopped

        def save(self, accelerator: Any, args: Any) -> None:
            """A checkpoint, and the state from which this very step can go on."""
            events.enter("saving")
            accelerator.wait_for_everyone()
            unfinished = run / "state" / f".step{self.step:06d}.part"
            refused: Exception | None = None

            def tried(act: Callable[[], object]) -> None:
                nonlocal refused
                try:
                    if refused is None:
                        act()
                except Exception as error:
                    if not is_no_space(error):
                        raise
                    refused = error

            if accelerator.is_main_process:
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.parent.mkdir(
                    exist_ok=True
                )  # not more: where the run's folder was removed, the run is to end
                tried(unfinished.mkdir)
            accelerator.wait_for_everyone()
            tried(lambda: accelerator.save_state(str(unfinished)))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                tried(lambda: self.keep(args, unfinished))
                shutil.rmtree(unfinished, ignore_errors=True)  # where the disk was full
            self.note_saved(refused)
            events.enter("training")

        def note_saved(self, refused: Exception | None) -> None:
            """Remember whether the disk took all, which all processes agree on; one that ends sooner would end others."""
            before = self.unsaved
            self.unsaved = any(gather_object([refused is not None]))
            self.next_try = time.monotonic() + AGAIN
            if self.unsaved and not before and refused is not None:
                self.tell_full(refused, "The training goes on and tries to save again")
            elif before and not self.unsaved:
                events("note", step=self.step, text=f"There is space on the disk again; step {self.step} is saved.")

        def keep(self, args: Any, unfinished: Path) -> None:
            """Complete a state and give it its name; then the checkpoint of the same step."""
            if self.average is not None:
                self.average.save(unfinished / "average.safetensors")
            (unfinished / "progress.json").write_text(json.dumps({"step": self.step}), encoding="utf-8")
            put_state(unfinished, run / "state" / f"step{self.step:06d}")
            checkpoint = Path(args.output_dir) / f"{extra['name']}-step{self.step:06d}.safetensors"
            self.save_weights(args, checkpoint)
            events("checkpoint", step=self.step, file=checkpoint.name)
            if extra["keep"]:
                whole = [path for path in checkpoint.parent.glob("*.safetensors") if not path.name.startswith(".")]
                for old in sorted(whole)[: -extra["keep"]]:
                    old.unlink(missing_ok=True)

        def save_weights(self, args: Any, file: Path) -> None:
            _, precision = train_util.prepare_dtype(args)
            self.network.save_weights(str(file), precision, self.remarks(args))

        def remarks(self, args: Any) -> dict[str, str]:
            """The trainer's own metadata; without names of folders and words of captions unless they are asked for."""
            kept = {
                name: str(value)
                for name, value in self.metadata.items()
                if extra["public_metadata"] or name in train_util.SS_METADATA_MINIMUM_KEYS
            }
            return {**kept, **self.get_sai_model_spec(args)}

    return Watched


class FromFolder:
    """Takes the place of a class of tokenizers where the checkout would load one from the hub."""

    def __init__(self, kind: Any, folder: str) -> None:
        self._kind, self._folder = kind, Path(folder)

    def from_pretrained(self, name: str) -> Any:
        return self._kind.from_pretrained(str(self._folder / name.replace("/", "_")))


def correct_sd3(model: Any) -> None:
    """Compute SD3.5 medium as it was trained.

    The checkout calls its second attentions with their number of heads where the attention takes a head's width: 64 heads of
    width 24 instead of 24 of width 64. A LoRA trained on that would be one for another model than ComfyUI samples with.
    """
    for block in model.joint_blocks:
        if block.x_block.x_block_self_attn:
            block.x_block.attn2.num_heads = block.x_block.attn2.head_dim  # it is used for nothing else


def hook_hunyuan_image(tokenizers: str) -> None:
    """HunyuanImage's encoders bring tokenizers, wherever those of the captions lie; its sampling is in another script."""
    from library import hunyuan_image_text_encoder as encoders

    for name in ("Qwen2Tokenizer", "AutoTokenizer"):
        setattr(encoders, name, FromFolder(getattr(encoders, name), tokenizers))
    try:
        sampling = importlib.import_module("hunyuan_image_minimal_inference")
    except ModuleNotFoundError as error:
        raise Refused(f"This sd-scripts has no {error.name}.py; install the trainer again.") from error
    generate = sampling.generate_body

    def generate_in_any_precision(settings: Any, *rest: Any) -> Any:
        """It gives the model bfloat16 whatever it computes in; autocast, which it has for fp8 only, makes them fit."""
        settings.fp8 = True
        return generate(settings, *rest)

    setattr(sampling, "generate_body", generate_in_any_precision)  # noqa: B010 - a module of the checkout


def hook(trainer: Any, extra: dict[str, Any], tokenizers: str) -> None:
    """What lies in functions of the checkout rather than in the trainer's class."""
    from library import train_util

    for name in ("flux_train_utils", "sd3_train_utils", "lumina_train_util"):
        module = sys.modules.get(f"library.{name}")
        if module is not None and hasattr(module, "get_noisy_model_input_and_timesteps"):
            mix = module.get_noisy_model_input_and_timesteps

            def clean_mix(*args: Any, _mix: Callable[..., Any] = mix, **kwargs: Any) -> Any:
                noisy, *rest = _mix(*args, **kwargs)
                return (trainer.keep_clean(noisy), *rest)

            setattr(module, "get_noisy_model_input_and_timesteps", clean_mix)  # noqa: B010 - a module of the checkout

    sd3 = sys.modules.get("library.sd3_utils")
    if sd3 is not None:
        load = sd3.load_mmdit

        def load_bare(state_dict: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            """The trainer knows SD3 as a whole checkpoint only; ComfyUI's folders also hold the diffusion model alone."""
            if not any(name.startswith(MODEL_PREFIX) for name in state_dict):
                for name in list(state_dict):
                    state_dict[MODEL_PREFIX + name] = state_dict.pop(name)
            model = load(state_dict, *args, **kwargs)
            correct_sd3(model)
            return model

        setattr(sd3, "load_mmdit", load_bare)  # noqa: B010 - a module of the checkout

    if "hunyuan_image_train_network" in sys.modules:
        hook_hunyuan_image(tokenizers)

    make_schedule = train_util.get_scheduler_fix

    def whole_schedule(args: Any, optimizer: Any, num_processes: int) -> Any:
        """The schedule of the whole run, not of this segment; the saved state says where in it we are."""
        remaining, args.max_train_steps = args.max_train_steps, extra["steps"]
        try:
            trainer.scheduler = make_schedule(args, optimizer, num_processes)
        finally:
            args.max_train_steps = remaining
        return trainer.scheduler

    train_util.get_scheduler_fix = whole_schedule
    if not extra["public_metadata"]:  # reading all of a model for its hash takes minutes
        train_util.model_hash = train_util.calculate_sha256 = lambda file: ""


def convert(converter: str, file: Path, *, reverse: bool = False) -> None:
    """Rename a LoRA's tensors in place with the checkout's own converter."""
    converted = file.with_name(f".{file.stem}.converted.safetensors")
    options = argparse.Namespace(src_path=str(file), dst_path=str(converted), reverse=reverse)
    importlib.import_module(converter).main(options)
    os.replace(converted, file)


# --- main -----------------------------------------------------------------------------------------------------------


def train(folder: Path, events: Events, prepare: Callable[[], None]) -> None:
    """Run one job.

    Raises:
        Refused: where it cannot be run.
        Stopped: when it was asked to stop.
    """
    events.enter("starting")
    extra = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    module = importlib.import_module(extra["script"])
    import toml

    options = toml.loads((folder / "job.toml").read_text(encoding="utf-8"))
    if extra["converter"] and options.get("network_weights"):
        weights = folder / "weights.safetensors"
        shutil.copyfile(options["network_weights"], weights)
        convert(extra["converter"], weights, reverse=True)
        options["network_weights"] = str(weights)
    args = parse(module.setup_parser(), options)
    prepare()
    trainer = watched(getattr(module, extra["trainer"]), extra, folder.parent, events)()
    hook(trainer, extra, args.tokenizer_cache_dir)
    trainer.train(args)
    file = Path(args.output_dir) / f"{args.output_name}.safetensors"
    if events.active and not file.exists():
        raise Refused("The trainer ended without a LoRA: it found no data. Build the dataset again.")


def main(arguments: Sequence[str], prepare: Callable[[], None] = lambda: None) -> int:
    """``prepare`` is called when the checkout can be imported, before the models are loaded."""
    with contextlib.redirect_stdout(Output(sys.stdout)), contextlib.redirect_stderr(Output(sys.stderr)):  # type: ignore[type-var]
        return _main(arguments, prepare)


def _main(arguments: Sequence[str], prepare: Callable[[], None]) -> int:
    checkout, folder = (Path(argument).resolve() for argument in arguments)
    sys.path.insert(0, str(checkout))
    sys.argv = [str(checkout / "train.py")]  # what the trainer's own parsers see
    events = Events(folder.parent / "events.jsonl", active=os.environ.get("RANK", "0") == "0")
    try:
        train(folder, events, prepare)
        events("ended", outcome="trained", code=0)
        return 0
    except Stopped:
        events("ended", outcome="stopped", code=STOPPED)
        return STOPPED if events.active else 0  # a launcher ends all processes as soon as one has failed
    except BaseException as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, Refused) else ""
        with contextlib.suppress(OSError):  # the disk may be what is full
            events("ended", outcome="failed", code=1, phase=events.phase, error=said, error_type=type(error).__name__)
        return 1
    finally:
        _leave_group()


def _leave_group() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
