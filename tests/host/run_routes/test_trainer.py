"""The trainer's installation, and how many processes train together."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from incontext_lora.tests.route_client import Client
from incontext_lora.training.sd_scripts import environment, installing
from incontext_lora.training.sd_scripts.processes import Processes


@pytest.fixture
def trainer_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCONTEXT_LORA_DATA", str(tmp_path))
    return tmp_path / "trainer"


def test_what_an_installation_takes_is_said_before(client: Client, trainer_folder: Path) -> None:
    status, told = client.get("trainer")
    assert status == 200
    assert not told["installed"]
    assert not told["busy"]
    assert told["download"] > 0
    assert told["disk"] > told["download"]
    assert told["folder"] == str(trainer_folder)
    assert not trainer_folder.exists(), "asking makes nothing"


def test_an_installation_is_started_once_and_watched(
    client: Client, trainer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time; print('fetching', flush=True); time.sleep(1.5); print('failed: no network')"
    monkeypatch.setattr(installing, "command", lambda action: (sys.executable, "-c", slow))
    status, told = client.post("trainer", {"action": "install"})
    assert (status, told["busy"]) == (200, True)
    status, answer = client.post("trainer", {"action": "install"})
    assert status == 400
    assert "already" in answer["error"]
    deadline = time.monotonic() + 30
    while told["busy"] and time.monotonic() < deadline:
        time.sleep(0.1)
        told = client.get("trainer")[1]
    assert told["log"] == ["fetching", "failed: no network"]
    assert not told["installed"]


def test_the_real_check_says_what_is_missing(client: Client, trainer_folder: Path) -> None:
    client.post("trainer", {"action": "check"})
    deadline = time.monotonic() + 60
    while client.get("trainer")[1]["busy"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "not installed" in " ".join(client.get("trainer")[1]["log"])


def test_an_installed_trainer_is_known(client: Client, trainer_folder: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "train_network.py").touch()
    environment.remember(environment.Trainer(Path(sys.executable), checkout, "abc", True, {}), trainer_folder)
    told = client.get("trainer")[1]
    assert (told["installed"], told["problem"], told["checkout"]) == (True, "", str(checkout))


def test_how_many_processes_train_together(client: Client, trainer_folder: Path) -> None:
    told = client.get("trainer")[1]
    assert told["processes"] == {"count": 1, "machines": 1, "rank": 0, "address": "127.0.0.1", "port": 29500}
    assert told["cards"] == 0
    status, told = client.post("trainer/processes", {"count": 4, "machines": 2, "address": "gpu-1", "rank": 1})
    assert status == 200
    assert told["processes"] == {"count": 4, "machines": 2, "rank": 1, "address": "gpu-1", "port": 29500}
    assert Processes.load(trainer_folder / "processes.json") == Processes(4, 2, 1, "gpu-1")
    for values, said in (
        ({"count": 3}, "Choose a multiple of 2"),
        ({"address": "--config_file=/tmp/x"}, "host name or an IP address"),
        ({"config": "/tmp/x"}, "'config' cannot be set"),
    ):
        status, told = client.post("trainer/processes", values)
        assert (status, said in told["error"]) == (400, True), told
    assert Processes.load(trainer_folder / "processes.json") == Processes(4, 2, 1, "gpu-1"), "nothing was kept of those"
    (trainer_folder / "processes.json").write_text("{")
    assert "cannot be read" in client.get("trainer")[1]["processes_problem"]
    assert client.post("trainer/processes", {"count": 2})[1]["processes_problem"] == ""
    assert Processes.load(trainer_folder / "processes.json") == Processes(2)
