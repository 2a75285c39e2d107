"""Identify model files. Only headers are read, so this takes hardly any time or memory.

The trainer builds a model without weights and copies in whatever it finds, so with a wrong file it fails late and obscurely,
or trains on nonsense. Here a wrong file is refused at once, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...incontext.errors import LoraError, TrainingError
from ...incontext.lora.header import TensorEntry, read_header
from .architectures import ARCHITECTURES, Architecture

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.")

# names that together identify a kind of file; the first match wins
_SIGNATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("chroma_radiance", ("distilled_guidance_layer.", "nerf_blocks.")),
    ("chroma", ("distilled_guidance_layer.", "double_blocks.")),
    ("hunyuan_video", ("vision_in.", "double_blocks.")),
    ("hunyuan_image", ("byt5_in.", "double_blocks.")),
    ("hunyuan_video", ("txt_in.individual_token_refiner.", "double_blocks.")),
    ("flux2", ("double_stream_modulation_img.", "double_blocks.")),
    ("flux", ("double_blocks.0.img_attn.", "single_blocks.")),
    ("sd3", ("joint_blocks.0.", "x_embedder.proj.")),
    ("z_image", ("x_pad_token", "noise_refiner.0.")),
    ("newbie", ("clip_text_pooled_proj.", "noise_refiner.0.")),
    ("lumina2", ("noise_refiner.0.", "cap_embedder.")),
    ("anima", ("llm_adapter.", "blocks.0.")),
    ("gemma3", ("model.layers.0.post_feedforward_layernorm.", "model.layers.0.self_attn.q_norm.")),
    ("gemma2", ("model.layers.0.post_feedforward_layernorm.", "model.embed_tokens.")),
    ("qwen2_5_vl", ("visual.blocks.0.", "model.layers.0.")),
    ("qwen3", ("model.layers.0.self_attn.q_norm.", "model.embed_tokens.")),
    ("clip_g", ("text_model.encoder.layers.31.",)),
    ("clip_l", ("text_model.encoder.layers.0.",)),
    ("umt5", ("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.",)),
    ("t5xxl", ("encoder.block.0.layer.0.SelfAttention.",)),
    ("hunyuan_vae", ("decoder.up.0.block.0.", "decoder.conv_in.", "encoder.down.4.")),
    ("flux_ae", ("decoder.up.0.block.0.", "decoder.conv_in.")),
    ("qwen_image_vae", ("decoder.middle.0.residual.", "encoder.conv1.")),
)
_TITLES = {
    "chroma": "a Chroma model",
    "chroma_radiance": "a Chroma Radiance model",
    "hunyuan_image": "a HunyuanImage model",
    "hunyuan_video": "a HunyuanVideo model",
    "flux": "a FLUX.1 model",
    "flux2": "a FLUX.2 model",
    "flux_fill": "a FLUX.1 Fill model",
    "flux_control": "a FLUX.1 Canny or Depth model",
    "sd3": "a Stable Diffusion 3 model",
    "lumina2": "a Lumina-Image 2 model",
    "z_image": "a Z-Image model",
    "newbie": "a NewBie model",
    "anima": "an Anima model",
    "umt5": "a UMT5 text encoder, as used by Wan",
    "gemma3": "a Gemma 3 text encoder",
    "gemma2_9b": "the 9B Gemma 2 text encoder",
    "qwen3_4b": "the 4B Qwen3 text encoder, as used by Z-Image",
    **{file.role: f"a {file.title}" for each in ARCHITECTURES.values() for file in each.files},
}
# kinds that only the trainer in ComfyUI can train
_IN_COMFYUI = ("flux2", "z_image", "newbie")
# kinds with the same names, told apart by their width: role → other role → a tensor, and its last dimension there
_WIDTHS: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "flux": {"flux_fill": ("img_in.weight", 384), "flux_control": ("img_in.weight", 128)},
    "t5xxl": {"byt5": ("encoder.block.0.layer.0.SelfAttention.q.weight", 1472)},
    "qwen3": {"qwen3_4b": ("model.embed_tokens.weight", 2560)},
    "gemma2": {"gemma2_9b": ("model.embed_tokens.weight", 3584)},
}
# FLUX's and SD3's autoencoders differ only in their weights, so names and shapes cannot tell them apart
_ALIKE = {"sd3_vae": ("flux_ae",)}
_DIFFUSERS = ("transformer_blocks.0.", "single_transformer_blocks.0.", "encoder.down_blocks.0.", "decoder.up_blocks.0.")


def identify(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The role of a file with tensors of these names and shapes; empty if it is unknown."""
    bare = {_bare(name): shape for name, shape in shapes.items()}
    for role, starts in _SIGNATURES:
        if all(any(name.startswith(start) for name in bare) for start in starts):
            namesakes = _WIDTHS.get(role, {}).items()
            return next((other for other, (name, width) in namesakes if bare.get(name, ())[-1:] == (width,)), role)
    return ""


