"""Folders in the cache: no interruption leaves a half-built folder that is taken for a finished one."""

from __future__ import annotations

import errno
import importlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from incontext_lora.launcher.cache import cache_folder, find_cached, get_or_build
from incontext_lora.launcher.errors import SetupError
from incontext_lora.launcher.pack import ROOT
from incontext_lora.launcher.progress import Progress

# Makes a folder of ten files slowly, with the launcher's own means, and prints the finished folder.
MAKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from launcher import pack
pack.register()
from incontext_lora.launcher.cache import get_or_build
from incontext_lora.launcher.progress import Progress

def make(folder):
    print("making", flush=True)
    for number in range(10):
        (folder / f"{number}.txt").write_text("x")
        time.sleep(float(sys.argv[3]))

print(get_or_build(Path(sys.argv[2]), "key", make, Progress(quiet_for=0.3)), flush=True)
"""


@pytest.fixture
def quiet() -> Progress:
    return Progress(stream=io.StringIO())


def maker(parent: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, str(ROOT), str(parent), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestFoldersMadeWhole:
    def test_is_made_once(self, tmp_path: Path, quiet: Progress) -> None:
        calls: list[Path] = []
        first = get_or_build(tmp_path, "key", calls.append, quiet)
        assert get_or_build(tmp_path, "key", calls.append, quiet) == first
        assert calls == [first]
        assert find_cached(tmp_path, "key") == first

    def test_keys_do_not_share(self, tmp_path: Path, quiet: Progress) -> None:
        made = {get_or_build(tmp_path, key, lambda folder: None, quiet) for key in ("a", "b")}
        assert len(made) == 2
        assert all(folder.is_dir() for folder in made)

    @pytest.mark.parametrize("stamp", ["", "{", "[]", "{}", '{"folder": 3}', '{"folder": "key-gone"}'])
    def test_a_bad_stamp_makes_nothing_whole(self, tmp_path: Path, quiet: Progress, stamp: str) -> None:
        (tmp_path / "key.json").write_text(stamp)
        assert find_cached(tmp_path, "key") is None
        assert get_or_build(tmp_path, "key", lambda folder: None, quiet).is_dir()

    def test_a_failed_attempt_leaves_nothing(self, tmp_path: Path, quiet: Progress) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").mkdir()
            (folder / "half" / "file").write_text("x")
            raise SetupError("no")

        with pytest.raises(SetupError):
            get_or_build(tmp_path, "key", fail, quiet)
        assert names(tmp_path) == ["key.lock"]

    def test_an_unusable_cache_is_made_again(self, tmp_path: Path, quiet: Progress) -> None:
        def make(folder: Path) -> None:
            (folder / "python").write_text("x")

        first = get_or_build(tmp_path, "key", make, quiet)
        (first / "python").unlink()
        second = get_or_build(tmp_path, "key", make, quiet, lambda folder: (folder / "python").exists())
        assert (second / "python").exists()
        assert not first.exists()

    @pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
    @pytest.mark.parametrize("files_before", [0, 1, 5, 9])
    def test_killed_half_way(self, tmp_path: Path, quiet: Progress, files_before: int) -> None:
        process = maker(tmp_path, pause=0.1)
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("key-*/*"))) < files_before or not list(tmp_path.glob("key-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert list(tmp_path.glob("key-*")), "the killed attempt left its folder"
        assert find_cached(tmp_path, "key") is None

        with maker(tmp_path, pause=0) as again:
            output, _ = again.communicate(timeout=30)
        folder = Path(output.split()[-1])
        assert find_cached(tmp_path, "key") == folder
        assert len(names(folder)) == 10
        assert names(tmp_path) == sorted([folder.name, "key.json", "key.lock"])

    def test_two_at_the_same_time_make_one(self, tmp_path: Path) -> None:
        with maker(tmp_path, pause=0.15) as first:
            assert first.stdout is not None
            assert first.stdout.readline().strip() == "making"
            with maker(tmp_path, pause=0.15) as second:
                (one, _), (other, told) = first.communicate(timeout=30), second.communicate(timeout=30)
        assert "making" not in other, "the second one waited and used what the first had made"
        assert one.strip() == other.strip()
        assert "Waiting for another run.py" in told

    @pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
    def test_a_killed_holder_releases_the_lock(self, tmp_path: Path, quiet: Progress) -> None:
        holder = maker(tmp_path, pause=30)
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "making"
        holder.kill()
        holder.communicate()
        started = time.monotonic()
        get_or_build(tmp_path, "key", lambda folder: None, quiet)
        assert time.monotonic() - started < 5

    def test_a_file_system_without_locks_is_named_and_does_not_wait(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(file: object, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        system, function = ("msvcrt", "locking") if os.name == "nt" else ("fcntl", "flock")
        monkeypatch.setattr(importlib.import_module(system), function, refuse)
        shown = io.StringIO()
        assert get_or_build(tmp_path, "key", lambda folder: None, Progress(stream=shown)).is_dir()
        assert f"{tmp_path} is on a file system without locks" in shown.getvalue()


class TestCacheFolder:
    HOME = Path("/home/somebody")

    @pytest.mark.parametrize(
        ("system", "environment", "expected"),
        [
            ("linux", {}, HOME / ".cache" / "incontext-lora"),
            ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/incontext-lora")),
            ("darwin", {"XDG_CACHE_HOME": "/x"}, HOME / "Library" / "Caches" / "incontext-lora"),
            ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/incontext-lora")),
            ("win32", {}, HOME / "AppData" / "Local" / "incontext-lora"),
        ],
    )
    def test_is_the_systems(self, system: str, environment: dict[str, str], expected: Path) -> None:
        assert cache_folder(environment, system, self.HOME) == expected

    def test_can_be_named(self, tmp_path: Path) -> None:
        environment = {"INCONTEXT_LORA_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/x"}
        assert cache_folder(environment, "linux") == tmp_path.resolve()
