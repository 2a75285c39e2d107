"""Settings, presets, the table of architectures, preflight, data, jobs and messages: values in, values out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.tasks import OFFICIAL
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_place import TENSORS, flux_files, safetensors, small_dataset
from incontext_lora.training.references import ReferenceKind
from incontext_lora.training.runs import supervise
from incontext_lora.training.sd_scripts import data, job, launch, outcome, preflight, space
from incontext_lora.training.sd_scripts.architectures import (
    ARCHITECTURES,
    CHROMA,
    FLUX,
    HUNYUAN_IMAGE,
    Architecture,
    architecture,
)
from incontext_lora.training.sd_scripts.data import Portion
from incontext_lora.training.sd_scripts.environment import Trainer
from incontext_lora.training.sd_scripts.presets import OFFICIAL as OFFICIAL_PRESET
from incontext_lora.training.sd_scripts.presets import PRESETS, preset
from incontext_lora.training.sd_scripts.processes import Processes
from incontext_lora.training.sd_scripts.settings import Device, Optimiser, Precision, SdSettings, Sizes
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib


QWEN3 = {"model.layers.0.self_attn.q_norm.weight": (128,)}
GEMMA = {"model.layers.0.post_feedforward_layernorm.weight": (2304,)}


class TestSettings:
    def test_the_official_recipe_is_the_default(self) -> None:
        official = preset(OFFICIAL_PRESET)
        assert official == SdSettings()
        assert (official.rank, official.alpha, official.learning_rate) == (16, 16.0, 1e-4)
        assert (official.batch_size, official.steps, official.ema) == (4, 5000, 0.99)
        assert official.sizes is Sizes.LADDER

    def test_each_card_has_a_preset_and_less_memory_never_asks_for_more(self) -> None:
        cards = [PRESETS[f"{size} GB"] for size in (80, 40, 24, 16, 12, 10, 8)]
        assert [card.swapped for card in cards] == sorted(card.swapped for card in cards)
        assert all(card.batch_size * card.gradient_accumulation == 4 for card in cards)

    @pytest.mark.parametrize("name", PRESETS)
    def test_they_survive_a_round_trip(self, name: str) -> None:
        assert SdSettings.from_json(PRESETS[name].to_json()) == PRESETS[name]

    @pytest.mark.parametrize(("name", "value"), [("steps", 0), ("rank", 0), ("ema", 1.0), ("caption_dropout", 1.5)])
    def test_what_cannot_be_is_refused_with_its_value(self, name: str, value: float) -> None:
        with pytest.raises(TrainingError, match=str(value)):
            replace(SdSettings(), **{name: value})

    def test_a_run_from_before_there_were_other_kinds_has_clean_references(self) -> None:
        before = SdSettings().to_json()
        assert before.pop("references") == "isolated"
        assert SdSettings.from_json(before) == SdSettings(references=ReferenceKind.CLEAN)

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(TrainingError, match="stpes"):
            SdSettings.from_json({"stpes": 1})
        with pytest.raises(TrainingError, match=r"there are flux, chroma|trains flux, chroma"):
            architecture("sdxl")
        with pytest.raises(TrainingError, match="24 GB"):
            preset("7 GB")

    @pytest.mark.parametrize("family", ARCHITECTURES.values(), ids=lambda family: family.name)
    @pytest.mark.parametrize("name", PRESETS)
    def test_presets_of_each_family(self, name: str, family: Architecture) -> None:
        """Within what the trainer can swap, and never more memory than the next larger card has."""
        settings = preset(name, family.name)
        swapped = build(settings, family=family).options.get("blocks_to_swap", 0)
        assert swapped <= family.most_swapped
        assert build(settings, family=family).extra["average_in_main_memory"] == (swapped > 0)
        if name in ("10 GB", "8 GB") and family is not HUNYUAN_IMAGE:
            assert settings.megapixels == 1.1

    def test_hunyuan_image_has_numbers_of_its_own(self) -> None:
        def options(name: str) -> dict[str, Any]:
            made = build(preset(name, "hunyuan-image"), family=HUNYUAN_IMAGE, encoders=17.0)
            assert made.extra["encoders_on_processor"] is False  # the trainer has options for them
            return dict(made.options)

        swapped = [options(name).get("blocks_to_swap", 0) for name in PRESETS]
        assert swapped == [0, 0, 0, 9, 24, 32, 35, 37]  # from the official preset and 80 GB down to 8 GB
        assert all(preset(name, "hunyuan-image").sizes is Sizes.FULL for name in PRESETS)
        assert [options(name).get("vae_chunk_size") for name in ("24 GB", "12 GB")] == [None, 16]
        assert [options(name).get("fp8_vl") for name in ("24 GB", "16 GB", "12 GB", "8 GB")] == [None, True, True, None]
        assert [options(name).get("text_encoder_cpu") for name in ("12 GB", "10 GB", "8 GB")] == [None, True, True]

    @pytest.mark.parametrize(
        ("height", "expected"), [(1536, 16), (672, 16), (640, 8), (384, 8), (320, 4), (192, 4), (160, 0), (128, 0)]
    )
    def test_the_autoencoder_never_gets_a_single_chunk(self, height: int, expected: int) -> None:
        """HunyuanImage's stops on a picture of up to 18 rows in chunks of 16, 8 in chunks of 8, 4 in chunks of 4."""
        settings = SdSettings(vae_chunk_size=16)
        assert job.chunk_size(HUNYUAN_IMAGE, settings, height) == expected
        assert job.chunk_size(FLUX, settings, height) == 0

    @pytest.mark.parametrize(
        ("name", "gigabytes", "on_processor"),
        [
            ("24 GB", 10.0, False),
            ("12 GB", 10.0, False),
            ("10 GB", 10.0, True),
            ("8 GB", 10.0, True),
            ("8 GB", 5.1, False),
        ],
    )
    def test_text_encoders_that_do_not_fit_stay_on_the_processor(
        self, name: str, gigabytes: float, on_processor: bool
    ) -> None:
        """T5-XXL and CLIP-L have 10 GB with 16 bits and 5.1 GB as e4m3fn; the trainer puts them on the card whole."""
        assert build(preset(name), encoders=gigabytes).extra["encoders_on_processor"] is on_processor

    def test_what_other_devices_lack(self) -> None:
        settings = preset("12 GB")
        amd, apple = settings.on(Device.AMD), settings.on(Device.APPLE)
        assert (amd.optimiser, amd.fp8, amd.precision, amd.swapped) == (Optimiser.ADAMW, False, Precision.BF16, 0.75)
        assert (apple.optimiser, apple.fp8, apple.precision, apple.swapped) == (
            Optimiser.ADAMW,
            False,
            Precision.FP32,
            0,
        )
        assert settings.on(Device.NVIDIA) is settings
        assert preset("8 GB").on(Device.AMD).optimiser is Optimiser.ADAFACTOR