def problem(file: Path, tensors: Mapping[str, TensorEntry], role: str, title: str) -> str:
    """Why a file cannot be used as ``role``, in one sentence; empty if it can.

    Args:
        tensors: of the file, by name.
        title: the role's name for messages.
    """
    bare = [_bare(name) for name in tensors]
    if any(name == "scaled_fp8" or name.endswith((".scale_weight", ".weight_scale", ".comfy_quant")) for name in bare):
        return (
            f"{file.name} holds quantised weights (fp8_scaled or similar), which the trainer would read wrongly. Choose the "
            f"bf16 or fp16 file of {title}; it is converted to 8 bits while it is loaded."
        )
    if any(entry.dtype == "F8_E5M2" for entry in tensors.values()):
        return f"{file.name} holds 8-bit weights in e5m2 format, which the trainer cannot use. Choose a bf16 file."
    found = identify(_shapes(tensors))
    if found == role or found in _ALIKE.get(role, ()):
        return ""
    if any(name.startswith(_DIFFUSERS) for name in bare) and not found:
        return (
            f"{file.name} is in diffusers format, which the trainer does not read. Choose the original file of {title}, as "
            "ComfyUI uses it."
        )
    what = _TITLES.get(found, "of an unknown kind")
    remedy = " Train In-Context LoRA (in ComfyUI) trains it." if found in _IN_COMFYUI else ""
    return f"{file.name} is {what}; expected {title}.{remedy}"


def assign(architecture: Architecture, model: Path, others: Sequence[Path]) -> dict[str, Path]:
    """Option of the trainer → file. The order of the other files does not matter.

    Raises:
        TrainingError: if a file is missing, of another kind, or in a format that the trainer cannot read.
    """
    chosen = {architecture.model_option: _checked(model, architecture.model, architecture.title)}
    known = {path: identify(_shapes(_header(path))) for path in others}
    for wanted in architecture.files:
        roles = (wanted.role, *_ALIKE.get(wanted.role, ()))
        fitting = [path for path, role in known.items() if role in roles]
        if not fitting:
            unknown = [path for path, role in known.items() if not role]
            for path in unknown:  # an error about an unusable file says more than one about a missing file
                _checked(path, wanted.role, wanted.title)
            given = ", ".join(f"{path.name} ({_TITLES.get(role, 'unknown')})" for path, role in known.items())
            raise TrainingError(
                f"{architecture.title} needs the {wanted.title}, which is not among the chosen files"
                f"{f': {given}' if given else ''}. Choose it too."
            )
        chosen[wanted.option] = _checked(fitting[0], wanted.role, wanted.title)
    return chosen


def _checked(path: Path, role: str, title: str) -> Path:
    sentence = problem(path, _header(path), role, title)
    if sentence:
        raise TrainingError(sentence)
    return path


def _header(path: Path) -> Mapping[str, TensorEntry]:
    if path.suffix.lower() == ".gguf":
        raise TrainingError(
            f"{path.name} is a GGUF file, which the trainer cannot read. Choose a .safetensors file in bf16."
        )
    if not path.is_file():
        raise TrainingError(f"There is no model file {path}. Choose another, or put it there.")
    try:
        return read_header(path).tensors
    except LoraError as error:
        raise TrainingError(str(error)) from error


def _shapes(tensors: Mapping[str, TensorEntry]) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in tensors.items()}


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def encoder_size(architecture: Architecture, files: Mapping[str, Path]) -> float:
    """Size in GB of the text encoders' files, which the trainer puts on the card while captions are encoded."""
    return sum(files[file.option].stat().st_size for file in architecture.encoders) / 1e9


def model_shapes(architecture: Architecture, files: Mapping[str, Path]) -> list[tuple[int, ...]]:
    """Shapes of the diffusion model's tensors, without the encoders that a full checkpoint also holds."""
    shapes = _shapes(_header(files[architecture.model_option]))
    own = [shape for name, shape in shapes.items() if name.startswith(PREFIXES)]
    return own or list(shapes.values())


def model_size(architecture: Architecture, files: Mapping[str, Path], bytes_per_weight: int) -> float:
    """Size in GB of the diffusion model, with so many bytes per weight."""
    return bytes_per_weight * sum(map(math.prod, model_shapes(architecture, files))) / 1e9


def identity(files: Mapping[str, Path]) -> list[str]:
    """Texts that change with the model files: names, sizes and times. Reading the content would take minutes."""
    stats = [(option, path, path.stat()) for option, path in sorted(files.items())]
    return [f"{option} {path.name} {stat.st_size} {stat.st_mtime_ns}" for option, path, stat in stats]
