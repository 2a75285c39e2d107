"""Names of runs, samples and datasets lead to no other folder, to be read or changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests.past_runs import past_run
from incontext_lora.tests.route_client import Client

if TYPE_CHECKING:
    from conftest import HostPack

ESCAPES = [
    "..",
    ".",
    "%2e%2e",
    "..%2foutside",
    "%2e%2e%2fincontext_datasets",
    "%2fetc",
    "nowhere",
    "..%5coutside",
    "%00",
    "%ED%A0%80",
    "%FF",
    "x" * 300,
    "%F0%9F%98%80" * 100,
    "~nosuchuser",
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("path", ["runs/{}", "runs/{}/log", "runs/{}/samples/run.json", "datasets/{}", "datasets/{}/x"])
def test_names_lead_nowhere_else(client: Client, host: HostPack, dataset: Dataset, path: str, name: str) -> None:
    outside = host.base / "output" / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "run.json").write_text("{}")
    status, answer = client.get(path.format(name))
    assert status in (400, 404, 405) or answer == {"dataset": None}
    assert "traceback" not in str(answer).lower()


@pytest.mark.parametrize("file", ["..%2frun.json", "run.json", "%2fetc%2fpasswd", "gone.png"])
def test_only_samples_are_sent(client: Client, runs: Path, file: str) -> None:
    past_run(runs, "closed")
    assert client.get(f"runs/closed/samples/{file}")[0] == 404


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("action", ["delete", "label", "folder"])
def test_no_other_folder_is_touched(client: Client, host: HostPack, dataset: Dataset, action: str, name: str) -> None:
    outside = host.base / "output" / "outside-runs"
    outside.mkdir(exist_ok=True)
    (outside / "run.json").write_text("{}")
    assert client.post(f"runs/{name.replace('outside', 'outside-runs')}/{action}", {"note": "x"})[0] in (400, 404, 405)
    assert [path.name for path in outside.iterdir()] == ["run.json"]
    assert (dataset.folder).is_dir()


def test_a_link_to_another_folder_is_not_deleted(client: Client, runs: Path, tmp_path: Path) -> None:
    elsewhere = past_run(tmp_path, "elsewhere")
    try:
        (runs / "linked").symlink_to(elsewhere.folder, target_is_directory=True)
    except OSError:
        pytest.skip("This system makes no links.")
    assert client.post("runs/linked/delete")[0] == 400
    assert (elsewhere.folder / "run.json").is_file()
    (runs / "linked").unlink()
