"""The trainer's part of `bench gpu` with small models: through the runner, killed, bare, and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from incontext_lora.launcher import pack
from incontext_lora.training.sd_scripts.environment import Trainer


def test_trainer_part_runs(trainer: Trainer, comfyui: Path, tmp_path: Path) -> None:
    command = pack.command(sys.executable, "bench", "gpu", "--tiny", "--parts", "trainer", "--seconds", "900")
    command += ["--trainer", str(trainer.python), str(trainer.checkout), "--lines", str(tmp_path / "lines.jsonl")]
    command += ["--work", str(tmp_path), "--base", str(tmp_path), "--comfyui", str(comfyui)]
    answer = subprocess.run(command, cwd=pack.ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    results = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [one for one in results if one.get("failed")] == []
    found = {each["figure"]: each for one in results for each in one["results"]}
    assert len(found["throughput"]["bare"]) == len(found["throughput"]["ours"][0]) == found["throughput"]["steps"] - 1
    assert found["stop"]["state"] == "cancelled"
    assert found["stop"]["resumable"]
    assert "gpu.trainer_ratio" in answer.stdout
