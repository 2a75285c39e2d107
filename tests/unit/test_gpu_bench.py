"""What `bench gpu` makes of the parts' answers; the parts themselves are tried in host and training."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.bench.gpu import card, cards, parts, weights
from safetensors import safe_open

STEP = {"figure": "step", "precision": "bf16", "megapixels": "1.57", "references": "none"}
PEAKS = {"encoding": 9.5, "training": 31.25}
RESULTS: list[dict[str, Any]] = [
    {
        "part": "weights",
        "seconds": 20.0,
        "results": [
            {"figure": "machine", "card": "A card", "memory": "24", "torch": "2.11", "date": "2026-01-01", "limit": None}
        ],
    },
    {
        "part": "in_host_bf16",
        "seconds": 50.0,
        "failed": "not finished after 50 s",
        "results": [
            {**STEP, "seconds": [1.0, 1.5, 1.25], "peaks": PEAKS},
            {**STEP, "megapixels": "2.32", "failed": "OutOfMemoryError: CUDA out of memory", "peaks": PEAKS},
        ],
    },
    {
        "part": "presets",
        "seconds": 60.0,
        "results": [
            {"figure": "preset", "preset": "24 GB", "limit": 24.0, "peaks": PEAKS},
            {"figure": "preset", "preset": "8 GB", "limit": 8.0, "peaks": PEAKS, "failed": "encoding: out of memory\nx"},
        ],
    },
    {
        "part": "trainer",
        "seconds": 80.0,
        "results": [
            {"figure": "kill", "empty": 0.5},
            {"figure": "stop", "seconds": 3.0, "empty": None, "state": "cancelled", "resumable": True},
            {"figure": "throughput", "ours": [[1.0, 1.0], [1.2, 1.2]], "bare": [1.1, 1.1], "steps": 3, "optimiser": "AdamW"},
        ],
    },
]  # fmt: skip


def test_figures_are_what_was_measured() -> None:
    found = {figure.name: figure for figure in parts.figures(RESULTS)}
    assert found["gpu.step_seconds_bf16_1_57"].value == 1.25
    assert found["gpu.step_peak_bf16_1_57"].value == 31.25
    assert "gpu.step_seconds_bf16_2_32" not in found
    assert found["gpu.trainer_ratio"].value == 1.0
    assert found["gpu.trainer_ratio"].min == pytest.approx(0.9167)
    assert found["gpu.preset_24_peak"].holds is False
    assert "gpu.preset_8_peak" not in found
    assert "gpu.stop_empty" not in found
    assert found["gpu.kill_empty"].value == 0.5


def test_document_says_what_was_not_measured() -> None:
    text = cards.render([RESULTS])
    assert "## A card, 24 GB" in text
    assert "| bf16 | 1.57 MP | none | 1.25 | 31.2 GB | training |" in text
    assert "| bf16 | 2.32 MP | none | fails: OutOfMemoryError | 31.2 GB | training |" in text
    assert "| e4m3fn | 1.0 MP | none | not measured | not measured |  |" in text
    assert "| Until the card is empty after a stop | not measured |" in text
    assert "| 12 GB | not measured |  |  |" in text
    assert "| 8 GB | encoding: out of memory | training |" in text
    assert "- in_host_bf16: not finished after 50 s" in text


def test_document_knows_every_preset() -> None:
    from incontext_lora.training.sd_scripts.presets import PRESETS

    assert set(cards.PRESETS) == set(PRESETS)


def test_weights_are_a_safetensors_file(tmp_path: Path) -> None:
    import torch

    shapes = weights.flux(weights.TINY)
    weights.write(tmp_path / "flux.safetensors", shapes, torch.bfloat16, 0.125)
    with safe_open(tmp_path / "flux.safetensors", "pt") as file:
        assert {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} == shapes  # noqa: SIM118
        one, other = (file.get_tensor(f"single_blocks.{number}.linear1.weight").float() for number in (0, 1))
        assert one.std() == pytest.approx(0.125, rel=0.05)
        assert not torch.equal(one, other)
        assert bool((file.get_tensor("single_blocks.0.norm.key_norm.scale") == 1).all())
        assert bool((file.get_tensor("img_in.bias") == 0).all())


def test_part_that_takes_too_long_is_ended_and_keeps_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = 'import json, os, time; c = json.loads(os.environ["INCONTEXT_LORA_GPU_BENCH"]); '
    told += 'open(c["answers"], "a").write(json.dumps({"figure": "step"}) + "\\n"); time.sleep(60)'
    monkeypatch.setattr(parts, "in_pack", lambda *arguments: [sys.executable, "-c", told])
    context = parts.Context(tmp_path, tmp_path / "answers.jsonl")
    began = time.monotonic()
    result = parts.run_part(parts.Part("slow", "none", (), 1), context, 1.0)
    assert time.monotonic() - began < 20
    assert result["failed"] == "not finished after 1 s"
    assert result["results"] == [{"figure": "step"}]


def test_part_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "in_pack", lambda *_: [sys.executable, "-c", "raise SystemExit('no such thing')"])
    options = parts.Options(tiny=True, lines=tmp_path / "lines.jsonl", parts=("partial",))
    results = parts.run_parts(options, tmp_path)
    assert [one["part"] for one in results] == ["weights", "partial"]
    assert all("no such thing" in one["log"] for one in results)
    lines = (tmp_path / "lines.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == results


def test_context_survives_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = parts.Context(tmp_path, tmp_path / "a.jsonl", 24.0, True, ("python", "checkout"))
    for name, value in context.to_environment().items():
        monkeypatch.setenv(name, value)
    assert parts.Context.read() == context


def test_smaller_card_is_seen_and_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Properties:
        total_memory = 80 * card.GIB

    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (79 * card.GIB, 80 * card.GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: 3 * card.GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    card.emulate(24)
    assert torch.cuda.mem_get_info() == (20.25 * card.GIB, 23.25 * card.GIB)
    card.emulate(12)  # a second time, from the real one
    assert torch.cuda.mem_get_info() == (8.25 * card.GIB, 11.25 * card.GIB)
    assert shares == [23.25 / 80, 11.25 / 80]
