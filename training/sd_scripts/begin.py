"""Start a run, resume it, or help with it from another machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.strict_json import JsonError, field
from ...incontext.lora.recipe import Recipe
from ..runs import claims, run_folder, supervise
from ..runs.path_length import check_length
from ..runs.run_folder import Run, RunWriter
from . import data, job, launch, preflight, settle, space, states
from .machine import Machine, place_tokenizers
from .notes import describe_limits
from .order import TRAINER, Order, trained_recipe, trained_sizes


def start(
    order: Order, machine: Machine, go_on: Callable[[], None] = lambda: None
) -> tuple[Run, subprocess.Popen[bytes]]:
    """Start a run.

    Args:
        go_on: called while it prepares the data; raises to cancel.

    Raises:
        TrainingError: if it cannot start; the message says why.
    """
    return _start(order, trained_recipe(order), machine, job.Segment(weights=order.weights), go_on)


def _start(
    order: Order, recipe: Recipe, machine: Machine, segment: job.Segment, go_on: Callable[[], None]
) -> tuple[Run, subprocess.Popen[bytes]]:
    check_length(machine.runs, run_folder.safe_name(order.name))
    writer = RunWriter.create(
        machine.runs,
        order.name,
        {
            "trainer": TRAINER,
            "name": order.name,
            "commit": machine.trainer.commit,
            **replace(order, recipe=recipe).to_json(),
        },
    )
    run = writer.run
    try:
        with claims.attending(run.folder), claims.deciding(run.folder), _ending(writer):
            return run, _begin(order, recipe, machine, writer, segment, go_on)
    finally:
        writer.close()


def resume(run: Run, machine: Machine, go_on: Callable[[], None] = lambda: None) -> subprocess.Popen[bytes]:
    """Resume a run that was stopped or interrupted, from its last saved state.

    Until its process is started, no other process can resume, settle or end the run.

    Raises:
        TrainingError: if it is running, finished, has no state, or another process is resuming it.
    """
    _ = run.about  # raises for a folder that is not a run, before a lock is made there
    with claims.deciding(run.folder, claims.BRIEF), claims.attending(run.folder):
        if supervise.find(run.folder) is not None:
            raise TrainingError(f"{run.name} is still running; watch it, or stop it first.")
        order = Order.read(run, machine.models)
        other = supervise.on_other_machine(run.folder)
        if other and run.state == run_folder.STARTED:
            raise TrainingError(f"{run.name} is running on {other}, according to its folder. Resume it there.")
        supervise.kill(run.folder)
        if run.state == run_folder.STARTED:  # it ended unobserved
            settle.settle_locked(run, machine.loras, None, stopped=False)
        if run.state == run_folder.FINISHED:
            raise TrainingError(f"{run.name} is finished. Choose its LoRA under continue_from to train it further.")
        state, step = _last_state(run)
        if step > order.settings.steps:
            raise TrainingError(
                f"The saved state of {run.name} is from step {step}, but its run.json has {order.settings.steps} steps. Start "
                "the training again."
            )
        writer = RunWriter(run)
        try:
            with _ending(writer):
                segment = job.Segment(_next_segment(run), step, state, order.weights)
                return _begin(order, order.recipe, machine, writer, segment, go_on)
        finally:
            writer.close()


@contextlib.contextmanager
def _ending(writer: RunWriter) -> Iterator[None]:
    """Record why a run did not start."""
    try:
        yield
    except TrainingError as error:
        writer.end(run_folder.FAILED, error=str(error))
        raise
    except OSError as error:
        place = error.filename or writer.run.folder
        message = (
            f"{place} cannot be used: {error.strerror or error}. Check its permissions, and that its disk is connected."
        )
        writer.end(run_folder.FAILED, error=message)
        raise TrainingError(message) from error
    except BaseException:  # the user cancelled, and go_on raised
        writer.end(run_folder.CANCELLED)
        raise


def join(run: Run, machine: Machine, go_on: Callable[[], None] = lambda: None) -> tuple[Run, subprocess.Popen[bytes]]:
    """Resume a run on this machine. Any machine but the first helps with the run, from a run folder of its own.

    Args:
        run: the run; for a helping machine, the first machine's run on a shared disk.

    Raises:
        TrainingError: as `resume`.
    """
    if machine.processes.is_first:
        return run, resume(run, machine, go_on)
    order = Order.read(run, machine.models)
    state, step = _last_state(run)
    segment = job.Segment(first_step=step, state=state, weights=order.weights)
    helping = replace(order, name=f"{run.name}-machine-{machine.processes.rank}")
    return _start(helping, order.recipe, machine, segment, go_on)


def _last_state(run: Run) -> tuple[Path, int]:
    saved = states.find_last(run)
    if saved is None:
        raise TrainingError(
            f"{run.name} has no saved state to resume from. Start it again, or continue its last checkpoint in a new training."
        )
    return saved


def _next_segment(run: Run) -> int:
    """The next number that no segment of the run has used."""
    begun = [int(path.name[4:]) for path in run.folder.glob("job-*") if path.name[4:].isdecimal()]
    return max(begun, default=0) + 1


def _begin(
    order: Order, recipe: Recipe, machine: Machine, writer: RunWriter, segment: job.Segment, go_on: Callable[[], None]
) -> subprocess.Popen[bytes]:
    """Prepare the files of a segment, and start its process."""
    run = writer.run
    settings = order.settings.on(machine.computes_on)
    family = order.architecture
    layout = order.dataset.layout
    helps = {} if machine.processes.is_first else {"machine_rank": machine.processes.rank}
    began = {"steps": settings.steps, "segment": segment.number, "first_step": segment.first_step}
    writer.event(run_folder.STARTED, **began, **helps)
    writer.event(run_folder.PHASE, phase="preparing the data")
    encoders = preflight.encoder_size(family, order.files)
    for text in describe_limits(order, settings, machine.computes_on, encoders):
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
            *space.of_run(run.folder, machine.loras, settings, count),
            space.of_samples(run.folder, settings, sizes[0]),
            space.of_data(dataset, folder, family, sizes),
        ]
    )
    portions = data.prepare(dataset, family.name, sizes, settings.validation_sets, caches, go_on)
    for removed in data.prune(dataset.folder, {portions[0].images.parent, *_caches_in_use(machine.runs)}):
        writer.log(f"removed {removed.name}, {removed.size / 1e9:.2f} GB, which no recent training has used")
    prompts = [item.caption for item in dataset.items[-max(1, settings.samples) :]]
    place_tokenizers(family, machine.comfyui, machine.tokenizers)
    made = job.build(
        family,
        settings,
        order.files,
        portions,
        prompts,
        layout,
        order.dataset.references,
        run=run.folder,
        tokenizers=machine.tokenizers,
        segment=segment,
        workers=0 if machine.on_cpu else 2,
        encoders=encoders,
    )
    folder = run.folder / f"job-{segment.number}"
    text = json.dumps(recipe.to_json(), ensure_ascii=False, separators=(",", ":"))
    with explain_write_errors(folder, TrainingError):
        try:
            folder.mkdir()  # fails if another machine was first, on a file system without locks
        except FileExistsError:
            raise TrainingError(f"Another process is already resuming {run.name}. Watch it instead.") from None
        job.write(replace(made, extra={**made.extra, "recipe": text}), folder)
    processes = replace(machine.processes, cpu=machine.processes.cpu or machine.on_cpu)
    what = launch.build(
        machine.trainer,
        folder,
        processes,
        os.environ,
        offline=not family.fetched,
        runner=machine.runner,
        cards=machine.cards,
    )
    process = supervise.start(what, run.folder)
    writer.log(f"segment {segment.number} from step {segment.first_step} of {settings.steps}, process {process.pid}")
    return process


def _caches_in_use(runs: Path) -> Iterator[Path]:
    """Folders of prepared data that running trainings use."""
    for path in runs.glob(f"*/{supervise.RECORD}"):
        if supervise.find(path.parent):
            for described in path.parent.glob("job-*/job.json"):
                with contextlib.suppress(OSError, JsonError):  # being written, or an older version's
                    yield Path(field(strict_json.read_object(described), "cache", str))
