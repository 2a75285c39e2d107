"""The summary of `run.py test`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from incontext_lora.launcher import checks
from incontext_lora.launcher.checks import StepResult
from incontext_lora.launcher.comfyui import Host
from incontext_lora.launcher.progress import Progress
from incontext_lora.launcher.work import Work


class TestSummary:
    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (StepResult("unit", 0, 2.4), "unit passed 2 s"),
            (StepResult("e2e", 1, 60.0), "e2e FAILED 60 s (exit code 1)"),
            (StepResult("js", None, reason="node is not installed"), "js skipped node is not installed"),
        ],
    )
    def test_one_line_a_step(self, step: StepResult, words: str) -> None:
        assert " ".join(str(step).split()) == words

    def test_every_step_runs_and_one_failure_fails_all(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        host = Host(Path(sys.executable), tmp_path, managed=True)
        monkeypatch.setattr(checks, "set_up", lambda: Work(host, tmp_path, tmp_path, 0.0, Progress()))
        # the tools are where this very pytest is
        monkeypatch.setattr(checks, "get_or_build_tools", lambda *arguments: Path(pytest.__file__).parent.parent)
        monkeypatch.setattr(checks, "ROOT", tmp_path)
        for kind, text in {"unit": "def test_a(): assert False", "host": "def test_b(): pass"}.items():
            (tmp_path / "tests" / kind).mkdir(parents=True)
            (tmp_path / "tests" / kind / f"test_{kind}.py").write_text(text)
        code = checks.test(argparse.Namespace(kinds=["unit", "host", "browser"]), [])
        summary = capsys.readouterr().out.split("\n\n")[-1]
        assert code == 1
        assert [" ".join(line.split()[:2]) for line in summary.strip().splitlines()] == [
            "unit FAILED",
            "host passed",
            "browser skipped",
        ]
