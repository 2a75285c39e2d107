"""What our runner adds to the trainer, piece by piece; the pieces need no trainer."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.training.sd_scripts import runner


def trainer_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rank", type=int)
    parser.add_argument("--kind", choices=["a", "b"])
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("--many", nargs="*")
    parser.add_argument("--text")
    return parser


class TestArguments:
    def test_every_option_passes_the_parser(self) -> None:
        options = {"rank": 4, "kind": "b", "flag": True, "many": ["x=1", "y=2"], "text": "--looks like an option"}
        assert vars(runner.parse(trainer_parser(), options)) == options

    def test_a_switch_that_is_off_is_left_out(self) -> None:
        assert runner.command_line(trainer_parser(), {"flag": False}) == []

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"rnak": 4}, "no option 'rnak'"),
            ({"kind": "c"}, "invalid choice: 'c'"),
            ({"rank": "four"}, "invalid int value: 'four'"),
        ],
    )
    def test_what_the_parser_does_not_take_is_refused(self, options: dict[str, object], expected: str) -> None:
        with pytest.raises(runner.Refused, match=expected):
            runner.parse(trainer_parser(), options)


class TestReferences:
    def test_share(self) -> None:
        chance = random.Random(0)
        drawn = [runner.draw_references(3, (), 0.4, chance) for _ in range(2000)]
        assert 0.35 < sum(bool(each) for each in drawn) / 2000 < 0.45
        assert {len(each) for each in drawn} == {0, 1, 2}

    def test_fixed_ones_are_always_those(self) -> None:
        drawn = {tuple(runner.draw_references(4, (0, 2), 1.0, random.Random(seed))) for seed in range(20)}
        assert drawn == {(0, 2)}

    @given(panels=st.integers(1, 9), seed=st.integers())
    def test_something_is_always_left_to_paint(self, panels: int, seed: int) -> None:
        assert len(runner.draw_references(panels, (), 1.0, random.Random(seed))) < panels

    def test_mask_covers_the_panel_at_any_scale(self) -> None:
        panels = [[0, 0, 128, 64], [0, 64, 128, 64], [0, 128, 128, 64]]
        mask = runner.panel_mask(panels, (128, 192), [1], (24, 16))
        assert mask.shape == (24, 16)
        assert mask[8:16].all()
        assert int(mask.sum()) == 8 * 16

    def test_no_loss_and_no_gradient_on_what_was_given(self) -> None:
        prediction = torch.randn(2, 4, 6, 6, requires_grad=True)
        target = torch.randn(2, 4, 6, 6)
        where = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
        where[0, :, :3] = True
        told, aim, _, weighting = runner.cleared((prediction, target, None, None), where, masked=False)
        loss = ((told - aim).square() * weighting).mean()
        painted = (prediction - target).square()[~where.expand_as(target)]
        assert torch.isclose(loss, painted.mean())
        loss.backward()
        assert prediction.grad is not None
        assert not prediction.grad[0, :, :3].any()
        assert prediction.grad[0, :, 3:].all()


class TestCaptionDropout:
    def test_whole_samples_are_replaced(self) -> None:
        pooled, tokens = torch.ones(64, 3), torch.ones(64, 5, 3)
        dropped = runner.drop_captions(
            [pooled, None, tokens], [torch.zeros(1, 3), None, torch.zeros(1, 5, 3)], 0.5, random.Random(1)
        )
        empty = (dropped[0] == 0).all(1)
        assert 16 < int(empty.sum()) < 48
        assert torch.equal(empty, (dropped[2] == 0).all(2).all(1))
        assert dropped[1] is None
        assert pooled.all()
        assert tokens.all()  # the cached ones are not changed

    def test_an_encoder_may_give_only_as_many_tokens_as_the_text_has(self) -> None:
        tokens, mask, quoted = torch.ones(2, 5, 3), torch.ones(2, 5), torch.ones(2)
        empty = [torch.full((1, 2, 3), 7.0), torch.ones(1, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.bool)]
        dropped = runner.drop_captions([tokens, mask, quoted], empty, 1.0, random.Random(1))
        assert dropped[0][0, :, 0].tolist() == [7, 7, 0, 0, 0]
        assert dropped[1].tolist() == [[1, 1, 0, 0, 0]] * 2
        assert dropped[2].tolist() == [0, 0]

    def test_none_without_a_share(self) -> None:
        outputs = [torch.ones(4, 3)]
        assert runner.drop_captions(outputs, [torch.zeros(1, 3)], 0.0, random.Random(1)) is outputs


class TestAverage:
    def test_follows_applies_and_survives_a_restart(self, tmp_path: Path) -> None:
        network = torch.nn.Linear(2, 2, bias=False)
        average = runner.Average(network, 0.99, None)
        start = network.weight.detach().clone()
        with torch.no_grad():
            network.weight += 1
        average.update()
        with average.applied():
            assert torch.allclose(network.weight, start + 1 - 2 / 11)
        assert torch.allclose(network.weight, start + 1)
        average.save(tmp_path / "average.safetensors")
        again = runner.Average(network, 0.99, tmp_path / "average.safetensors")
        for each in (average, again):
            each.update()
        with again.applied():
            resumed = network.weight.detach().clone()
        with average.applied():
            assert torch.equal(network.weight, resumed)


def test_half_written_caches_are_removed(tmp_path: Path) -> None:
    whole, caption, cut = (tmp_path / name for name in ("a_flux.npz", "a_flux_te.npz", "b_flux.npz"))
    for path in (whole, caption, cut):
        np.savez(path, value=np.zeros(1000))
    cut.write_bytes(cut.read_bytes()[:500])
    assert runner.remove_damaged_caches([whole, caption, cut]) == (1, 1, 1)
    assert whole.exists()
    assert not cut.exists()


def test_a_failing_job_says_so_and_exits_1(tmp_path: Path) -> None:
    job = tmp_path / "run" / "job-1"
    job.mkdir(parents=True)
    assert runner.main([str(tmp_path), str(job)]) == 1
    text = (tmp_path / "run" / "events.jsonl").read_text()
    assert '"phase": "starting"' in text
    assert '"outcome": "failed"' in text
    assert "FileNotFoundError" in text
