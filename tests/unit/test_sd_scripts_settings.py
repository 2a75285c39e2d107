"""Settings of the sd-scripts trainer, its model files, the space it needs and its processes: checked before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.sd_scripts_jobs import build
from incontext_lora.tests.sd_scripts_machine import TENSORS, flux_files, safetensors, small_dataset
from incontext_lora.training.choices import ReferenceKind
from incontext_lora.training.sd_scripts import job, preflight, space
from incontext_lora.training.sd_scripts.architectures import (
    ARCHITECTURES,
    CHROMA,
    FLUX,
    HUNYUAN_IMAGE,
    Architecture,
    architecture,
)
from incontext_lora.training.sd_scripts.presets import OFFICIAL as OFFICIAL_PRESET
from incontext_lora.training.sd_scripts.presets import PRESETS, preset
from incontext_lora.training.sd_scripts.processes import Processes
from incontext_lora.training.sd_scripts.settings import Device, Optimiser, Precision, SdSettings, Sizes

QWEN3 = {"model.layers.0.self_attn.q_norm.weight": (128,)}


GEMMA = {"model.layers.0.post_feedforward_layernorm.weight": (2304,)}
FLUX_NAMES: dict[str, tuple[int, ...]] = dict.fromkeys(TENSORS["flux.safetensors"], (1,))
LUMINA_NAMES = {"noise_refiner.0.attention.qkv.weight": (1,), "cap_embedder.1.weight": (1,)}


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
            ("flux", FLUX_NAMES | {"img_in.weight": (3072, 64)}),
            ("flux_fill", FLUX_NAMES | {"img_in.weight": (3072, 384)}),
            ("flux_control", FLUX_NAMES | {"img_in.weight": (3072, 128)}),
            ("flux2", FLUX_NAMES | {"img_in.weight": (6144, 128), "double_stream_modulation_img.lin.weight": (1, 1)}),
            ("hunyuan_video", FLUX_NAMES | {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (1,)}),
            (
                "chroma_radiance",
                FLUX_NAMES | {"distilled_guidance_layer.in_proj.weight": (1,), "nerf_blocks.0.x": (1,)},
            ),
            ("lumina2", LUMINA_NAMES),
            ("z_image", LUMINA_NAMES | {"x_pad_token": (1, 3840)}),
            ("newbie", LUMINA_NAMES | {"clip_text_pooled_proj.0.weight": (1,)}),
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
            (("transformer_blocks.0.attn.to_q.weight",), "BF16", "in diffusers format"),
            (("joint_blocks.0.x", "x_embedder.proj.weight"), "BF16", r"a Stable Diffusion 3 model; expected FLUX\.1"),
            (("nothing.known",), "BF16", "of an unknown kind"),
            (
                (*TENSORS["flux.safetensors"], "double_stream_modulation_img.lin.weight"),
                "BF16",
                r"a FLUX\.2 model; expected FLUX\.1\. Train In-Context LoRA \(in ComfyUI\) trains it",
            ),
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

    def test_too_little_space_is_reported_with_its_parts(self, tmp_path: Path) -> None:
        place = tmp_path / "not there yet"
        space.check([space.Need(place, 1000.0, "checkpoints")])
        with pytest.raises(
            TrainingError, match=r"needs 1\d{9}\.\d+ GB .*1\d{9}\.\d+ GB for states, 0\.02 GB for samples.*free"
        ):
            space.check([space.Need(place, 1e18, "states"), space.Need(tmp_path, 2e7, "samples")])


class TestProcesses:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"count": 0}, "at least 1"),
            ({"count": "2"}, "whole number"),
            ({"count": True}, "whole number"),
            ({"machines": 0}, "at least 1"),
            ({"count": 3, "machines": 2, "address": "a"}, "Choose a multiple of 2"),
            ({"count": 2, "machines": 2, "rank": 2, "address": "a"}, "the first is 0 and the last is 1"),
            ({"rank": -1}, "the first is 0"),
            ({"count": 2, "machines": 2}, "at which other machines cannot reach the first one"),
            ({"port": 0}, "between 1 and 65535"),
            ({"address": "--config_file=/tmp/x"}, "host name or an IP address"),
            ({"address": ""}, "host name or an IP address"),
            ({"address": "a b"}, "host name or an IP address"),
            ({"address": 7}, "host name or an IP address"),
            ({"config": "/tmp/x"}, "'config' cannot be set"),
            ({"cpu": True}, "'cpu' cannot be set"),
        ],
    )
    def test_impossible_values_are_named(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(TrainingError, match=said):
            Processes().changed(values)

    @pytest.mark.parametrize("address", ["10.0.0.1", "gpu-1.lan", "::1", "fe80::1", "A"])
    def test_addresses(self, address: str) -> None:
        assert Processes().changed({"count": 4, "machines": 2, "rank": 1, "address": address}).address == address
