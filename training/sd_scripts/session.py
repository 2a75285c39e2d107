"""From a dataset to a LoRA: start a run, watch it, settle what became of it, resume it, continue its LoRA.

Everything about a run is in its folder, so each of these can be done by another process than the one that started it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...incontext.dataset import Dataset
from ...incontext.errors import LoraError, TrainingError
from ...incontext.files import strict_json
from ...incontext.files.strict_json import JsonError, field
from ...incontext.lora.keys import is_lora
from ...incontext.lora.lora_file import METADATA_KEY, Header, header_digest, read_header, save_new
from ...incontext.lora.recipe import Recipe, References
from ...incontext.panels.box import Box
from ...incontext.panels.layout import PanelLayout
from ..references import ReferenceKind
from ..runs import claims, output, requests, run_folder, stopping, supervise
from ..runs.cards import card_names
from ..runs.process import no_window
from ..runs.run_folder import Run, RunWriter, parse_event
from ..subset import chosen_sets
from . import data, job, launch, outcome, preflight, space
from .architectures import Architecture, architecture
from .environment import LONGEST_PATH, Trainer, long_paths_enabled
from .processes import Processes
from .settings import Device, Precision, SdSettings

TRAINER = "sd-scripts"
ENDED = "ended"
STATE = "state"
_DECIDED = (run_folder.STARTED, *run_folder.ENDS)
_KILLED = (-9, 137)  # exit codes


@dataclass(frozen=True)
class Order:
    """What is to be trained.

    Attributes:
        dataset: sets and captions.
        architecture: the model family.
        files: option of the trainer → model file, as `preflight.assign` gives it.
        settings: how.
        name: of the run and the LoRA.
        recipe: of the task; the dataset's own by default.
        weights: a LoRA to continue; None for a new one.
    """

    dataset: Dataset
    architecture: Architecture
    files: Mapping[str, Path]
    settings: SdSettings
    name: str
    recipe: Recipe
    weights: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": {"folder": str(self.dataset.folder), "sets": len(self.dataset), "digest": self.dataset.digest},
            "architecture": self.architecture.name,
            "files": {option: str(path) for option, path in self.files.items()},
            "settings": self.settings.to_json(),
            "recipe": self.recipe.to_json(),
            "continue_from": str(self.weights) if self.weights else None,
            "digests": {
                str(path): header_digest(path)
                for path in (*self.files.values(), *((self.weights,) if self.weights else ()))
            },
        }

    @property
    def trained(self) -> Dataset:
        """The dataset with the sets that are trained on or held out; the settings may leave some out.

        Raises:
            TrainingError: where no set is left to train on.
        """
        chosen = self.settings
        return chosen_sets(
            self.dataset,
            sets=chosen.sets,
            leave_out=chosen.leave_out,
            validation_sets=chosen.validation_sets,
            seed=chosen.seed,
        )

    @staticmethod
    def read(run: Run, models: Sequence[Path] = ()) -> Order:
        """The order of a run, checked as that of a new one: its folder may come from anywhere.

        Args:
            models: the folders in which model files and LoRAs may lie; others are taken only as they were when the run
                began.

        Raises:
            TrainingError: where the run is none of this trainer, what it needs is gone or changed, or run.json asks for
                what no start would do.
        """
        about = run.about
        if about.get("trainer") != TRAINER:
            raise TrainingError(
                f"{run.name} was trained {about.get('trainer', 'elsewhere')}; only runs of {TRAINER} can be resumed here."
            )
        try:
            folder = field(field(about, "dataset", dict), "folder", str)
            digest = field(field(about, "dataset", dict), "digest", str)
            family = architecture(field(about, "architecture", str))
            named = field(about, "files", dict)
            files = {option: Path(field(named, option, str)) for option in named}
            settings, recipe = field(about, "settings", dict), field(about, "recipe", dict)
            name = field(about, "name", str)
            continued = field(about, "continue_from", (str, type(None)), None)
            digests = field(about, "digests", dict, {})
        except JsonError as error:
            raise TrainingError(f"{run.name} cannot be resumed: in its run.json {error}.") from None
        dataset = Dataset.load(Path(folder))
        if dataset.digest != digest:
            raise TrainingError(
                f"The dataset {dataset.name} was changed since {run.name} began. Continue its last LoRA on the new dataset "
                "instead of resuming it."
            )
        known = {family.model_option, *(file.option for file in family.files)}
        if set(files) != known:
            strange = sorted(set(files) ^ known)[0]
            raise TrainingError(
                f"The run.json of {run.name} should name the files {', '.join(sorted(known))} for {family.title}; "
                f"{strange!r} is {'missing' if strange in known else 'none of them'}. Start the training again."
            )
        weights = Path(continued) if continued else None
        for path in (*files.values(), *((weights,) if weights else ())):
            _check_known(path, digests, models, run.name)
        others = [files[file.option] for file in family.files]
        return Order(
            dataset,
            family,
            preflight.assign(family, files[family.model_option], others),
            SdSettings.from_json(settings),
            name,
            Recipe.from_json(recipe),
            weights,
        )


def _check_known(path: Path, digests: Mapping[str, Any], models: Sequence[Path], name: str) -> None:
    """
    Raises:
        TrainingError: for a file that is gone, that another has taken the place of, or that was never ComfyUI's.
    """
    if not path.exists():
        raise TrainingError(f"{path} is no longer there. Put it back to resume {name}.")
    noted = digests.get(str(path))
    if noted is None:
        plain = Path(os.path.abspath(path))  # links in the folders are their owner's
        if not any(plain.is_relative_to(os.path.abspath(folder)) for folder in models):
            raise TrainingError(
                f"{path} is in none of ComfyUI's model folders, and the run.json of {name} does not say what it was. Put the "
                "file there and start the training again."
            )
    elif header_digest(path) != noted:
        raise TrainingError(
            f"{path} is another file than when {name} began. Put the first one back, or start the training again."
        )


@dataclass(frozen=True)
class Place:
    """Where things are on this machine.

    Attributes:
        trainer: what trains.
        runs: folder of all runs.
        loras: folder of finished LoRAs.
        comfyui: has the tokenizers; ``tokenizers`` is where they are put under the trainer's names.
        processes: how many train together.
        runner: our script.
        on_cpu: no graphics card is used; else ``device`` says whose it is.
        models: folders of model files and LoRAs, from which a run may be resumed.
    """

    trainer: Trainer
    runs: Path
    loras: Path
    comfyui: Path
    tokenizers: Path
    processes: Processes = Processes()  # noqa: RUF009  (frozen)
    runner: Path = launch.RUNNER
    on_cpu: bool = False
    device: Device = Device.NVIDIA
    models: tuple[Path, ...] = ()

    @property
    def computes_on(self) -> Device:
        return Device.CPU if self.on_cpu else self.device

    @property
    def cards(self) -> list[str] | None:
        """The graphics cards that a training takes on this machine; None where only Accelerate's file says it."""
        if self.on_cpu or self.processes.cpu:
            return []
        if self.processes.config:
            return None
        return card_names(range(self.processes.count // self.processes.machines))


@dataclass(frozen=True)
class Outcome:
    """What became of a run: one of `run_folder.ENDS`, the LoRA's path where there is one, and a sentence."""

    state: str
    lora: Path | None = None
    message: str = ""


# --- start ----------------------------------------------------------------------------------------------------------


def start(order: Order, place: Place, go_on: Callable[[], None] = lambda: None) -> tuple[Run, subprocess.Popen[bytes]]:
    """Begin a run.

    Raises:
        TrainingError: where it cannot begin; the message says why.
    """
    return _start(order, trained_recipe(order), place, job.Segment(weights=order.weights), go_on)


def _start(
    order: Order, recipe: Recipe, place: Place, segment: job.Segment, go_on: Callable[[], None]
) -> tuple[Run, subprocess.Popen[bytes]]:
    check_length(place.runs, run_folder.safe_name(order.name))
    writer = RunWriter.create(
        place.runs,
        order.name,
        {
            "trainer": TRAINER,
            "name": order.name,
            "commit": place.trainer.commit,
            **replace(order, recipe=recipe).to_json(),
        },
    )
    run = writer.run
    try:
        with claims.attending(run.folder), claims.deciding(run.folder), _ending(writer):
            return run, _begin(order, recipe, place, writer, segment, go_on)
    finally:
        writer.close()


def resume(run: Run, place: Place, go_on: Callable[[], None] = lambda: None) -> subprocess.Popen[bytes]:
    """Go on with a run that was stopped or interrupted, from its last saved state.

    From the look whether it runs to the start of its process nobody else can resume, settle or end it.

    Raises:
        TrainingError: where it still runs, is finished, has no state, or another one is resuming it.
    """
    _ = run.about  # what is not a run gets no lock
    with claims.deciding(run.folder, claims.BRIEF), claims.attending(run.folder):
        if supervise.find(run.folder) is not None:
            raise TrainingError(f"{run.name} is still running; watch it, or stop it first.")
        order = Order.read(run, place.models)
        other = supervise.on_other_machine(run.folder)
        if other and run.state == run_folder.STARTED:
            raise TrainingError(f"{run.name} runs on {other}, as far as its folder says. Resume it there.")
        supervise.kill(run.folder)
        if run.state == run_folder.STARTED:  # it ended while nobody looked
            _settle(run, place.loras, None, stopped=False)
        if run.state == run_folder.FINISHED:
            raise TrainingError(f"{run.name} is finished. Continue its LoRA in a new run instead.")
        saved = last_state(run)
        if saved is None:
            raise TrainingError(f"{run.name} has no saved state to resume from. Start it again.")
        state, step = saved
        if step > order.settings.steps:
            raise TrainingError(
                f"The saved state of {run.name} is of step {step}, but its run.json says {order.settings.steps} steps. Start "
                "the training again."
            )
        writer = RunWriter(run)
        try:
            with _ending(writer):
                segment = job.Segment(_next_segment(run), step, state, order.weights)
                return _begin(order, order.recipe, place, writer, segment, go_on)
        finally:
            writer.close()


@contextlib.contextmanager
def _ending(writer: RunWriter) -> Iterator[None]:
    """Write down why a run did not begin."""
    try:
        yield
    except TrainingError as error:
        writer.end(run_folder.FAILED, error=str(error))
        raise
    except OSError as error:
        reason = f"{error.filename or writer.run.folder} cannot be used: {error.strerror or error}."
        message = f"{reason} Free space there, allow writing to it, or see whether its disk is still connected."
        writer.end(run_folder.FAILED, error=message)
        raise TrainingError(message) from error
    except BaseException:  # go_on said that the user cancelled
        writer.end(run_folder.CANCELLED)
        raise


def join(run: Run, place: Place, go_on: Callable[[], None] = lambda: None) -> tuple[Run, subprocess.Popen[bytes]]:
    """Go on with a run on this machine; where it is not the first one, help with it from a run folder of its own.

    Args:
        run: where it is not the first machine, of that one, on a disk that both see.

    Raises:
        TrainingError: as `resume`.
    """
    if place.processes.is_first:
        return run, resume(run, place, go_on)
    order = Order.read(run, place.models)
    saved = last_state(run)
    if saved is None:
        raise TrainingError(f"{run.name} has no saved state to resume from. Start it again.")
    state, step = saved
    segment = job.Segment(first_step=step, state=state, weights=order.weights)
    helping = replace(order, name=f"{run.name}-machine-{place.processes.rank}")
    return _start(helping, order.recipe, place, segment, go_on)


def last_state(run: Run) -> tuple[Path, int] | None:
    """The newest whole state and its step; a state that is still being written has another name."""
    for folder in sorted((run.folder / STATE).glob("step*"), reverse=True):
        with contextlib.suppress(OSError, JsonError):
            step = field(strict_json.read_object(folder / "progress.json"), "step", int)
            if step >= 0:
                return folder, step
    return None


def _next_segment(run: Run) -> int:
    """One more than there were: a number whose folder was never begun."""
    begun = [int(path.name[4:]) for path in run.folder.glob("job-*") if path.name[4:].isdecimal()]
    return max(begun, default=0) + 1


def _begin(
    order: Order, recipe: Recipe, place: Place, writer: RunWriter, segment: job.Segment, go_on: Callable[[], None]
) -> subprocess.Popen[bytes]:
    """Prepare what the segment reads, and start its process."""
    run = writer.run
    settings = order.settings.on(place.computes_on)
    family = order.architecture
    layout = order.dataset.layout
    helps = {} if place.processes.is_first else {"machine_rank": place.processes.rank}
    began = {"steps": settings.steps, "segment": segment.number, "first_step": segment.first_step}
    writer.event(run_folder.STARTED, **began, **helps)
    writer.event(run_folder.PHASE, phase="preparing the data")
    encoders = preflight.encoder_size(family, order.files)
    for text in notes(order, settings, place.computes_on, encoders):
        writer.event(run_folder.NOTE, text=text)
        writer.log(text)
    sizes = trained_sizes(order, settings)
    fp8 = ["fp8"] if settings.fp8 and family.fp8 else []  # the encoders are kept in 8 bits too
    where = [option for option in job.encoder_options(family, settings, encoders) if option == family.fp8_encoders]
    caches = [settings.precision.value, *fp8, *where, *preflight.identity(order.files)]
    count = space.weights(preflight.model_shapes(family, order.files), settings.rank)
    dataset = order.trained
    folder = data.folder_of(dataset, family.name, settings.validation_sets, caches)
    space.check(
        [
            *space.of_run(run.folder, place.loras, settings, count),
            space.of_samples(run.folder, settings, sizes[0]),
            space.of_data(dataset, folder, family, sizes),
        ]
    )
    portions = data.prepare(dataset, family.name, sizes, settings.validation_sets, caches, go_on)
    for removed in data.prune(dataset.folder, {portions[0].images.parent, *_caches_in_use(place.runs)}):
        writer.log(f"removed {removed.name}, {removed.size / 1e9:.2f} GB: no training has used it for long")
    prompts = [item.caption for item in dataset.items[-max(1, settings.samples) :]]
    place_tokenizers(family, place.comfyui, place.tokenizers)
    made = job.build(
        family,
        settings,
        order.files,
        portions,
        prompts,
        layout,
        order.dataset.references,
        run=run.folder,
        tokenizers=place.tokenizers,
        segment=segment,
        workers=0 if place.on_cpu else 2,
        encoders=encoders,
    )
    folder = run.folder / f"job-{segment.number}"
    text = json.dumps(recipe.to_json(), ensure_ascii=False, separators=(",", ":"))
    try:
        folder.mkdir()  # fails where another machine, on a file system without locks, was first
        job.write(replace(made, extra={**made.extra, "recipe": text}), folder)
    except FileExistsError:
        raise TrainingError(f"{run.name} is being resumed by somebody else at this moment.") from None
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written: {error.strerror or error}. Free space there, or allow writing to it."
        ) from error
    processes = replace(place.processes, cpu=place.processes.cpu or place.on_cpu)
    what = launch.build(
        place.trainer,
        folder,
        processes,
        os.environ,
        offline=not family.fetched,
        runner=place.runner,
        cards=place.cards,
    )
    process = supervise.start(what, run.folder)
    writer.log(f"segment {segment.number} from step {segment.first_step} of {settings.steps}, process {process.pid}")
    return process


def has_gpu(trainer_python: Path) -> bool:
    """Whether the trainer's own torch finds a graphics card."""
    return device(trainer_python) is not Device.CPU


@functools.cache
def device(trainer_python: Path) -> Device:
    """What the trainer's own torch computes on; asking it takes seconds, so it is asked once."""
    probe = (
        "import torch; print('amd' if torch.version.hip else 'nvidia') if torch.cuda.is_available() else "
        "print('apple' if torch.backends.mps.is_available() else 'cpu')"
    )
    answer = subprocess.run(
        [str(trainer_python), "-c", probe],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=launch.without_detours(os.environ) | {"PYTHONUTF8": "1"},
        check=False,
        creationflags=no_window(),
    )
    if answer.returncode:
        raise TrainingError(f"The trainer's torch does not start: {answer.stderr.strip()[-300:]} Install it again.")
    return Device(answer.stdout.split()[-1])


def notes(order: Order, settings: SdSettings, computes_on: Device, encoders: float) -> Iterator[str]:
    """What the user should know before a run begins: where it computes otherwise than was chosen, and why.

    Args:
        settings: as the device can compute them.
        encoders: gigabytes of the text encoders' files.
    """
    size = preflight.model_size(order.architecture, order.files, 4 if settings.precision is Precision.FP32 else 2)
    if computes_on is Device.CPU:
        yield (
            "The trainer's torch finds no graphics card, so the training runs on the processor, in fp32 and many times "
            f"slower; the model alone takes {size:.1f} GB of memory. If this computer has a card, `python run.py trainer "
            "check` says which torch is installed."
        )
    elif computes_on is Device.APPLE:
        yield (
            "On Apple's GPU the trainer computes in fp32, without 8-bit weights, the 8-bit optimiser and block swapping; "
            f"the model alone takes {size:.1f} GB of memory."
        )
    elif computes_on is Device.AMD:
        yield (
            "On AMD's cards the trainer has neither 8-bit weights nor the 8-bit optimiser; the model takes "
            f"{size:.1f} GB in 16 bits. If memory runs out, choose the preset of a card with half the memory."
        )
    wanted = settings.references is ReferenceKind.ISOLATED and settings.reference_share > 0
    if wanted and not job.isolates(order.architecture, settings):
        yield (
            f"References of {order.architecture.title} cannot be isolated with sd-scripts yet; they are trained clean instead."
        )
    if not job.fit_on_card(settings, encoders):
        fp8 = order.architecture.fp8_encoders
        if fp8 and fp8 in job.encoder_options(order.architecture, settings, encoders):
            yield f"The text encoders have {encoders:.1f} GB, more than fits beside the rest; they are made 8-bit."
        else:
            yield (
                f"The text encoders have {encoders:.1f} GB, and the preset's card holds {settings.encoders_on_card:.1f} GB of "
                "them. The captions are encoded on the processor, which takes up to a minute each; they are kept for the "
                "next training."
                + (" The e4m3fn file of T5-XXL needs half the memory." if "t5xxl" in order.files else "")
            )


def trained_sizes(order: Order, settings: SdSettings) -> list[tuple[int, int]]:
    """Sizes that a dataset is trained in, largest first."""
    layout, step = order.dataset.layout, order.architecture.size_step
    return data.rungs(layout.width, layout.height, step, settings.sizes, settings.megapixels)


def status_line(event: Mapping[str, Any]) -> str:
    """A step in one line."""
    told = {name: value for name, value in event.items() if value is not None}  # None: not finite, or never told
    loss, pace, memory = (told.get(name, math.nan) for name in ("smoothed", "seconds_per_step", "memory"))
    seconds = told.get("seconds_left", 0.0)
    left = time.strftime("%H:%M:%S", time.gmtime(seconds)) if 0 <= seconds < 86_400 else f"{seconds / 86_400:.1f} days"
    return f"step {event['step']} of {told.get('steps', '?')}, loss {loss:.4f}, {pace:.2f} s a step, {left} left, {memory:.1f} GB"


def _caches_in_use(runs: Path) -> Iterator[Path]:
    """The prepared data of all runs that train now."""
    for path in runs.glob(f"*/{supervise.RECORD}"):
        if supervise.find(path.parent):
            for described in path.parent.glob("job-*/job.json"):
                with contextlib.suppress(OSError, JsonError):  # being written, or an older version's
                    yield Path(field(strict_json.read_object(described), "cache", str))


def trained_recipe(order: Order) -> Recipe:
    """What the LoRA will say of itself."""
    share = order.settings.drawn_share
    references = References(
        clean=share > 0,
        share=share,
        panels=tuple(order.dataset.references),
        isolated=job.isolates(order.architecture, order.settings),
    )
    lineage = order.recipe.lineage
    if order.weights is not None:
        lineage = (*lineage, order.weights.name)
    return replace(
        order.recipe,
        layout=_trained_layout(order),
        base=order.recipe.base or order.architecture.base,
        references=references,
        lineage=lineage,
        lora="",
    )


def _trained_layout(order: Order) -> PanelLayout:
    """The dataset's layout in the largest size that is trained."""
    layout = order.dataset.layout
    if not order.settings.megapixels:
        return layout
    width, height = trained_sizes(order, order.settings)[0]

    def scaled(box: Box) -> Box:
        left, right = (round(edge * width / layout.width) for edge in (box.left, box.right))
        top, bottom = (round(edge * height / layout.height) for edge in (box.top, box.bottom))
        return Box(left, top, right - left, bottom - top)

    return PanelLayout(width, height, tuple(map(scaled, layout.boxes)), layout.names)


def check_length(runs: Path, name: str, system: str = sys.platform, enabled: bool | None = None) -> None:
    """
    Args:
        enabled: whether Windows takes long paths; asked of it by default.

    Raises:
        TrainingError: where Windows would find the run's paths too long.
    """
    longest = len(str(runs / name / "checkpoints" / f".{name}-step000000.converted.safetensors"))
    spare = LONGEST_PATH - longest
    if system != "win32" or spare >= 0 or (long_paths_enabled() if enabled is None else enabled):
        return
    possible = len(name) + spare // 2  # the name is in the path twice
    remedy = f"Choose a name of {possible} characters" if possible > 0 else "Move ComfyUI to a shorter folder"
    raise TrainingError(
        f"The files of the run {name!r} would have paths of {longest} characters; Windows takes {LONGEST_PATH}. "
        f"{remedy}, or enable long paths in Windows."
    )


def place_tokenizers(family: Architecture, comfyui: Path, target: Path) -> None:
    """ComfyUI's own tokenizers, under the names by which the trainer looks for them."""
    for name, source in family.tokenizers.items():
        folder = target / name.replace("/", "_")
        if (folder / "tokenizer_config.json").exists():
            continue
        if not (comfyui / source).is_dir():
            raise TrainingError(f"ComfyUI's tokenizer {comfyui / source} is missing; update ComfyUI.")
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(comfyui / source, unfinished)
        if "clip" in name.lower():
            _limit_length(unfinished / "tokenizer_config.json")
        if folder.exists():
            shutil.rmtree(unfinished)
        else:
            os.replace(unfinished, folder)


def _limit_length(path: Path) -> None:
    """ComfyUI's CLIP tokenizer allows longer texts than CLIP reads."""
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "model_max_length": 77}, indent=1), encoding="utf-8")


