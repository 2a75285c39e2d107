"""The parts of the runner that work without the trainer."""

from __future__ import annotations

import argparse
import errno
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from incontext_lora.launcher import pack
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts.launch import RUNNER
from incontext_lora.training.sd_scripts.runner import disk, encodings, sampling
from incontext_lora.training.sd_scripts.runner.captions import drop_captions
from incontext_lora.training.sd_scripts.runner.errors import JobError
from incontext_lora.training.sd_scripts.runner.events import Events
from incontext_lora.training.sd_scripts.runner.options import build_command_line, parse
from incontext_lora.training.sd_scripts.runner.plan import Plan
from incontext_lora.training.sd_scripts.runner.references import References, make_generator, remove_loss

ROOT = pack.ROOT


def plan(**values: object) -> Plan:
    """A job of three panels side by side."""
    panels = [[0, 0, 64, 96], [64, 0, 64, 96], [128, 0, 64, 96]]
    plain = Plan(
        script="", trainer="", converter="", name="run", steps=10, first_step=0, segment=1, save_every=0, sample_every=0,
        keep=0, ema=0.0, average_in_main_memory=False, encoders_on_processor=False, caption_dropout=0.0,
        reference_share=0.0, isolated=False, references=[], canvas=[192, 96], panels=panels, public_metadata=False, seed=0,
        loaders={}, cache="",
    )  # fmt: skip
    return replace(plain, **values)  # type: ignore[arg-type]


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
        assert vars(parse(trainer_parser(), options)) == options

    def test_a_switch_that_is_off_is_left_out(self) -> None:
        assert build_command_line(trainer_parser(), {"flag": False}) == []

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"rnak": 4}, "no option 'rnak'"),
            ({"kind": "c"}, "invalid choice: 'c'"),
            ({"rank": "four"}, "invalid int value: 'four'"),
        ],
    )
    def test_others_are_rejected(self, options: dict[str, object], expected: str) -> None:
        with pytest.raises(JobError, match=expected):
            parse(trainer_parser(), options)