class TestPreflight:
    @pytest.mark.parametrize("name", TENSORS)
    def test_files_are_known_by_their_content(self, name: str) -> None:
        expected = {"flux.safetensors": "flux", "ae.safetensors": "flux_ae"}.get(name, name.split(".")[0])
        for prefix in ("", "model.diffusion_model.", "net."):
            assert preflight.identify({f"{prefix}{key}": (1,) for key in TENSORS[name]}) == expected

    @pytest.mark.parametrize(
        ("expected", "tensors"),
        [
            ("t5xxl", {"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}),
            ("byt5", {"encoder.block.0.layer.0.SelfAttention.q.weight": (384, 1472)}),
            (
                "umt5",
                {f"encoder.block.{n}.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64) for n in (0, 1)},
            ),
            ("qwen3", QWEN3 | {"model.embed_tokens.weight": (151936, 1024)}),
            ("qwen3_4b", QWEN3 | {"model.embed_tokens.weight": (151936, 2560)}),
            ("gemma2", GEMMA | {"model.embed_tokens.weight": (256000, 2304)}),
            ("gemma2_9b", GEMMA | {"model.embed_tokens.weight": (256000, 3584)}),
            ("gemma3", GEMMA | QWEN3 | {"model.embed_tokens.weight": (262208, 2560)}),
        ],
    )
    def test_namesakes_are_told_apart(self, expected: str, tensors: dict[str, tuple[int, ...]]) -> None:
        assert preflight.identify(tensors) == expected

    def test_the_order_of_files_does_not_matter(self, tmp_path: Path) -> None:
        files = flux_files(tmp_path)
        assert {option: path.name for option, path in files.items()} == {
            "pretrained_model_name_or_path": "flux.safetensors",
            "clip_l": "clip_l.safetensors",
            "t5xxl": "t5xxl.safetensors",
            "ae": "ae.safetensors",
        }
        model, *others = files.values()
        assert preflight.assign(FLUX, model, [*reversed(others)]) == files

    @pytest.mark.parametrize(
        ("names", "dtype", "expected"),
        [
            ((*TENSORS["flux.safetensors"], "scaled_fp8"), "F8_E4M3", "fp8_scaled"),
            ((*TENSORS["flux.safetensors"], "double_blocks.0.img_attn.qkv.scale_weight"), "F8_E4M3", "fp8_scaled"),
            (TENSORS["flux.safetensors"], "F8_E5M2", "e5m2"),
            (("transformer_blocks.0.attn.to_q.weight",), "BF16", "layout of diffusers"),
            (("joint_blocks.0.x", "x_embedder.proj.weight"), "BF16", r"a Stable Diffusion 3 model; expected FLUX\.1"),
            (("nothing.known",), "BF16", "of an unknown kind"),
        ],
    )
    def test_wrong_files_are_refused(self, tmp_path: Path, names: tuple[str, ...], dtype: str, expected: str) -> None:
        others = list(flux_files(tmp_path).values())[1:]
        with pytest.raises(TrainingError, match=expected):
            preflight.assign(FLUX, safetensors(tmp_path / "wrong.safetensors", names, dtype), others)

    def test_a_missing_encoder_is_named(self, tmp_path: Path) -> None:
        model, clip, _, autoencoder = flux_files(tmp_path).values()
        with pytest.raises(TrainingError, match="needs the T5-XXL text encoder"):
            preflight.assign(FLUX, model, [clip, autoencoder])

    def test_gguf_and_truncated_files_are_refused(self, tmp_path: Path) -> None:
        others = list(flux_files(tmp_path).values())[1:]
        with pytest.raises(TrainingError, match="GGUF"):
            preflight.assign(FLUX, tmp_path / "flux.gguf", others)
        cut = safetensors(tmp_path / "cut.safetensors", TENSORS["flux.safetensors"])
        cut.write_bytes(cut.read_bytes()[:-2])
        with pytest.raises(TrainingError, match="cut short"):
            preflight.assign(FLUX, cut, others)

    def test_chroma_is_not_taken_for_flux(self) -> None:
        names = (*TENSORS["flux.safetensors"], "distilled_guidance_layer.in_proj.weight")
        assert preflight.identify(dict.fromkeys(names, (1,))) == CHROMA.model


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
        with pytest.raises(TrainingError, match="2 sets, 2 of which are held out"):
            data.prepare(dataset, "flux", [(128, 192)], 2, [])


def build(
    settings: SdSettings,
    segment: job.Segment = job.Segment(),  # noqa: B008
    masked: bool = False,
    family: Architecture = FLUX,
    encoders: float = 0.0,
) -> job.Job:
    files = {"pretrained_model_name_or_path": Path("flux.safetensors"), "t5xxl": Path("t5.safetensors")}
    portions = [Portion(1024, 1536, Path("images"), masked, 20)]
    layout = OFFICIAL[1].layout
    return job.build(
        family,
        settings,
        files,
        portions,
        ["one", "two"],
        layout,
        (),
        run=Path("runs/a"),
        tokenizers=Path("t"),
        segment=segment,
        encoders=encoders,
    )


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


class TestSpace:
    def test_a_lora_has_rows_and_columns_of_every_matrix(self) -> None:
        assert space.weights([(1000, 3000), (3000, 1000), (3000,), (8, 8, 3, 3)], 16) == 16 * 2 * 4000

    def test_a_whole_checkpoint_holds_more_than_the_model(self, tmp_path: Path) -> None:
        names = ("model.diffusion_model.joint_blocks.0.a", "text_encoders.t5xxl.a", "first_stage_model.a")
        files = {"pretrained_model_name_or_path": safetensors(tmp_path / "sd3.safetensors", names)}
        assert preflight.model_shapes(ARCHITECTURES["sd3"], files) == [(1,)]
        bare = {"pretrained_model_name_or_path": safetensors(tmp_path / "bare.safetensors", ("joint_blocks.0.a", "b"))}
        assert preflight.model_shapes(ARCHITECTURES["sd3"], bare) == [(1,), (1,)]

    def test_of_a_run(self, tmp_path: Path) -> None:
        """Four checkpoints are kept, and one more is written before an old one goes; so are two states."""
        needs = space.of_run(tmp_path, tmp_path / "loras", SdSettings(steps=5000, save_every=250), 1_000_000)
        assert [need.size for need in needs] == [5 * 2e6, pytest.approx(2 * (4 + 2.2 + 4) * 1e6), 2e6]
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "a.safetensors").write_bytes(b"\0" * 3_000_000)
        assert (
            space.of_run(tmp_path, tmp_path, SdSettings(), 1_000_000)[0].size == 7e6
        )  # a resumed run has some already
        few = space.of_run(tmp_path / "new", tmp_path, SdSettings(steps=100, keep=0, save_every=50), 1_000_000)
        assert few[0].size == 2 * 2e6

    def test_of_captions_and_pictures_in_each_size(self, tmp_path: Path) -> None:
        """An encoded caption of FLUX has 8 MB, and each size has one of its own; what is there already counts not."""
        dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
        one = space.of_data(dataset, tmp_path / "prepared", FLUX, [(128, 192)]).size
        assert 3 * 8_400_000 < one < 3 * 8_700_000
        two = space.of_data(dataset, tmp_path / "prepared", FLUX, [(128, 192), (64, 96)]).size
        assert 2 * one - 200_000 < two < 2 * one
        (tmp_path / "prepared").mkdir()
        (tmp_path / "prepared" / "1.npz").write_bytes(b"\0" * 8_000_000)
        assert space.of_data(dataset, tmp_path / "prepared", FLUX, [(128, 192)]).size == pytest.approx(one - 8e6)

    def test_what_does_not_fit_is_said_with_its_parts(self, tmp_path: Path) -> None:
        place = tmp_path / "not there yet"
        space.check([space.Need(place, 1000.0, "checkpoints")])
        with pytest.raises(
            TrainingError, match=r"needs 1\d{9}\.\d+ GB .* free: 1\d{9}\.\d+ GB for states, 0\.02 GB for samples"
        ):
            space.check([space.Need(place, 1e18, "states"), space.Need(tmp_path, 2e7, "samples")])


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


class TestProcesses:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"count": 0}, "at least 1"),
            ({"count": "2"}, "whole number"),
            ({"count": True}, "whole number"),
            ({"machines": 0}, "at least 1"),
            ({"count": 3, "machines": 2, "address": "a"}, "Choose a multiple of 2"),
            ({"count": 2, "machines": 2, "rank": 2, "address": "a"}, "the first is 0 and the last 1"),
            ({"rank": -1}, "the first is 0"),
            ({"count": 2, "machines": 2}, "where no other machine reaches the first one"),
            ({"port": 0}, "between 1 and 65535"),
            ({"address": "--config_file=/tmp/x"}, "host name or an IP address"),
            ({"address": ""}, "host name or an IP address"),
            ({"address": "a b"}, "host name or an IP address"),
            ({"address": 7}, "host name or an IP address"),
            ({"config": "/tmp/x"}, "'config' cannot be set"),
            ({"cpu": True}, "'cpu' cannot be set"),
        ],
    )
    def test_what_cannot_be_is_said(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(TrainingError, match=said):
            Processes().changed(values)

    @pytest.mark.parametrize("address", ["10.0.0.1", "gpu-1.lan", "::1", "fe80::1", "A"])
    def test_addresses(self, address: str) -> None:
        assert Processes().changed({"count": 4, "machines": 2, "rank": 1, "address": address}).address == address


class TestWords:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
                "Choose the preset of a smaller card",
            ),
            ("NotImplementedError: Cannot copy out of meta tensor; no data!", "A model file is not what it should be"),
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
    assert names - {"incontext", "incontext.errors", "training", "training.sd_scripts"} == {
        "training.average", "training.peak_memory", "training.references",
    }  # fmt: skip