# --- watch ----------------------------------------------------------------------------------------------------------


class EventTail:
    """New events of a run since the last look."""

    def __init__(self, run: Run, from_start: bool = True) -> None:
        self._path = run.folder / "events.jsonl"
        self._offset = 0 if from_start or not self._path.exists() else self._path.stat().st_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while line := file.readline(run_folder.LONGEST_EVENT + 1):
                    if not line.endswith(b"\n") and len(line) <= run_folder.LONGEST_EVENT:
                        return  # it is still being written
                    self._offset += len(line)
                    event = parse_event(line)
                    if event is not None:
                        yield event
        except OSError:
            return


def watch(
    run: Run,
    process: subprocess.Popen[bytes] | None,
    tail: EventTail,
    on_event: Callable[[dict[str, Any]], None],
    *,
    pause: float = 0.25,
) -> int | None:
    """Follow a run until its process is gone; returns the exit code where it is known.

    What ``on_event`` raises ends the watching, not the training. It is called with ``{"event": "idle"}`` when there is no news.
    """
    while True:
        running = process.poll() is None if process is not None else supervise.find(run.folder) is not None
        quiet = True
        for event in tail:
            quiet = False
            on_event(event)
        if not running:
            return process.returncode if process is not None else None
        if quiet:
            on_event({"event": "idle"})
        time.sleep(pause)


