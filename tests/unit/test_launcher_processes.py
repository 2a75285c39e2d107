"""Child processes: their environment, their exit codes and their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from incontext_lora.launcher.interpreters import tool_command
from incontext_lora.launcher.pack import ROOT
from incontext_lora.launcher.processes import child_environment, end_child, run_child


class TestChildren:
    def test_environment_tunes_memory_and_keeps_what_the_user_set(self) -> None:
        environment = child_environment({"MALLOC_TOP_PAD_": "1", "A": "b"}, C="d")
        assert environment["MALLOC_TOP_PAD_"] == "1"
        assert (environment["A"], environment["C"], environment["PYTHONUTF8"]) == ("b", "d", "1")

    def test_exit_codes_are_passed_through(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import sys; sys.exit(7)"]
        assert run_child(command, tmp_path, dict(os.environ)) == 7

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
    def test_a_signal_is_told_as_the_shell_does(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
        assert run_child(command, tmp_path, dict(os.environ)) == 137

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
        end_child(process, interrupted=False)
        assert process.poll() is not None
        assert done.exists()

    def test_the_checkout_is_not_on_the_path_of_tools(self, tmp_path: Path) -> None:
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "shown.py").write_text("import sys; print(sys.argv[1:], *sys.path, sep='\\n')")
        command = tool_command(Path(sys.executable), tools, "shown", "-q")
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        arguments, *path = answer.stdout.splitlines()
        assert arguments == "['-q']"
        assert path[-1] == str(tools)
        assert str(ROOT) not in path
        assert "" not in path
