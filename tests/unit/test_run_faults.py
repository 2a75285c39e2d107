"""Runs whose folder, disk or description is not as it should be, and two who want the same one at once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from incontext_lora.incontext.errors import InContextError, TrainingError
from incontext_lora.incontext.lora.lora_file import header_digest, save_new
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_place import flux_files, flux_order, safetensors, small_dataset, stand_in_place
from incontext_lora.training.runs import claims, monitor, run_folder
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import session, supervise

RECIPE = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
LORA = {"a.lora_down.weight": torch.ones(1, 2), "a.lora_up.weight": torch.ones(2, 1)}
HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
Start = Callable[..., tuple[Run, "subprocess.Popen[bytes]"]]


@pytest.fixture
def place(tmp_path: Path) -> session.Place:
    return stand_in_place(tmp_path / "here", tmp_path / "ComfyUI")


@pytest.fixture
def start(tmp_path: Path, place: session.Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
    files = flux_files(tmp_path / "models")
    runs: list[Run] = []

    def begin(changed: dict[str, Any] | None = None, **told: Any) -> tuple[Run, subprocess.Popen[bytes]]:
        monkeypatch.setenv("STAND_IN", json.dumps(told))
        run, process = session.start(flux_order(dataset, files, **(changed or {})), place)
        runs.append(run)
        return run, process

    yield begin
    for run in runs:
        supervise.kill(run.folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps that was stopped and can be resumed."""
    base = tmp_path_factory.mktemp("template")
    place = stand_in_place(base / "here", base / "ComfyUI")
    dataset = small_dataset(folder_sets(base / "sets", 3), base / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN", json.dumps({"pause": 0.05}))
        run, process = session.start(flux_order(dataset, flux_files(base / "models"), steps=12), place)
    until(lambda: any(event["event"] == run_folder.STEP for event in run.events()))
    session.stop(run, process)
    assert session.settle(run, place.loras, process.returncode, stopped=True).state == run_folder.CANCELLED
    return run.folder


@pytest.fixture
def stopped(template: Path, place: session.Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Such a run, of one test's own."""
    monkeypatch.setenv("STAND_IN", json.dumps({"pause": 0.02}))
    run = Run(place.runs / template.name)
    shutil.copytree(template, run.folder)
    yield run
    supervise.kill(run.folder)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def follow(run: Run, process: Any) -> int | None:
    return session.watch(run, process, session.EventTail(run), lambda event: None, pause=0.02)


class FullDisk:
    """Writes through a run's writer fail while it is on, as on a disk without space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        append = RunWriter._append

        def refuse(writer: RunWriter, file: Any, text: str) -> None:
            if self.on:
                with run_folder.written(writer.run.folder):
                    raise OSError(errno.ENOSPC, "No space left on device")
            append(writer, file, text)

        monkeypatch.setattr(RunWriter, "_append", refuse)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    monkeypatch.setattr(run_folder, "AGAIN", 0.05)
    return FullDisk(monkeypatch)


class TestTwoAtOnce:
    def test_of_many_resumes_one_starts_a_trainer(self, stopped: Run, place: session.Place) -> None:
        gate = threading.Barrier(6)

        def resume() -> Any:
            gate.wait()
            try:
                return session.resume(stopped, place)
            except TrainingError as error:
                return str(error)

        with ThreadPoolExecutor(6) as pool:
            results = [future.result() for future in [pool.submit(resume) for _ in range(6)]]
        processes = [result for result in results if not isinstance(result, str)]
        assert len(processes) == 1
        for said in (result for result in results if isinstance(result, str)):
            assert "still running" in said or "at this moment" in said
        assert follow(stopped, processes[0]) == 0
        began = [event["segment"] for event in stopped.events() if event["event"] == run_folder.STARTED]
        assert began == [1, 2]
        assert session.settle(stopped, place.loras, 0).state == run_folder.FINISHED
        assert stopped.losses() == [1 / step for step in range(1, 13)]

    @pytest.mark.skipif(os.name == "nt", reason="the other process uses fcntl")
    def test_another_process_holds_it_too(
        self, stopped: Run, place: session.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "BRIEF", 0.1)
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(stopped.folder / claims.LOCK)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match="at this moment"):
                session.resume(stopped, place)
        finally:
            other.communicate()
        process = session.resume(stopped, place)
        assert follow(stopped, process) == 0

    def test_who_is_about_to_be_done_is_waited_for(self, stopped: Run, place: session.Place) -> None:
        """A run is shown as stopped a moment before its watcher lets go of it."""
        held = threading.Event()

        def settle() -> None:
            with claims.deciding(stopped.folder):
                held.set()
                time.sleep(0.3)

        other = threading.Thread(target=settle)
        other.start()
        assert held.wait(10)
        assert follow(stopped, session.resume(stopped, place)) == 0
        other.join()

    def test_a_machine_without_locks_claims_the_segment(
        self, stopped: Run, place: session.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from incontext_lora.incontext.files import file_lock

        monkeypatch.setattr(file_lock, "acquire", lambda file, shared=False: None)
        monkeypatch.setattr(session, "_next_segment", lambda run: 2)
        (stopped.folder / "job-2").mkdir()
        with pytest.raises(TrainingError, match="by somebody else"):
            session.resume(stopped, place)
        assert supervise.find(stopped.folder) is None

    def test_a_watcher_of_the_first_part_settles_nothing_of_the_second(
        self, stopped: Run, place: session.Place
    ) -> None:
        process = session.resume(stopped, place)
        assert session.settle(stopped, place.loras, -9).state == run_folder.STARTED
        assert stopped.state == run_folder.STARTED
        assert follow(stopped, process) == 0

    def test_a_whole_run_that_nobody_settled_is_not_resumed(self, start: Start, place: session.Place) -> None:
        run, process = start()
        follow(run, process)
        with pytest.raises(TrainingError, match="is finished"):
            session.resume(run, place)
        assert (place.loras / "toy.safetensors").exists()

    def test_one_checkpoint_is_put_there_once(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "used", {"recipe": RECIPE.to_json()})
        file = writer.checkpoint(3, LORA, RECIPE).name
        bare = save_new(writer.run.folder / "checkpoints", "bare-step000004", LORA, None).name
        writer.close()
        for name in (file, bare):
            with ThreadPoolExecutor(8) as pool:
                used = list(
                    pool.map(lambda _, name=name: monitor.use_checkpoint(writer.run, name, tmp_path / "l"), range(8))
                )
            assert len(set(used)) == 1
        assert sorted(path.name for path in (tmp_path / "l").iterdir()) == [bare, file]


class TestTruth:
    """What is said of a run follows from its files, its process and its locks, not from the time."""

    def state(self, run: Run) -> str:
        return monitor.summary(run)["state"]

    def test_of_a_killed_trainer(self, start: Start, place: session.Place) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        assert self.state(run) == monitor.RUNNING
        with claims.attending(run.folder):  # as the node or the watcher does
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert self.state(run) == monitor.RUNNING, "its end is about to be written"
        assert self.state(run) == run_folder.INTERRUPTED, "at once, though it spoke a moment ago"

    @pytest.mark.parametrize("told", [{}, {"fail": "training"}])
    def test_of_a_run_that_ended_while_nobody_looked(
        self, start: Start, place: session.Place, told: dict[str, Any]
    ) -> None:
        run, process = start(**told)
        follow(run, process)
        before = self.state(run)
        session.settle(run, place.loras)
        assert self.state(run) in (before, run_folder.INTERRUPTED)
        assert before == (run_folder.INTERRUPTED if told else run_folder.FINISHED)

    def test_while_it_is_prepared(self, start: Start, place: session.Place, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        prepare = session.data.prepare
        monkeypatch.setattr(
            session.data,
            "prepare",
            lambda *rest: (seen.extend(self.state(Run(path)) for path in place.runs.iterdir()), prepare(*rest))[1],
        )
        start()
        assert seen == [monitor.RUNNING]

    def test_whatever_the_clock_says(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "clock", {})
        with claims.attending(writer.run.folder):
            writer.event(run_folder.STARTED)
        writer.close()
        for moment in (0, time.time(), time.time() + 9e6):
            os.utime(writer.run.folder / "events.jsonl", (moment, moment))
            assert self.state(writer.run) == run_folder.INTERRUPTED

    def test_in_comfyui_itself(self, tmp_path: Path) -> None:
        """ComfyUI's process goes on when the training is over; the lock tells them apart."""
        writer = RunWriter.create(tmp_path, "in-host", {"trainer": "in-host"})
        with claims.attending(writer.run.folder):
            supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD)
            writer.event(run_folder.STARTED)
            assert self.state(writer.run) == monitor.RUNNING
        assert self.state(writer.run) == run_folder.INTERRUPTED
        writer.close()

    def test_an_end_that_the_disk_refused_is_written_when_there_is_space(
        self, tmp_path: Path, full_disk: FullDisk
    ) -> None:
        writer = RunWriter.create(tmp_path, "full", {"trainer": "in-host"})
        with claims.attending(writer.run.folder):
            writer.event(run_folder.STARTED)
            full_disk.on = True
            with pytest.raises(TrainingError, match="No space left"):
                writer.event(run_folder.STEP, step=1, loss=0.5)
            writer.end(run_folder.FAILED, error="the disk is full")
            writer.close()
        assert self.state(writer.run) == run_folder.INTERRUPTED
        full_disk.on = False
        until(lambda: self.state(writer.run) == run_folder.FAILED, 5)
        assert monitor.summary(writer.run)["error"] == "the disk is full"

    def test_a_lora_is_published_when_there_is_space(
        self, start: Start, place: session.Place, full_disk: FullDisk
    ) -> None:
        run, process = start()
        follow(run, process)
        full_disk.on = True
        with pytest.raises(TrainingError, match="No space left"):
            session.settle_soon(run, place.loras, 0)
        assert self.state(run) == run_folder.FINISHED, "the trainer said so"
        full_disk.on = False
        until(lambda: run.state == run_folder.FINISHED, 5)
        assert [path.name for path in place.loras.iterdir()] == ["toy.safetensors"], "once, though it was tried again"

    def test_the_last_words_were_lost(self, start: Start, place: session.Place) -> None:
        """The disk was full when the trainer wrote that it is done; its LoRA is there."""
        run, process = start()
        follow(run, process)
        lines = (run.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
        (run.folder / "events.jsonl").write_bytes(b"".join(lines[:-1]) + b'{"event": "en')
        result = session.settle(run, place.loras, 0)
        assert (result.state, result.lora) == (run_folder.FINISHED, place.loras / "toy.safetensors")

    def test_what_a_trainer_forked_ends_with_it(self, start: Start, place: session.Place) -> None:
        run, process = start({"steps": 1000}, pause=0.05, fork=True)
        until(lambda: [line for line in supervise.tail(run.folder) if line.startswith("child")])
        child = next(int(line.split()[1]) for line in supervise.tail(run.folder) if line.startswith("child"))
        process.send_signal(signal.SIGKILL)
        session.settle(run, place.loras, follow(run, process))
        until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)

    def test_a_run_that_the_user_ended_was_not_killed(self, start: Start, place: session.Place) -> None:
        """Whoever watches its process may be the first to write down its end."""
        run, process = start({"steps": 1000}, pause=0.05, ignore=True)
        until(lambda: session.last_state(run))
        session.stop(run, None, patience=0)
        result = session.settle(run, place.loras, follow(run, process))
        assert result.state == run_folder.CANCELLED
        assert "killed" not in result.message
        again = session.resume(run, place)
        again.kill()
        again.wait()
        assert session.settle(run, place.loras, -9).state == run_folder.INTERRUPTED, "nobody ended it this time"


class TestKilledWhileItWrites:
    def test_half_a_checkpoint_is_not_shown_and_goes(self, start: Start, place: session.Place) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        process.kill()
        code = follow(run, process)
        for name in (".toy-step000002.part.safetensors", "..toy-step000002.part.converted.safetensors"):
            (run.folder / "checkpoints" / name).write_bytes(b"half")
        (run.folder / "state" / ".step000002.part").mkdir(parents=True)
        assert run.checkpoints == []
        assert monitor.checkpoints(run) == []
        assert session.settle(run, place.loras, code).state == run_folder.INTERRUPTED
        assert list((run.folder / "checkpoints").iterdir()) == []
        assert not list((run.folder / "state").glob(".*"))

    def test_comfyui_is_killed_before_it_knows_the_pid(
        self, start: Start, place: session.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The trainer trains, and nobody noted who it is."""

        class Killed(BaseException):
            pass

        started: list[subprocess.Popen[bytes]] = []
        begin = supervise.start_detached

        def killed(*rest: Any) -> Any:
            started.append(begin(*rest))
            raise Killed

        monkeypatch.setattr(supervise, "start_detached", killed)
        monkeypatch.setattr(RunWriter, "end", lambda *rest, **values: None)
        with pytest.raises(Killed):
            start({"steps": 1000}, pause=0.05)
        run = Run(next(place.runs.glob("toy")))
        until(lambda: any(event["event"] == run_folder.STEP for event in run.events()))
        assert monitor.summary(run)["state"] == monitor.RUNNING
        found = supervise.find(run.folder)
        assert found is not None
        assert found.pid == started[0].pid
        assert session.sweep(place.runs, place.loras) == [], "it goes on"
        session.stop(run, None)
        started[0].wait(10)
        assert session.settle(run, place.loras, None, stopped=True).state == run_folder.CANCELLED
        assert supervise.find(run.folder) is None

    def test_a_trainer_that_cannot_be_started_leaves_no_record(
        self, start: Start, place: session.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervise, "start_detached", refuse)
        with pytest.raises(TrainingError, match="cannot be started"):
            start()
        run = Run(next(place.runs.glob("toy")))
        assert (run.state, (run.folder / supervise.RECORD).exists()) == (run_folder.FAILED, False)


DAMAGED = [
    "[1]", "null", "{", "", "3", "[" * 100_000, '{"a":' * 100_000, '{"settings": {"steps": 1e999}}', '{"name": NaN}',
    '{"settings": []}', '{"settings": {"steps": "9"}}', '{"name": 3}', '{"name": "\\ud800"}', "\ufffe", " " * (5 << 20),
    '{"settings": {"steps": true}}', '{"trainer": null}', "9" * 5000, '{"settings": {"steps": ' + "9" * 30 + "}}",
]  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:20]))
    def test_a_damaged_run_is_listed_as_damaged(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "run.json").write_text(text)
        shown = monitor.summary(Run(tmp_path))
        assert (shown["state"], shown["resumable"]) == (monitor.DAMAGED, False)
        assert "run.json cannot be" in shown["error"]
        json.dumps(shown, allow_nan=False)
        assert monitor.layout(Run(tmp_path)) is None

    @pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:20]))
    def test_it_is_not_resumed(self, stopped: Run, place: session.Place, text: str) -> None:
        (stopped.folder / "run.json").write_text(text)
        with pytest.raises(InContextError):
            session.resume(stopped, place)
        assert supervise.find(stopped.folder) is None

    @pytest.mark.parametrize(
        "line",
        [
            b"[1]", b"null", b'{"event": 3}', b'{"event": null}', b"[" * 100_000, b'{"event": "step"}', b"\xff\xfe",
            b'{"event": "step", "step": "1", "loss": 2}', b'{"event": "step", "step": 1, "loss": "x"}',
            b'{"event": "step", "step": 1, "loss": [1e999]}', b'{"event": "failed", "error": {"a": NaN}}',
            b'{"event": "step", "step": ' + b"9" * 40 + b"}", b'{"event": "step", "step": ' + b"9" * 5000 + b"}",
            b'{"event": "sample", "file": 3}', b'{"event": "phase", "phase": null}', b'{"event": "' + b"x" * (3 << 20) + b'"}',
        ],
        ids=lambda line: repr(line[:40]),
    )  # fmt: skip
    def test_a_damaged_event_is_left_out(self, tmp_path: Path, line: bytes) -> None:
        writer = RunWriter.create(tmp_path, "events", {"settings": {"steps": 3}})
        writer.event(run_folder.STARTED)
        writer.event(run_folder.STEP, step=1, loss=float("nan"), smoothed=0.5)
        writer.close()
        with (writer.run.folder / "events.jsonl").open("ab") as file:
            file.write(line + b"\n")
        writer = RunWriter(writer.run)
        writer.event(run_folder.STEP, step=2, loss=0.25)
        writer.event(run_folder.CANCELLED)
        writer.close()
        assert [event["event"] for event in writer.run.events()] == ["started", "step", "step", "cancelled"]
        assert writer.run.losses()[1:] == [0.25]
        assert writer.run.state == run_folder.CANCELLED
        assert json.loads(json.dumps(monitor.summary(writer.run), allow_nan=False))["step"] == 2
        steps, offset, more = [], 0, True
        while more:
            news = monitor.news(writer.run, offset)
            json.dumps(news, allow_nan=False)
            assert news["offset"] > offset, "the page would ask for ever"
            offset, more = news["offset"], news["more"]
            steps += news["points"]["step"]
        assert steps == [1, 2]
        assert [event["event"] for event in session.EventTail(writer.run)] == ["started", "step", "step", "cancelled"]

    def test_a_line_without_an_end_is_passed_over(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "endless", {})
        writer.event(run_folder.STEP, step=1, loss=1.0)
        writer.close()
        with (writer.run.folder / "events.jsonl").open("ab") as file:
            file.write(b'{"event": "' + b"x" * (7 << 20))
        asked, offset, more = 0, 0, True
        while more:
            news = monitor.news(writer.run, offset)
            asked, offset, more = asked + 1, news["offset"], news["more"]
            assert asked < 10
        assert [event["event"] for event in session.EventTail(writer.run)] == ["step"]


def _with(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    about = run.about
    change(about)
    (run.folder / "run.json").write_text(json.dumps(about))


class TestResume:
    """What a start would not do, a run.json cannot ask for."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda about: about["files"].update(network_module="/tmp/x.py"), "none of them"),
            (lambda about: about["files"].update(resume="/tmp/x"), "none of them"),
            (lambda about: about["files"].pop("ae"), "'ae' is missing"),
            (lambda about: about["files"].update(ae="/etc/passwd"), "none of ComfyUI's model folders"),
            (lambda about: about["files"].update(ae=about["files"]["t5xxl"]), "needs the FLUX autoencoder"),
            (lambda about: about["files"].update(ae=["x"]), "should be a text"),
            (lambda about: about.update(continue_from="/etc/passwd"), "none of ComfyUI's model folders"),
            (lambda about: about["settings"].update(steps=10**9), "Steps is 1000000000"),
            (lambda about: about["settings"].update(steps=True), "Steps is True"),
            (lambda about: about["settings"].update(rank=10**6), "Rank is 1000000"),
            (lambda about: about["settings"].update(learning_rate="1"), "Learning rate is '1'"),
            (lambda about: about["settings"].update(network_args="x"), "cannot be read"),
            (lambda about: about["settings"].update(optimiser="os.system"), "cannot be read"),
            (lambda about: about["settings"].update(steps=1), "is of step"),
            (lambda about: about.update(architecture="../x"), "no architecture"),
            (lambda about: about.update(dataset={"folder": "/nowhere", "digest": "x"}), "holds no dataset"),
            (lambda about: about.update(recipe=3), "should be an object"),
            (lambda about: about.update(digests={}), "none of ComfyUI's model folders"),
        ],
    )  # fmt: skip
    def test_only_what_a_start_would_do(
        self, stopped: Run, place: session.Place, change: Callable[[dict[str, Any]], None], said: str
    ) -> None:
        _with(stopped, change)
        with pytest.raises(InContextError, match=said):
            session.resume(stopped, place)
        assert supervise.find(stopped.folder) is None
        assert stopped.state == run_folder.CANCELLED, "nothing changed"

    def test_files_in_comfyuis_folders_are_taken_from_older_runs(self, stopped: Run, place: session.Place) -> None:
        _with(stopped, lambda about: about.pop("digests"))
        models = Path(stopped.about["files"]["ae"]).parent
        process = session.resume(stopped, replace(place, models=(models,)))
        assert follow(stopped, process) == 0

    def test_another_file_of_the_name_is_noticed(self, stopped: Run, place: session.Place, tmp_path: Path) -> None:
        path = self.own_copy(stopped, tmp_path)
        path.write_bytes(path.read_bytes() + b"\0\0")
        with pytest.raises(InContextError, match="another file than when"):
            session.resume(stopped, place)

    def test_the_files_go_through_preflight_again(self, stopped: Run, place: session.Place, tmp_path: Path) -> None:
        path = safetensors(self.own_copy(stopped, tmp_path), ("something.else",))
        _with(stopped, lambda about: about["digests"].update({str(path): header_digest(path)}))
        with pytest.raises(InContextError, match=r"needs the FLUX autoencoder|of an unknown kind"):
            session.resume(stopped, place)

    def own_copy(self, run: Run, folder: Path) -> Path:
        """An autoencoder of this test's own, as the run knows it."""
        path = folder / "ae-copy.safetensors"
        shutil.copyfile(run.about["files"]["ae"], path)
        _with(run, lambda about: about["files"].update(ae=str(path)))
        _with(run, lambda about: about["digests"].update({str(path): header_digest(path)}))
        return path


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class TestDisk:
    def test_a_run_that_cannot_be_made_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(TrainingError, match="cannot be written"):
            RunWriter.create(tmp_path / "file" / "runs", "x", {})
        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(TrainingError, match="No space left on device"):
            RunWriter.create(tmp_path / "runs", "x", {})
        assert list((tmp_path / "runs").iterdir()) == []

    @pytest.mark.parametrize("function", ["replace", "fsync", "link"])
    def test_a_checkpoint_that_cannot_be_used_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        writer = RunWriter.create(tmp_path, "used", {"recipe": RECIPE.to_json()})
        file = writer.checkpoint(3, LORA, RECIPE).name
        writer.close()
        monkeypatch.setattr(os, function, refuse)
        if function == "replace":
            monkeypatch.setattr(os, "link", refuse)
        if function == "link":  # a file system without links; then it is renamed
            assert monitor.use_checkpoint(writer.run, file, tmp_path / "loras").name == file
            return
        with pytest.raises(InContextError, match="No space left on device"):
            monitor.use_checkpoint(writer.run, file, tmp_path / "loras")
        assert list((tmp_path / "loras").iterdir()) == []

    def test_a_folder_that_vanished_is_said(self, start: Start, place: session.Place) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        process.kill()
        process.wait()
        shutil.rmtree(run.folder)
        for act in (
            lambda: session.resume(run, place),
            lambda: supervise.request(run.folder, "stop"),
            lambda: monitor.use_checkpoint(run, "x.safetensors", place.loras),
            lambda: RunWriter(run),
        ):
            with pytest.raises(InContextError):
                act()

    def test_a_step_that_cannot_be_written_ends_the_line(self, tmp_path: Path) -> None:
        """What a full disk leaves of a line does not swallow the next one."""
        writer = RunWriter.create(tmp_path, "part", {})
        whole = writer._events

        class Partly:
            def write(self, data: bytes) -> int:
                return whole.write(data[: len(data) // 2])

        writer._events = Partly()  # type: ignore[assignment]
        with pytest.raises(TrainingError, match="No space left"):
            writer.event(run_folder.STEP, step=1, loss=1.0)
        writer._events = whole
        writer.event(run_folder.STEP, step=2, loss=0.5)
        writer.close()
        assert writer.run.losses() in ([0.5], []), "the line before is lost"
        writer = RunWriter(writer.run)
        writer.event(run_folder.CANCELLED)
        writer.close()
        assert writer.run.state == run_folder.CANCELLED


def test_an_end_that_is_written_while_a_run_is_looked_at_is_shown_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watcher writes down the end and goes, between reading the files and asking for him."""
    writer = RunWriter.create(tmp_path, "ends", {"trainer": "sd-scripts", "settings": {"steps": 9}})
    writer.event("started", steps=9)
    writer.event("ended", outcome="stopped")

    def gone(run: Path) -> bool:
        if writer.run.state == run_folder.STARTED:
            writer.event(run_folder.CANCELLED, error="Resume it from step 3.")
        return False

    monkeypatch.setattr(claims, "is_attended", gone)
    shown = monitor.summary(writer.run)
    writer.close()
    assert (shown["state"], shown["error"]) == ("cancelled", "Resume it from step 3.")