class TestReferences:
    def test_they_are_drawn_per_sample_and_stay_clean(self) -> None:
        references = References(plan(reference_share=1.0), make_generator(0))
        latents, noisy = torch.ones(64, 4, 6, 12), torch.zeros(64, 4, 6, 12)
        references.draw(latents, training=True)
        assert references.given is not None
        assert references.given.shape == (64, 1, 6, 12)
        shares = references.given.float().mean((1, 2, 3))
        assert {round(float(share), 2) for share in shares} == {0.33, 0.67}  # one or two of three panels
        assert torch.equal(references.keep_clean(noisy), references.given.float().expand_as(noisy))
        references.finish((noisy, noisy, None, None), masked=False)
        assert references.given is None

    def test_validation_has_none(self) -> None:
        references = References(plan(reference_share=1.0), make_generator(0))
        references.draw(torch.ones(2, 4, 6, 12), training=False)
        noisy = torch.zeros(2, 4, 6, 12)
        assert references.keep_clean(noisy) is noisy
        assert references.finish((noisy,), masked=False) == (noisy,)

    def test_fixed_ones_are_always_those(self) -> None:
        references = References(plan(reference_share=1.0, references=[0, 2]), make_generator(0))
        references.draw(torch.ones(8, 4, 6, 12), training=True)
        assert references.given is not None
        assert references.given[:, 0, 0].tolist() == [[True] * 4 + [False] * 4 + [True] * 4] * 8

    def test_random_numbers_depend_on_the_key_only(self) -> None:
        first, again, other = (torch.rand(4, generator=make_generator(7, 0, rank)) for rank in ("0", "0", "1"))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_no_loss_and_no_gradient_on_them(self) -> None:
        prediction = torch.randn(2, 4, 6, 6, requires_grad=True)
        target = torch.randn(2, 4, 6, 6)
        where = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
        where[0, :, :3] = True
        told, aim, _, weighting = remove_loss((prediction, target, None, None), where, masked=False)
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
        dropped = drop_captions(
            [pooled, None, tokens], [torch.zeros(1, 3), None, torch.zeros(1, 5, 3)], 0.5, make_generator(1)
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
        dropped = drop_captions([tokens, mask, quoted], empty, 1.0, make_generator(1))
        assert dropped[0][0, :, 0].tolist() == [7, 7, 0, 0, 0]
        assert dropped[1].tolist() == [[1, 1, 0, 0, 0]] * 2
        assert dropped[2].tolist() == [0, 0]

    def test_none_without_a_share(self) -> None:
        outputs = [torch.ones(4, 3)]
        assert drop_captions(outputs, [torch.zeros(1, 3)], 0.0, make_generator(1)) is outputs


class TestSamplesThatDoNotFit:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
            (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
            (MemoryError(), True),
            (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
            (ValueError("no"), False),
        ],
    )
    def test_only_a_lack_of_memory_is_one(self, error: Exception, expected: bool) -> None:
        assert sampling.is_out_of_memory(error) is expected

    def test_the_model_is_ready_to_train_afterwards(self) -> None:
        """A sampler that is cut off leaves the model in its other mode, its blocks elsewhere, the autoencoder on the card."""
        swapped: list[str] = []

        class Model(torch.nn.Linear):
            def switch_block_swap_for_training(self) -> None:
                swapped.append("for training")

            def prepare_block_swap_before_forward(self) -> None:
                raise AssertionError("it would leave the blocks of an inference")

        class OlderModel(torch.nn.Linear):
            def prepare_block_swap_before_forward(self) -> None:
                swapped.append("before forward")

        autoencoder = torch.nn.Linear(1, 1)
        for model in (Model(1, 1).eval(), OlderModel(1, 1).eval(), torch.nn.Linear(1, 1).eval()):
            sampling.restore_training(model, True, autoencoder, torch.device("meta"))
            assert model.training
        assert swapped == ["for training", "before forward"]
        assert autoencoder.weight.device.type == "meta"


def test_text_encoders_go_where_the_accelerator_says() -> None:
    """The checkout moves them to ``accelerator.device``; all else of the accelerator is its own."""

    class Accelerator:
        device = torch.device("meta")
        is_main_process = True

    place = encodings.ProcessorAccelerator(Accelerator())
    assert (place.device.type, place.is_main_process) == ("cpu", True)
    outputs = {"a caption": [torch.ones(2), None, (torch.ones(1),)], "": "text"}
    there = encodings.move(outputs, torch.device("meta"))
    assert there["a caption"][0].device.type == there["a caption"][2][0].device.type == "meta"
    assert (there["a caption"][1], there[""]) == (None, "text")


class TestFullDisk:
    """Linux' /dev/full takes nothing, as a full disk."""

    pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")

    def test_what_happens_meanwhile_is_written_when_there_is_space(self, tmp_path: Path) -> None:
        file = tmp_path / "events.jsonl"
        events = Events(file)
        events("step", step=1)
        file.rename(tmp_path / "kept")
        file.symlink_to("/dev/full")
        for step in (2, 3):
            events("step", step=step)
        file.unlink()
        (tmp_path / "kept").rename(file)
        with file.open("a") as half:
            half.write('{"event": "st')  # what a full disk took of a line
        events("step", step=4)
        events("step", step=5)
        lines = file.read_text().splitlines()
        told = [parsed for line in lines if line and (parsed := run_folder.parse_event(line + "\n"))]
        assert [event["step"] for event in told if event["event"] == "step"] == [1, 2, 3, 4, 5]
        assert [event["text"] for event in told if event["event"] == "note"] == [
            "The disk was full and has space again. The training continued in the meantime."
        ]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits on files")
    def test_a_line_that_was_taken_in_part_is_written_again(self, tmp_path: Path) -> None:
        """A file that may grow by a few bytes only."""
        script = f"""
import resource, runpy, signal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
module = runpy.run_path({str(RUNNER)!r})["import_runner"]("events")
is_full_disk = module.is_full_disk
module.is_full_disk = lambda error: is_full_disk(error) or getattr(error, "errno", 0) == 27  # EFBIG stands for ENOSPC
events = module.Events(Path({str(tmp_path / "events.jsonl")!r}))
events("step", step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
events("step", step=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
events("step", step=3)
"""
        subprocess.run([sys.executable, "-c", script], check=True)
        run = Run(tmp_path)
        assert [event["step"] for event in run.events() if event["event"] == "step"] == [1, 2, 3]

    def test_a_folder_that_is_gone_ends_the_training(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Events(tmp_path / "gone" / "events.jsonl")("step", step=1)

    def test_what_is_printed_may_be_lost(self) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
            io.TextIOWrapper(full, write_through=True).write("x")
        with Path("/dev/full").open("wb", buffering=0) as full:
            output = disk.LossyOutput(io.TextIOWrapper(full, write_through=True))
            assert output.write("a progress bar") == 14
            output.flush()
            assert not output.isatty()

    def test_every_library_says_it_in_its_own_words(self) -> None:
        saves: list[Callable[[], object]] = [
            lambda: torch.save(torch.zeros(1_000_000), "/dev/full"),
            lambda: torch.save(torch.zeros(10), "/dev/full"),
            lambda: Path("/dev/full").write_text("x"),
        ]
        for save in saves:
            with pytest.raises((OSError, RuntimeError)) as error:
                save()
            assert disk.is_full_disk(error.value)
        said = "Error while serializing: I/O error: No space left on device (os error 28)"
        assert disk.is_full_disk(RuntimeError(said))
        assert not disk.is_full_disk(FileNotFoundError(2, "No such file or directory"))
        assert not disk.is_full_disk(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    def test_the_last_lora_waits_for_space(self, tmp_path: Path) -> None:
        tries: list[Path] = []

        def write(path: Path) -> None:
            tries.append(path)
            path.write_bytes(b"half")
            if len(tries) < 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            path.write_bytes(b"whole")

        disk.write_lora(tmp_path / "a.safetensors", write, lambda error: True)
        assert (tmp_path / "a.safetensors").read_bytes() == b"whole"
        tries.clear()
        with pytest.raises(OSError, match="No space left"):
            disk.write_lora(tmp_path / "b.safetensors", write)
        assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_written_caches_are_removed(tmp_path: Path) -> None:
    whole, caption, cut = (tmp_path / name for name in ("a_flux.npz", "a_flux_te.npz", "b_flux.npz"))
    for path in (whole, caption, cut):
        np.savez(path, value=np.zeros(1000))
    cut.write_bytes(cut.read_bytes()[:500])
    assert encodings.remove_damaged_caches([whole, caption, cut]) == (1, 1, 1)
    assert whole.exists()
    assert not cut.exists()


def test_a_failing_job_says_so_and_exits_1(tmp_path: Path) -> None:
    """Started by path, as the trainer's interpreter does, from a checkout of the pack whose path has spaces."""
    copy, job = tmp_path / "the pack", tmp_path / "a run" / "job-1"
    for name in ("training", "incontext", "launcher"):
        shutil.copytree(ROOT / name, copy / name)
    job.mkdir(parents=True)
    script = copy / RUNNER.relative_to(ROOT)
    done = subprocess.run([sys.executable, str(script), str(tmp_path), str(job)], capture_output=True, check=False)
    assert done.returncode == 1
    events = [json.loads(line) for line in (job.parent / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["phase", "ended"]
    assert events[0]["phase"] == "starting"
    assert events[1]["outcome"] == "failed"
    assert events[1]["error_type"] == "FileNotFoundError"


def test_the_runners_folder_hides_no_module_of_the_checkout(tmp_path: Path) -> None:
    """The job's script is a module of the checkout named as one of the runner's."""
    checkout, job = tmp_path / "checkout", tmp_path / "run" / "job-1"
    checkout.mkdir()
    job.mkdir(parents=True)
    (checkout / "captions.py").write_text("import options\n")
    (job / "job.json").write_text(json.dumps({**asdict(plan()), "script": "captions"}))
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(checkout), str(job)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "No module named 'options'" in done.stderr
