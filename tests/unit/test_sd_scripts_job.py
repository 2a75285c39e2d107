"""What the sd-scripts trainer is given: its data, its job, its command; and what its failures mean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.tasks import OFFICIAL
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_jobs import build
from incontext_lora.tests.sd_scripts_machine import small_dataset
from incontext_lora.training.choices import ReferenceKind
from incontext_lora.training.runs import supervise
from incontext_lora.training.sd_scripts import data, job, launch, outcome
from incontext_lora.training.sd_scripts.architectures import (
    ARCHITECTURES,
    Architecture,
)
from incontext_lora.training.sd_scripts.environment import Trainer
from incontext_lora.training.sd_scripts.presets import preset
from incontext_lora.training.sd_scripts.processes import Processes
from incontext_lora.training.sd_scripts.settings import Optimiser, SdSettings, Sizes
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib


class TestData:
    def test_the_ladder_of_the_storyboard(self) -> None:
        assert data.rungs(1024, 1536, 64, Sizes.LADDER) == [
            (1024, 1536),
            (896, 1344),
            (768, 1152),
            (640, 960),
            (512, 768),
        ]

    @pytest.mark.parametrize("recipe", OFFICIAL, ids=lambda recipe: recipe.name)
    def test_published_canvases_are_seen_whole(self, recipe: object) -> None:
        layout = recipe.layout  # type: ignore[attr-defined]
        for family in ARCHITECTURES.values():
            found = data.rungs(layout.width, layout.height, family.size_step, Sizes.LADDER)
            assert found[0] == (layout.width, layout.height)
            for width, height in found:
                assert width * layout.height == height * layout.width
                assert width % family.size_step == height % family.size_step == 0

    @pytest.mark.parametrize("recipe", OFFICIAL, ids=lambda recipe: recipe.name)
    def test_small_cards_train_near_one_megapixel(self, recipe: object) -> None:
        layout = recipe.layout  # type: ignore[attr-defined]
        ((width, height),) = data.rungs(layout.width, layout.height, 64, Sizes.FULL, 1.1)
        assert 0.5e6 < width * height <= 1.1e6
        assert abs(width * layout.height / (height * layout.width) - 1) < 0.021
        assert data.rungs(layout.width, layout.height, 64, Sizes.LADDER, 1.1)[0] == (width, height)

    def test_other_sizes_are_refused(self) -> None:
        with pytest.raises(TrainingError, match="1000×1500"):
            data.rungs(1000, 1500, 64, Sizes.FULL)

    def test_captions_and_pictures_of_each_size(self, tmp_path: Path) -> None:
        dataset = small_dataset(folder_sets(tmp_path / "sets", 5), tmp_path / "datasets", references=(0,))
        portions = data.prepare(dataset, "flux", [(128, 192), (64, 96)], 1, ["encoder 1"])
        assert [(p.width, p.count, p.validation) for p in portions] == [(128, 4, False), (128, 1, True), (64, 4, False)]
        for portion in portions:
            for path in portion.images.glob("*.png"):
                with Image.open(path) as image:
                    assert image.size == (portion.width, portion.height)
                assert path.with_suffix(".txt").read_text().count("\n") == 1
                with Image.open(path) as image:
                    alpha = image.getchannel("A")
                    assert alpha.getpixel((5, 5)) == 0  # the reference carries no loss
                    assert alpha.getpixel((5, portion.height - 5)) == 255
                assert portion.masked
        names = [{path.stem for path in portion.images.glob("*.png")} for portion in portions]
        assert names[0].isdisjoint(names[1])

    def test_the_folder_changes_with_all_that_caches_depend_on(self, tmp_path: Path) -> None:
        sets = folder_sets(tmp_path / "sets", 5)
        dataset = small_dataset(sets, tmp_path / "datasets")
        first = data.prepare(dataset, "flux", [(128, 192)], 0, ["encoder 1"])[0].images
        assert data.prepare(dataset, "flux", [(128, 192)], 0, ["encoder 1"])[0].images == first
        assert data.prepare(dataset, "flux", [(128, 192)], 0, ["encoder 2"])[0].images != first
        (sets / "set-1" / "caption.txt").write_text("[TOY] Edited. [SCENE-1] one [SCENE-2] two [SCENE-3] three")
        edited = small_dataset(sets, tmp_path / "datasets")
        second = data.prepare(edited, "flux", [(128, 192)], 0, ["encoder 1"])[0].images
        assert second != first
        assert any("Edited" in path.read_text() for path in second.glob("*.txt"))

    def test_old_data_is_removed(self, tmp_path: Path) -> None:
        now = 1_000_000_000.0

        def unused(name: str, days: float, size: int = 10) -> Path:
            folder = tmp_path / "training" / f"flux-{name}"
            (folder / "64x64").mkdir(parents=True)
            (folder / "64x64" / "1.png").write_bytes(b"\0" * size)
            os.utime(folder, (now - days * data.DAY,) * 2)
            return folder

        old, used = unused("old", 31), unused("used", 40)
        stays, large, small = unused("stays", 3), unused("large", 10, 1000), unused("small", 20)
        recent = unused("recent", 1, 5000)
        removed = data.prune(tmp_path, {used}, now, largest=5050)
        assert removed == [data.Removal("flux-large", 1000), data.Removal("flux-old", 10)]
        assert [folder.exists() for folder in (old, large)] == [False, False]
        assert all(folder.exists() for folder in (used, stays, small, recent))

    def test_training_on_it_makes_data_recent(self, tmp_path: Path) -> None:
        dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
        folder = data.prepare(dataset, "flux", [(128, 192)], 0, [])[0].images.parent
        os.utime(folder, (0, 0))
        data.prepare(dataset, "flux", [(128, 192)], 0, [])
        assert data.prune(dataset.folder, ()) == []
        os.utime(folder, (0, 0))
        assert [removed.name for removed in data.prune(dataset.folder, ())] == [folder.name]

    def test_too_few_sets(self, tmp_path: Path) -> None:
        dataset = small_dataset(folder_sets(tmp_path / "sets", 2), tmp_path / "datasets")
        with pytest.raises(TrainingError, match="2 sets, and 2 are held out"):
            data.prepare(dataset, "flux", [(128, 192)], 2, [])


class TestJob:
    def test_nothing_is_left_to_the_trainers_own_defaults(self) -> None:
        options = build(SdSettings()).options
        assert options["guidance_scale"] == 1.0
        assert options["timestep_sampling"] == "sigmoid"
        assert options["model_prediction_type"] == "raw"
        assert options["network_alpha"] == 16.0
        assert options["network_train_unet_only"] is True
        assert options["no_metadata"] is True
        assert options["output_name"] == "a-step005000"
        assert "save_every_n_steps" not in options  # our runner saves

    @pytest.mark.parametrize("family", ARCHITECTURES.values(), ids=lambda family: family.name)
    def test_references_are_isolated_where_our_runner_can(self, family: Architecture) -> None:
        def told(**settings: Any) -> tuple[bool, float]:
            extra = build(SdSettings(**settings), family=family).extra
            return extra["isolated"], extra["reference_share"]

        assert told() == (family.name in ("flux", "chroma", "sd3"), 0.5)
        assert told(references=ReferenceKind.CLEAN) == (False, 0.5)
        assert told(references=ReferenceKind.NONE) == (False, 0.0)
        assert told(reference_share=0.0) == (False, 0.0)

    def test_a_resumed_segment_does_what_is_left(self) -> None:
        options = build(SdSettings(), job.Segment(2, 1250, Path("state/step001250"))).options
        assert (options["max_train_steps"], options["initial_step"]) == (3750, 0)
        assert options["resume"].endswith("step001250")

    def test_masks_turn_on_masked_loss(self) -> None:
        made = build(SdSettings(), masked=True)
        assert made.options["masked_loss"] is True
        assert made.dataset["datasets"][0]["subsets"][0]["alpha_mask"] is True
        assert "masked_loss" not in build(SdSettings()).options

    def test_memory(self) -> None:
        assert "blocks_to_swap" not in build(SdSettings()).options
        small = build(preset("8 GB")).options
        assert (small["blocks_to_swap"], small["fp8_base"], small["optimizer_type"]) == (35, True, "Adafactor")
        assert "fp8_base" not in build(SdSettings().on_cpu()).options
        assert SdSettings().on_cpu().optimiser is Optimiser.ADAMW

    def test_each_prompt_has_a_seed_of_its_own(self) -> None:
        prompts = build(SdSettings()).prompts
        assert [prompt["seed"] for prompt in prompts] == [42, 43]
        assert {prompt["negative_prompt"] for prompt in prompts} == {""}

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
    @given(
        text=st.text(), number=st.floats(allow_nan=False, allow_infinity=False), whole=st.integers(-(2**63), 2**63 - 1)
    )
    def test_toml_survives_a_round_trip(self, text: str, number: float, whole: int) -> None:
        text = text.encode("utf-8", "ignore").decode()
        values = {
            "text": text,
            "whole": whole,
            "number": number,
            "flag": True,
            "list": [text, "b"],
            "table": {"x": [1, 2]},
        }
        nested = {**values, "datasets": [{"a": 1, "subsets": [{"dir": text}, {"dir": "b"}]}, {"a": 2}]}
        assert tomllib.loads(job.to_toml(nested)) == nested

    def test_files(self, tmp_path: Path) -> None:
        job.write(build(SdSettings()), tmp_path / "job-1")
        assert sorted(path.name for path in (tmp_path / "job-1").iterdir()) == [
            "dataset.toml",
            "job.json",
            "job.toml",
            "prompts.json",
        ]


class TestLaunch:
    trainer = Trainer(Path("/env/bin/python"), Path("/env/sd-scripts"))

    def launch(self, processes: Processes = Processes(), **inherited: str) -> supervise.Launch:  # noqa: B008
        environment = {"PATH": "/bin", "PYTHONPATH": "/x", **inherited}
        return launch.build(self.trainer, Path("/runs/a/job-1"), processes, environment, offline=True)

    def test_one_process(self) -> None:
        what = self.launch()
        assert what.arguments == ("/env/bin/python", str(launch.RUNNER), "/env/sd-scripts", "/runs/a/job-1")
        assert what.environment["HF_HUB_OFFLINE"] == "1"
        assert what.environment[supervise.MARK] == "/runs/a"
        assert "PYTHONPATH" not in what.environment
        assert what.folder == Path("/env/sd-scripts")

    def test_comfyuis_own_variables_are_not_inherited(self) -> None:
        """Its allocator and its deterministic mode are not the trainer's; the card that was chosen is."""
        theirs = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        what = self.launch(**theirs, COMFYUI_PATH="/comfy", CUDA_VISIBLE_DEVICES="1", HF_HOME="/hub")
        assert not {*theirs, "COMFYUI_PATH"} & set(what.environment)
        assert (what.environment["CUDA_VISIBLE_DEVICES"], what.environment["HF_HOME"]) == ("1", "/hub")

    def test_several_processes_go_through_accelerate(self) -> None:
        what = self.launch(Processes(count=4, machines=2, rank=1, address="10.0.0.1"))
        assert what.arguments[:3] == ("/env/bin/python", "-m", "accelerate.commands.launch")
        words = " ".join(what.arguments)
        assert "--num_processes 4 --num_machines 2 --machine_rank 1 --main_process_ip 10.0.0.1" in words
        assert what.arguments[-2:] == ("/env/sd-scripts", "/runs/a/job-1")

    def test_settings_file(self, tmp_path: Path) -> None:
        path = tmp_path / "processes.json"
        assert Processes.load(path) == Processes()
        path.write_text('{"count": 2}')
        assert Processes.load(path).count == 2
        Processes(count=4, machines=2, address="gpu-1.lan", config="x").save(path)
        assert Processes.load(path) == Processes(count=4, machines=2, address="gpu-1.lan", config="x")
        path.write_text('{"counts": 2}')
        with pytest.raises(TrainingError, match="counts"):
            Processes.load(path)


