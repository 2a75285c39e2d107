"""Build a dataset: one set at a time, so that memory does not grow with their number.

An item is written only where its content is new, and each file appears in one step. The manifest comes last but for the
removal of what it no longer lists; whoever stops a build leaves the dataset before it as it was.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DatasetError
from ..files import names
from ..files.atomic import TEMPORARY
from ..files.strict_json import shown
from ..lora.recipe import Recipe
from . import manifest, sheet
from .files import LOCK, exclusive, make_folder, remove_quietly, write_atomic
from .item import Counters, Job, Ledger, add_set
from .manifest import Dataset
from .options import BuildOptions
from .report import Finding, Level, Report, grouped, printable
from .scan import Scan, scan

FEWEST, MOST = 20, 100  # sets; the range for which the method is described

_OWN = {manifest.MANIFEST, manifest.ITEMS, manifest.MASKS, manifest.CONTACT_SHEET, manifest.REPORT_TEXT}
_OWN |= {manifest.REPORT_JSON, LOCK}
_SHOWN = 10  # findings in the message when nothing could be built


class BuildCancelled(DatasetError):
    """The build was asked to stop; the dataset before it is as it was."""


def build(
    source: Path,
    target_root: Path,
    recipe: Recipe,
    options: BuildOptions = BuildOptions(),  # noqa: B008  (frozen)
    *,
    count_tokens: Counters | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Make a dataset of the sets in a folder.

    Args:
        source: the folder of sets, in any of the shapes that `scan` knows. It is only read.
        target_root: where datasets lie; this one comes into a folder of its own there.
        recipe: layout, prefix and markers.
        options: how images are fitted, which panels are references, how it is called.
        count_tokens: encoder → function that counts a caption's tokens; captions over a limit are reported.
        progress: called with the number of sets that are done and of all.
        cancelled: asked between sets; True stops the build.

    Returns:
        The dataset, with the report. Everything that is wrong with a single set is in the report, and the set left out.

    Raises:
        DatasetError: if the folders cannot be used, or no set is left.
        BuildCancelled: if `cancelled` returned True.
    """
    name = dataset_name(source, options.name)
    options = replace(options, name=name, references=manifest.check_references(options.references, recipe.layout))
    folder = target_root / name
    _check_places(source, folder)
    found = scan(source, recipe, options.shape)
    if not found.sets:
        raise DatasetError(_nothing_found(source, found, recipe))

    def go_on() -> None:
        if cancelled and cancelled():
            raise BuildCancelled("The build was cancelled; the dataset that was there before is unchanged.")

    for each in (folder, folder / manifest.ITEMS, *([folder / manifest.MASKS] if options.references else [])):
        make_folder(each)
        if not each.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f"{each} is a link to a place outside the dataset. Remove it, or choose another name.")
    with exclusive(folder, go_on):
        before = _before(folder)
        earlier = {item.id: item for item in before.items} if before else {}
        job = Job(source, folder, recipe, options, found.shape, count_tokens or {}, earlier)
        ledger = Ledger(findings=list(found.findings))
        for done, files in enumerate(found.sets):
            go_on()
            if progress:
                progress(done, len(found.sets))
            add_set(files, job, ledger)
        go_on()
        if progress:
            progress(len(found.sets), len(found.sets))
        if not ledger.items:
            raise DatasetError(_nothing_built(source, found, recipe, ledger.findings))
        ledger.findings += _of_the_whole(ledger)
        dataset = _finished(job, found, ledger)
        _write(dataset, before)
        _remove_stale(dataset)
    return dataset


def dataset_name(source: Path, name: str = "") -> str:
    """What a dataset is called: as chosen, else as its folder of sets.

    Raises:
        DatasetError: if it cannot be the name of a folder.
    """
    return checked_name(name or source.resolve().name)


def checked_name(name: str) -> str:
    """A name that is a folder's name on every system.

    Raises:
        DatasetError: if it is not.
    """
    kept = name.rstrip(".")
    reason = names.problem(kept)
    if reason:
        raise DatasetError(
            f"The dataset cannot be called {shown(name)}: {reason}. Use letters, digits, spaces and - or _, for example "
            "'my-shots'."
        )
    return kept


# --- files ----------------------------------------------------------------------------------------------------------


def _write(dataset: Dataset, before: Dataset | None) -> None:
    """Contact sheet and reports, then the manifest, which makes the new dataset the one that is read."""
    folder = dataset.folder
    unchanged = before is not None and [(i.set, i.id) for i in before.items] == [(i.set, i.id) for i in dataset.items]
    if not (unchanged and dataset.contact_sheet.is_file()):
        thumbnails = ((item.set, dataset.image(item)) for item in dataset.items)
        data = sheet.contact_sheet(thumbnails, len(dataset), dataset.layout.width / dataset.layout.height)
        write_atomic(dataset.contact_sheet, data)
    write_atomic(folder / manifest.REPORT_TEXT, dataset.report.text().encode())
    write_atomic(folder / manifest.REPORT_JSON, _json(dataset.report.to_json()))
    write_atomic(folder / manifest.MANIFEST, _json(dataset.to_json()), durable=True)