def stop(
    run: Run,
    process: subprocess.Popen[bytes] | None,
    insists: Callable[[], bool] = lambda: False,
    patience: float | None = None,
) -> None:
    """Ask a run to save its state and end; end it and all its children when time is up or ``insists`` says so.

    Args:
        patience: seconds until time is up; by default as many as `stopping.patience` finds for this run, now and as it
            goes on.
    """
    with contextlib.suppress(TrainingError):  # a disk that is full or gone: then it is ended when time is up
        requests.add(run.folder, "stop")
    asked = time.monotonic()
    tail, events = EventTail(run), list[dict[str, Any]]()
    allowed = patience
    while not insists():
        if patience is None:
            news = list(tail)
            if news or allowed is None:
                events += news
                allowed = stopping.patience(events)
        if time.monotonic() - asked >= (allowed or 0.0):
            break
        gone = process.poll() is not None if process is not None else supervise.find(run.folder) is None
        if gone:
            break
        time.sleep(0.1)
    with contextlib.suppress(TrainingError):  # whoever watches it may settle it first, and is to say the same
        requests.add(run.folder, requests.END)
    supervise.kill(run.folder)
    if process is not None:
        process.wait(10)


# --- settle ---------------------------------------------------------------------------------------------------------


def settle(run: Run, loras: Path, code: int | None = None, *, stopped: bool = False) -> Outcome:
    """Find out what became of a run whose process is gone, publish its LoRA, and write that down. Once is enough.

    Args:
        loras: where finished LoRAs go.
        code: the exit code, where it is known.
        stopped: whether the user stopped it.
    """
    if not run.folder.is_dir():
        return Outcome(run_folder.FAILED, None, f"The run's folder {run.folder} is gone, and with it what was trained.")
    # the node, its watcher and a second ComfyUI may all come to this at once
    with claims.deciding(run.folder, patience=600.0):
        if supervise.find(run.folder) is not None:
            return Outcome(
                run_folder.STARTED, None, f"{run.name} goes on: it was resumed, or its process cannot be ended."
            )
        supervise.kill(run.folder)  # children that it left behind
        return _settle(run, loras, code, stopped)