class TestWords:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
                "Choose the preset of a smaller card",
            ),
            (
                "NotImplementedError: Cannot copy out of meta tensor; no data!",
                "A model file is incomplete or of the wrong kind",
            ),
            ("OSError: [Errno 28] No space left on device", "The disk is full"),
            ("AssertionError: the max_size should be larger than the width of max_reso", "multiples of 64"),
            ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find", "A tokenizer is not on this machine"),
            (
                "RuntimeError: CUDA error: no kernel image is available for execution on the device",
                "this graphics card",
            ),
            ("No data found. Please verify arguments", "no pictures"),
            ("RuntimeError: CUDA error: invalid device ordinal", "fewer graphics cards than processes"),
            ("EADDRINUSE, Address already in use", "with --main-port"),
        ],
    )
    def test_causes(self, line: str, expected: str) -> None:
        message = outcome.failure("training", "", 1, ["before", line])
        assert message.startswith("The training failed while training (exit code 1).")
        assert expected in message
        assert line in message

    def test_unknown_causes_show_the_last_lines(self) -> None:
        assert "ValueError: odd" in outcome.failure("", "", 3, ["ValueError: odd"])
        assert outcome.cause(["all is well"]) == ""

    def test_interruptions(self) -> None:
        assert "from step 250" in outcome.interrupted("training", 320, 250, -9)
        assert "killed" in outcome.interrupted("training", 320, 250, -9)
        assert "start it again" in outcome.interrupted("encoding", 0, 0, None)


def test_nothing_of_the_host_is_imported() -> None:
    """The trainer's side must run without ComfyUI; two of its scripts even without the pack."""
    folder = Path(data.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(f"import {name}" in text for name in ("comfy", "folder_paths", "server", "nodes")), path.name
    for name in ("probe.py", "environment.py"):
        assert "from ." not in (folder / name).read_text(encoding="utf-8"), name


def test_the_runner_takes_little_of_the_pack() -> None:
    """It runs in the trainer's environment, which has torch, but neither ComfyUI nor what ComfyUI brings."""
    script = f"""
import runpy, sys
import_runner = runpy.run_path({os.fspath(launch.RUNNER)!r})["import_runner"]
for name in ("main", "trainer", "patches", "isolation"):
    import_runner(name)
print(*(name for name in sys.modules if name.startswith("incontext_lora.") and ".runner" not in name))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = {name.removeprefix("incontext_lora.") for name in done.stdout.split()}
    assert names - {"incontext", "incontext.errors", "incontext.files", "training", "training.sd_scripts"} == {
        "incontext.files.atomic", "training.average", "training.peak_memory", "training.references",
    }  # fmt: skip