def _json(data: object) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode("utf-8", manifest.ODD_NAMES)


def _remove_stale(dataset: Dataset) -> None:
    """Delete items that are no longer listed, with whatever trainers cached beside them under their names."""
    listed = {item.id for item in dataset.items}
    masked = {item.id for item in dataset.items if item.masked}
    for folder, ids in ((dataset.folder / manifest.ITEMS, listed), (dataset.folder / manifest.MASKS, masked)):
        for path in list(folder.iterdir()) if folder.is_dir() else ():
            match = re.match(r"(\.?)([0-9a-f]{32})(?![0-9a-f])", path.name)
            left_over = match and match[1] and path.name.endswith(TEMPORARY)
            if match and (left_over or (not match[1] and match[2] not in ids)):
                remove_quietly(path)
    for path in dataset.folder.glob(f".*{TEMPORARY}"):
        remove_quietly(path)


def _before(folder: Path) -> Dataset | None:
    """The dataset of the build before; None where there is none that can be used."""
    try:
        return Dataset.read_manifest(folder)
    except ValueError:  # absent, damaged or of another version: everything is built again
        return None


def _check_places(source: Path, folder: Path) -> None:
    """Refuse folders in which writing would touch what is not ours."""
    real_source, real_folder = Path(os.path.realpath(source)), Path(os.path.realpath(folder))
    if real_folder.is_relative_to(real_source) or real_source.is_relative_to(real_folder):
        raise DatasetError(
            f"The sets in {source} and the dataset in {folder} lie within each other. Move the sets elsewhere, or "
            "choose another name."
        )
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is a file. Choose another name for the dataset.")
    if folder.is_dir() and not manifest.is_dataset(folder):
        ours = _OWN - {manifest.MANIFEST}
        foreign = [path.name for path in folder.iterdir() if path.name not in ours and path.suffix != TEMPORARY]
        if foreign:
            raise DatasetError(
                f"{folder} holds other files ({', '.join(sorted(foreign)[:3])}) but no dataset. Choose another name."
            )


# --- what is said about the whole -----------------------------------------------------------------------------------


def _finished(job: Job, found: Scan, ledger: Ledger) -> Dataset:
    removed = len(set(job.earlier) - {item.id for item in ledger.items})
    report = Report(
        name=job.options.name,
        source=str(job.source),
        shape=found.shape.value,
        found=len(found.sets),
        built=len(ledger.items),
        written=ledger.written,
        kept=len(ledger.items) - ledger.written,
        removed=removed,
        findings=tuple(ledger.findings),
    )
    return Dataset(job.folder, job.recipe, tuple(ledger.items), job.options, report)


def _of_the_whole(ledger: Ledger) -> list[Finding]:
    findings = []
    count = len(ledger.items)
    if count < FEWEST:
        findings.append(
            Finding(
                Level.WARNING,
                f"The dataset has {count} set{'s' * (count != 1)}; {FEWEST} to {MOST} are recommended. With so few, a LoRA "
                "memorises these sets rather than learning how the panels belong together.",
                "Add sets, or train for fewer steps and look at the samples.",
            )
        )
    if count > MOST:
        findings.append(
            Finding(
                Level.WARNING,
                f"The dataset has {count} sets; {FEWEST} to {MOST} are recommended. More do no harm, but they add little "
                "and take longer to train.",
                "Keep the most varied ones if time matters.",
            )
        )
    for encoder, number in ledger.coarse.items():
        problem = (
            f"{number} of {count} captions are longer than {encoder} reads at once; it gives the overall tone, the other "
            "encoder reads all. That is why prefix and summary come first."
        )
        findings.append(Finding(Level.NOTE, problem))
    return findings


def _nothing_found(source: Path, found: Scan, recipe: Recipe) -> str:
    return _with_findings(f"There are no image sets in {source}. {_looked_for(recipe)}", found.findings)


def _nothing_built(source: Path, found: Scan, recipe: Recipe, findings: Sequence[Finding]) -> str:
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    head = f"None of the {len(found.sets)} sets in {source} (read as {found.shape.value}) can be used."
    return _with_findings(f"{head} {_looked_for(recipe)}", errors)


def _looked_for(recipe: Recipe) -> str:
    panels = len(recipe.layout)
    return (
        f"Expected: one folder per set, with {panels} numbered images and caption.txt; or files such as hero_1.png to "
        f"hero_{panels}.png with hero.txt; or ready-made composites of {panels} panels, each with a .txt of its name."
    )


def _with_findings(text: str, findings: Sequence[Finding]) -> str:
    lines = grouped(findings)
    shown = [f"- {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"- and {len(lines) - _SHOWN} more")
    return printable("\n".join([text, *shown]))
