"""Processes that outlive the one that started them: known again after a step of the clock, and free of a console."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.training.runs import process, supervise
from incontext_lora.training.sd_scripts import torch_device

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
HOUR = 3600.0


@pytest.fixture
def sleeper() -> Any:
    with subprocess.Popen(SLEEP) as started:
        yield started
        started.kill()


@pytest.mark.skipif(
    sys.platform != "linux", reason="the clock's step is emulated where Linux notes the machine's start"
)
def test_a_change_of_the_clock_does_not_change_a_process(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set: the time of the machine's start moves, and psutil's times of all processes with it."""
    supervise.note(tmp_path, sleeper.pid)
    before = psutil.Process(sleeper.pid).create_time()
    began = psutil.boot_time()
    for step in (-HOUR, 2.0, HOUR):
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda step=step: began + step)
        monkeypatch.setattr("psutil._pslinux.BOOT_TIME", began + step, raising=False)  # older psutil
        assert psutil.Process(sleeper.pid).create_time() == pytest.approx(before + step, abs=0.1), "the emulation"
        found = supervise.find(tmp_path)
        assert found is not None
        assert found.pid == sleeper.pid
    sleeper.kill()
    sleeper.wait()
    assert supervise.find(tmp_path) is None


def test_a_record_of_an_earlier_version_is_still_understood(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    created = psutil.Process(sleeper.pid).create_time()
    record = tmp_path / supervise.RECORD
    record.write_text(json.dumps({"pid": sleeper.pid, "created": created, "machine": "m", "booted": 1.0}))
    assert supervise.find(tmp_path) is not None
    record.write_text(json.dumps({"pid": sleeper.pid, "created": created - 100, "machine": "m", "booted": 1.0}))
    assert supervise.find(tmp_path) is None


def test_a_process_that_ended_before_it_was_recorded_is_not_found(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    sleeper.kill()
    sleeper.wait()
    supervise.note(tmp_path, sleeper.pid)
    record = json.loads((tmp_path / supervise.RECORD).read_text())
    assert record["birth"] == ""
    (tmp_path / supervise.RECORD).write_text(json.dumps({**record, "pid": os.getpid()}))  # the pid is given out again
    assert supervise.find(tmp_path) is None


class TestBirth:
    def test_on_linux_it_is_counted_from_the_machines_start(self, tmp_path: Path) -> None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "stat").write_text("7 (a) name (with 3 brackets) S 1 " + " ".join(map(str, range(5, 53))))
        assert process.birth(7, "linux", tmp_path) == " 22"  # field 22 is starttime, as proc(5) counts
        (tmp_path / "sys" / "kernel" / "random").mkdir(parents=True)
        (tmp_path / "sys" / "kernel" / "random" / "boot_id").write_text("9eb5-d549\n")
        assert process.birth(7, "linux", tmp_path) == "9eb5-d549 22"
        assert process.birth(8, "linux", tmp_path) == ""

    @pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
    def test_elsewhere_ps_says_it(self, sleeper: subprocess.Popen[bytes]) -> None:
        said = process.birth(sleeper.pid, "darwin")
        assert len(said.split()) == 5, "weekday, month, day, time, year"
        assert process.birth(sleeper.pid, "darwin") == said
        sleeper.kill()
        sleeper.wait()
        assert process.birth(sleeper.pid, "darwin") == ""

    def test_on_windows_the_system_noted_it(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert float(process.birth(sleeper.pid, "win32")) == pytest.approx(
            psutil.Process(sleeper.pid).create_time(), abs=0.001
        )


class TestConsole:
    def test_flags(self) -> None:
        """The values of Microsoft's "Process Creation Flags"."""
        assert process.creation_flags("linux") == [0]
        assert process.creation_flags("darwin") == [0]
        first, second = process.creation_flags("win32")
        assert first == 0x01000000 | 0x08000000 | 0x00000200
        assert second == 0x08000000 | 0x00000200
        assert not first & 0x00000008, "with DETACHED_PROCESS, CREATE_NO_WINDOW is ignored and children open windows"
        assert not first & 0x00000010, "with CREATE_NEW_CONSOLE, CREATE_NEW_PROCESS_GROUP is ignored"

    def test_a_job_that_refuses_breakaway(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[int] = []

        def popen(arguments: Any, *, creationflags: int, **_: Any) -> str:
            tried.append(creationflags)
            if creationflags & process.CREATE_BREAKAWAY_FROM_JOB:
                raise PermissionError(13, "Access is denied", None, 5)
            return "started"

        monkeypatch.setattr(process.subprocess, "Popen", popen)
        assert process.start_detached(SLEEP, tmp_path, {}, None, "win32") == "started"
        assert tried == process.creation_flags("win32")

    def test_a_program_that_may_not_be_run_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "program").write_text("no program")
        with pytest.raises(PermissionError):
            process.start_detached((str(tmp_path / "program"),), tmp_path, {}, subprocess.DEVNULL, "linux")

    @pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX's")
    def test_it_has_a_session_of_its_own(self, tmp_path: Path) -> None:
        with (tmp_path / "output").open("wb") as output:
            started = process.start_detached(SLEEP, tmp_path, os.environ, output)
        try:
            assert os.getsid(started.pid) == started.pid != os.getsid(0)
        finally:
            started.kill()
            started.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="the interpreter is a shell script")
def test_a_trainer_that_speaks_another_code_page_is_still_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a Chinese or German Windows writes is not UTF-8; and ComfyUI's own Python settings are not the trainer's."""
    folder = tmp_path / "Ünï côdé 数据"
    folder.mkdir()
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\nprintf 'DLL \\326\\320\\316\\304 fehlt' >&2\n[ -z \"$PYTHONHOME$PYTHONPATH\" ] && exit 3\n"
    )
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", "/of/comfyui")
    monkeypatch.setenv("PYTHONHOME", "/of/comfyui")
    with pytest.raises(TrainingError, match=r"The trainer's torch does not start: DLL .* fehlt"):
        torch_device.has_gpu(python)