def settle_soon(run: Run, loras: Path, code: int | None = None, *, stopped: bool = False) -> Outcome:
    """As `settle`; where the disk refuses, it is tried again in the background until there is space.

    Raises:
        TrainingError: where the disk refuses.
    """
    try:
        return settle(run, loras, code, stopped=stopped)
    except TrainingError:
        threading.Thread(
            target=settle_at_last, args=(run, loras, code, stopped), name=f"incontext-lora {run.name}", daemon=True
        ).start()
        raise


def settle_at_last(run: Run, loras: Path, code: int | None, stopped: bool) -> None:
    """Settle a run, however long its disk refuses."""
    while True:
        try:
            settle(run, loras, code, stopped=stopped)
            return
        except TrainingError:
            time.sleep(run_folder.AGAIN)


def _settle(run: Run, loras: Path, code: int | None, stopped: bool) -> Outcome:
    last = next((event for event in reversed(run.last_events()) if event["event"] in _DECIDED), {})
    if last.get("event") in run_folder.ENDS:
        lora = Path(last["path"]) if last.get("path") else None
        return Outcome(last["event"], lora, last.get("error", ""))
    stopped = stopped or requests.is_ended(run.folder)
    said, phase, step, helped = {}, "", 0, False
    for event in run.events():
        kind = event["event"]
        if kind == run_folder.STARTED:
            said, phase, step, helped = {}, "", 0, bool(event.get("machine_rank"))
        elif kind == ENDED:
            said = event
        elif kind == run_folder.PHASE:
            phase = event.get("phase", "")
        elif kind == run_folder.STEP:
            step = event["step"]
    lines = output.tail(run.folder)
    _remove_unfinished(run)
    writer = RunWriter(run)
    try:
        if helped and code in (None, 0):
            words = "This machine has helped; the LoRA, or the state to resume from, is on the first machine."
            return _note(writer, Outcome(run_folder.FINISHED, None, words))
        # a full disk may have taken the trainer's last words, but not the LoRA that was there before
        trained = said.get("outcome") == "trained" or (not said and not stopped and _has_final(run))
        if trained and code in (None, 0, *_KILLED):
            try:
                path = publish(run, loras)
            except (LoraError, TrainingError) as error:
                if isinstance(error.__cause__, OSError) and _has_final(run):
                    raise TrainingError(
                        str(error)
                    ) from error  # not the LoRA's fault: once there is space, it is put there
                message = f"The trainer ended without an error, but its LoRA cannot be used. {error}"
                return _note(writer, Outcome(run_folder.FAILED, None, message))
            result = _note(writer, Outcome(run_folder.FINISHED, path))
            shutil.rmtree(run.folder / STATE, ignore_errors=True)
            return result
        if stopped or said.get("outcome") == "stopped":
            saved = last_state(run)
            words = f"Stopped at step {step}." if step else "Stopped before the first step."
            words += f" Resume it from step {saved[1]}." if saved else ""
            return _note(writer, Outcome(run_folder.CANCELLED, None, words))
        if said.get("outcome") == "failed" or code not in (None, 0, *_KILLED):
            message = outcome.failure(said.get("phase") or phase, said.get("error", ""), code, lines)
            return _note(writer, Outcome(run_folder.FAILED, None, message))
        if code == 0:
            message = outcome.failure(
                phase, outcome.cause(lines) or "It ended without a LoRA and without an error.", code, lines
            )
            return _note(writer, Outcome(run_folder.FAILED, None, message))
        saved = last_state(run)
        message = outcome.interrupted(phase, step, saved[1] if saved else 0, code)
        return _note(writer, Outcome(run_folder.INTERRUPTED, None, message))
    finally:
        writer.close()


