"""The command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from incontext_lora.launcher.arguments import parse
from incontext_lora.launcher.pack import ROOT
from incontext_lora.launcher.trainer import SD_SCRIPTS


class TestCommandLine:
    def test_demo_passes_on_what_it_does_not_know(self) -> None:
        options, extra = parse(["demo", "--out", "x", "--sets", "40"])
        assert options.out == Path("x")
        assert extra == ["--sets", "40"]

    def test_test_takes_kinds_and_options_for_pytest(self) -> None:
        options, extra = parse(["test", "unit", "js", "--", "-k", "name"])
        assert options.kinds == ["unit", "js"]
        assert extra == ["-k", "name"]

    def test_an_unknown_kind_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["test", "units"])
        assert "'units'. Choose from unit, host" in capsys.readouterr().err

    def test_serve(self) -> None:
        options, extra = parse(["serve", "--port", "9", "--listen", "--lowvram"])
        assert (options.port, options.listen, extra) == (9, "0.0.0.0", ["--lowvram"])
        assert parse(["serve"])[0].listen is None

    def test_the_trainers_source_can_be_named_for_those_who_click(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert parse(["trainer", "install"])[0].source == SD_SCRIPTS
        monkeypatch.setenv("INCONTEXT_LORA_SD_SCRIPTS", "/a/mirror")
        assert parse(["trainer", "install"])[0].source == "/a/mirror"
        assert parse(["trainer", "install", "--source", "/another"])[0].source == "/another"

    def test_bench(self) -> None:
        options, _ = parse(["bench", "demo.sets_5", "start.added_ms", "--json", "b.json"])
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
