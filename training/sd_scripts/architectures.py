"""A table of what each model family needs from the trainer. `run.py trainer check` checks it against the real parsers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...incontext.errors import TrainingError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that the trainer reads.

    Attributes:
        role: its kind, as `preflight` identifies it by its header.
        option: the trainer's option for it.
        title: for messages.
        loader: for a text encoder, the checkout's function that reads it, which is skipped if all captions are already
            encoded; else empty.
        with_tokenizer: whether that function returns the encoder and its tokenizer as a pair.
    """

    role: str
    option: str
    title: str
    loader: str = ""
    with_tokenizer: bool = False


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model family.

    Attributes:
        name: in files and on the command line.
        title: for messages.
        script, trainer: the checkout's module and its class.
        model: role of the diffusion model's file.
        files: the other files: text encoders and autoencoder.
        network: the checkout's module for its LoRA.
        base: name of the model in the LoRA's recipe.
        options: mandatory and recommended options of the trainer.
        size_step: picture sides must be multiples of it, in pixels.
        most_swapped: most blocks that can be swapped to main memory.
        tokens: encoder → number of tokens of a caption that it reads.
        tokenizers: name on the hub → ComfyUI's folder with the same files.
        fetched: what the first training downloads from the hub; empty for nothing.
        converter: the checkout's module that renames the LoRA's tensors for ComfyUI; empty if none is needed.
        prefixes: how tensor names in a LoRA begin.
        fp8: the trainer's option that keeps the model in 8 bits; empty if there is none.
        sampling: settings of the samples.
        model_option: the trainer's option for the diffusion model's file.
        caption_size: most bytes of an encoded caption on disk.
        fp8_encoders, encoders_on_cpu: the trainer's options for text encoders that are too large for the card, to keep them
            in 8 bits or on the processor. If both are empty, our runner keeps them on the processor.
        vae_row: pixels per row of the autoencoder's latent, if it can work on some rows at a time; else 0.
        isolates: whether our runner supports isolated references for it.
    """

    name: str
    title: str
    script: str
    trainer: str
    model: str
    files: tuple[ModelFile, ...]
    network: str
    base: str
    options: Mapping[str, Any] = field(default_factory=dict)
    size_step: int = 64
    most_swapped: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    fetched: str = ""
    converter: str = ""
    prefixes: tuple[str, ...] = ("lora_unet_",)
    fp8: str = "fp8_base"
    sampling: Mapping[str, Any] = field(default_factory=dict)
    model_option: str = "pretrained_model_name_or_path"
    caption_size: int = 8_500_000  # 512 tokens of T5-XXL in 32 bits, and what comes with them
    fp8_encoders: str = ""
    encoders_on_cpu: str = ""
    vae_row: int = 0
    isolates: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        return (self.model, *(file.role for file in self.files))

    @property
    def encoders(self) -> tuple[ModelFile, ...]:
        return tuple(file for file in self.files if file.loader)


_CLIP_TOKENIZER, _T5_TOKENIZER = "comfy/sd1_tokenizer", "comfy/text_encoders/t5_tokenizer"
_CLIP_L = ModelFile("clip_l", "clip_l", "CLIP-L text encoder", "flux_utils.load_clip_l")
_T5 = ModelFile("t5xxl", "t5xxl", "T5-XXL text encoder", "flux_utils.load_t5xxl")
_FLUX_AE = ModelFile("flux_ae", "ae", "FLUX autoencoder (ae.safetensors)")
_FLUX_TOKENIZERS = {"openai/clip-vit-large-patch14": _CLIP_TOKENIZER, "google/t5-v1_1-xxl": _T5_TOKENIZER}

FLUX = Architecture(
    name="flux",
    title="FLUX.1",
    script="flux_train_network",
    trainer="FluxNetworkTrainer",
    model="flux",
    files=(_CLIP_L, _T5, _FLUX_AE),
    network="networks.lora_flux",
    base="FLUX.1-dev",
    isolates=True,
    # the trainer's own defaults for these give bad LoRAs
    options={
        "model_type": "flux",
        "timestep_sampling": "sigmoid",
        "sigmoid_scale": 1.0,
        "model_prediction_type": "raw",
        "guidance_scale": 1.0,
        "discrete_flow_shift": 3.1582,
    },
    most_swapped=35,
    tokens={"clip_l": 77, "t5xxl": 512},
    tokenizers=_FLUX_TOKENIZERS,
    sampling={"sample_steps": 20, "guidance_scale": 3.5, "scale": 1.0},
)
CHROMA = Architecture(
    name="chroma",
    title="Chroma",
    script="flux_train_network",
    trainer="FluxNetworkTrainer",
    model="chroma",
    files=(_T5, _FLUX_AE),
    network="networks.lora_flux",
    base="Chroma1-HD",
    isolates=True,
    options={
        "model_type": "chroma",
        "apply_t5_attn_mask": True,
        "timestep_sampling": "sigmoid",
        "sigmoid_scale": 1.0,
        "model_prediction_type": "raw",
        "guidance_scale": 0.0,
        "discrete_flow_shift": 1.0,
    },
    most_swapped=35,
    tokens={"t5xxl": 512},
    tokenizers=_FLUX_TOKENIZERS,  # the trainer loads CLIP's tokenizer here too
    # Chroma uses classifier-free guidance; its embedded guidance is 0
    sampling={"sample_steps": 26, "guidance_scale": 0.0, "scale": 4.0},
)
SD3 = Architecture(
    name="sd3",
    title="Stable Diffusion 3 and 3.5",
    script="sd3_train_network",
    trainer="Sd3NetworkTrainer",
    model="sd3",
    files=(
        ModelFile("clip_l", "clip_l", "CLIP-L text encoder", "sd3_utils.load_clip_l"),
        ModelFile("clip_g", "clip_g", "CLIP-G text encoder", "sd3_utils.load_clip_g"),
        ModelFile("t5xxl", "t5xxl", "T5-XXL text encoder", "sd3_utils.load_t5xxl"),
        ModelFile("sd3_vae", "vae", "SD3 VAE"),
    ),
    network="networks.lora_sd3",
    base="SD3.5",
    isolates=True,
    options={"weighting_scheme": "logit_normal", "logit_mean": 0.0, "logit_std": 1.0, "training_shift": 3.0},
    size_step=32,
    most_swapped=22,
    tokens={"clip_l": 77, "clip_g": 77, "t5xxl": 256},
    caption_size=5_000_000,
    tokenizers={**_FLUX_TOKENIZERS, "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": _CLIP_TOKENIZER},
    sampling={"sample_steps": 28, "scale": 5.0},
)
LUMINA = Architecture(
    name="lumina2",
    title="Lumina-Image 2.0",
    script="lumina_train_network",
    trainer="LuminaNetworkTrainer",
    model="lumina2",
    files=(ModelFile("gemma2", "gemma2", "Gemma 2 text encoder", "lumina_util.load_gemma2"), _FLUX_AE),
    network="networks.lora_lumina",
    base="Lumina-Image-2.0",
    options={
        "timestep_sampling": "nextdit_shift",
        "discrete_flow_shift": 6.0,
        "model_prediction_type": "raw",
        "system_prompt": (
            "You are an assistant designed to generate superior images with the superior degree of image-text alignment "
            "based on textual prompts or user prompts."
        ),
    },
    most_swapped=24,
    tokens={"gemma2": 256},
    caption_size=2_500_000,
    fetched="the tokenizer of google/gemma-2-2b, which asks for a Hugging Face account that accepted its licence",
    sampling={"sample_steps": 36, "scale": 4.0},
)
HUNYUAN_IMAGE = Architecture(
    name="hunyuan-image",
    title="HunyuanImage 2.1",
    script="hunyuan_image_train_network",
    trainer="HunyuanImageNetworkTrainer",
    model="hunyuan_image",
    files=(
        ModelFile(
            "qwen2_5_vl",
            "text_encoder",
            "Qwen2.5-VL text encoder (bf16)",
            "hunyuan_image_text_encoder.load_qwen2_5_vl",
            with_tokenizer=True,
        ),
        ModelFile("byt5", "byt5", "ByT5 text encoder", "hunyuan_image_text_encoder.load_byt5", with_tokenizer=True),
        ModelFile("hunyuan_vae", "vae", "HunyuanImage VAE"),
    ),
    network="networks.lora_hunyuan_image",
    base="HunyuanImage-2.1",
    options={"discrete_flow_shift": 5.0, "model_prediction_type": "raw", "timestep_sampling": "sigma"},
    most_swapped=37,
    tokens={"qwen2_5_vl": 1024},
    caption_size=16_000_000,
    fp8_encoders="fp8_vl",
    encoders_on_cpu="text_encoder_cpu",
    vae_row=32,
    tokenizers={
        "Qwen/Qwen2.5-VL-7B-Instruct": "comfy/text_encoders/qwen25_tokenizer",
        "google/byt5-small": "comfy/text_encoders/byt5_tokenizer",
    },
    converter="networks.convert_hunyuan_image_lora_to_comfy",
    fp8="fp8_scaled",
    sampling={"sample_steps": 20, "scale": 3.5},
)
ANIMA = Architecture(
    name="anima",
    title="Anima",
    script="anima_train_network",
    trainer="AnimaNetworkTrainer",
    model="anima",
    files=(
        ModelFile(
            "qwen3", "qwen3", "Qwen3 0.6B text encoder", "anima_utils.load_qwen3_text_encoder", with_tokenizer=True
        ),
        ModelFile("qwen_image_vae", "vae", "Qwen-Image VAE"),
    ),
    network="networks.lora_anima",
    base="Anima",
    options={
        "discrete_flow_shift": 1.0,
        "timestep_sampling": "sigmoid",
        "vae_chunk_size": 64,  # its autoencoder is made for video and takes too much memory for a whole canvas
        "vae_disable_cache": True,
    },
    size_step=16,
    most_swapped=26,
    tokens={"qwen3": 512},
    caption_size=2_500_000,
    converter="networks.convert_anima_lora_to_comfy",
    prefixes=("lora_unet_", "diffusion_model."),
    fp8="",
    sampling={"sample_steps": 28, "scale": 4.0},
)

ARCHITECTURES: dict[str, Architecture] = {each.name: each for each in (FLUX, CHROMA, SD3, LUMINA, HUNYUAN_IMAGE, ANIMA)}


def architecture(name: str) -> Architecture:
    """The architecture with this name.

    Raises:
        TrainingError: if there is none; it lists the names.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise TrainingError(
            f"There is no architecture {name!r}; sd-scripts trains {', '.join(ARCHITECTURES)}. Use Train In-Context LoRA "
            "(in ComfyUI) for other models."
        ) from None
