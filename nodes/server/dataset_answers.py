"""What run_routes.py answers about built datasets. Loaded with the first question."""

from __future__ import annotations

import io

from PIL import Image

from ...incontext.dataset.manifest import MANIFEST, Dataset
from ...incontext.dataset.report import Finding
from ...incontext.errors import DatasetError
from ...incontext.files.images import open_image
from .. import host
from .routes import Json
from .subfolder import subfolder

THUMBNAIL = 448  # pixels of the longer side


def dataset(name: str) -> Json:
    """The sets of a dataset with the build's findings for each; findings without a set concern the whole dataset.

    ``{"dataset": None}`` if there is none yet, which is not an error: the node asks before it has run.
    """
    folder = subfolder(host.output_folder("incontext_datasets"), name)
    if folder is None or not (folder / MANIFEST).is_file():
        return {"dataset": None}
    found = Dataset.read_manifest(folder)
    findings: dict[str, list[Finding]] = {}
    for finding in found.report.findings:
        findings.setdefault(finding.set, []).append(finding)
    built = {item.set for item in found.items}
    shown = {
        "name": found.name,
        "headline": found.report.headline,
        "width": found.layout.width,
        "height": found.layout.height,
        "sets": [
            {
                "name": item.set,
                "id": item.id,
                "caption": item.caption,
                "findings": [finding.to_json() for finding in findings.get(item.set, ())],
            }
            for item in found.items
        ],
        "left_out": [
            {"name": set_name, "findings": [finding.to_json() for finding in said]}
            for set_name, said in findings.items()
            if set_name and set_name not in built
        ],
        "findings": [finding.to_json() for finding in findings.get("", ())],
    }
    return {"dataset": shown}


def find_dataset(name: str) -> Dataset:
    """
    Raises:
        DatasetError: if there is none right below the folder of datasets.
    """
    folder = subfolder(host.output_folder("incontext_datasets"), name)
    if folder is None or not folder.is_dir():
        raise DatasetError(f"There is no dataset {name!r} in output/incontext_datasets. Build it with Build Dataset.")
    return Dataset.read_manifest(folder)


def thumbnail(name: str, item_id: str) -> bytes:
    """A small JPEG of a set's canvas.

    Raises:
        DatasetError: if the dataset has no such item, or its file is gone.
    """
    found = find_dataset(name)
    item = next((item for item in found.items if item.id == item_id), None)
    if item is None:
        raise DatasetError(f"The dataset {name!r} has no item {item_id!r}.")
    found.check_inside(found.image(item))
    buffer = io.BytesIO()
    try:
        with open_image(found.image(item)) as image:
            small = image.convert("RGB")
    except OSError as error:
        raise DatasetError(f"{found.image(item)} cannot be read: {error}. Build the dataset again.") from error
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=2)
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