def _remove_unfinished(run: Run) -> None:
    """Remove checkpoints and states that a killed trainer was writing; nothing but space depends on it."""
    for path in (run.folder / "checkpoints").glob(".*.safetensors"):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (run.folder / STATE).glob(".*.part"):
        shutil.rmtree(folder, ignore_errors=True)


def _final(run: Run) -> Path:
    """Where the LoRA of a whole training is.

    Raises:
        TrainingError: where run.json does not say how many steps it has.
    """
    try:
        steps = field(field(run.about, "settings", dict), "steps", int)
    except JsonError as error:
        raise TrainingError(f"The run.json of {run.name} cannot be used: {error}.") from None
    return run.folder / "checkpoints" / f"{job.checkpoint_name(run.name, steps)}.safetensors"


def _has_final(run: Run) -> bool:
    try:
        return is_lora(read_header(_final(run)).tensors)
    except (LoraError, TrainingError):
        return False


def _note(writer: RunWriter, result: Outcome) -> Outcome:
    values: dict[str, Any] = {"error": result.message} if result.message else {}
    if result.lora is not None:
        values |= {"lora": result.lora.name, "path": str(result.lora)}
    writer.event(result.state, **values)
    writer.log(f"{result.state}: {result.lora or result.message}")
    return result


def publish(run: Run, loras: Path) -> Path:
    """Check the finished LoRA and put it where ComfyUI finds it, in one step.

    Raises:
        LoraError, TrainingError: where it is missing, damaged, or not of this architecture.
    """
    from safetensors.torch import load_file

    file = _final(run)
    header = read_header(file)
    about = run.about
    try:
        family, recipe = architecture(field(about, "architecture", str)), field(about, "recipe", dict)
    except JsonError as error:
        raise TrainingError(f"The run.json of {run.name} cannot be used: {error}.") from None
    check_keys(header, family, file.name)
    remarks = {name: value for name, value in header.metadata.items() if name != METADATA_KEY}
    return save_new(loras, run.name, load_file(str(file)), Recipe.from_json(recipe), remarks, once=True)


def check_keys(header: Header, family: Architecture, name: str) -> None:
    """
    Raises:
        TrainingError: where the names are not those that this architecture's LoRA has.
    """
    strange = [key for key in header.tensors if not key.startswith(family.prefixes)]
    if strange or not is_lora(header.tensors):
        shown: Sequence[str] = strange[:1] or list(header.tensors)[:1]
        raise TrainingError(f"{name} is no LoRA for {family.title}: it holds {', '.join(shown) or 'nothing'}.")


def sweep(runs: Path, loras: Path) -> list[tuple[Run, Outcome]]:
    """Settle every run whose process is gone, and end what such processes left behind; for the start of ComfyUI."""
    supervise.sweep(runs)
    settled = []
    for folder in sorted(path.parent for path in runs.glob(f"*/{supervise.RECORD}")):
        run = Run(folder)
        if (
            run.state == run_folder.STARTED
            and supervise.find(folder) is None
            and not supervise.on_other_machine(folder)
        ):
            with contextlib.suppress(TrainingError):  # its disk is full or gone; the others are settled
                settled.append((run, settle_soon(run, loras)))
    return settled
