"""Model files with random weights, with the names and shapes of the real ones: FLUX.1-dev, CLIP-L, T5-XXL, autoencoder.

The numbers of a file repeat a block of a prime length, so writing 24 GB takes seconds and no two layers are alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

Shapes = dict[str, tuple[int, ...]]
BLOCK = 8_388_593  # a prime
STD = 0.02  # where the width does not say it
CONTEXT, POOLED = 4096, 768  # widths of T5-XXL and CLIP-L


@dataclass(frozen=True)
class Sizes:
    """Of the transformer, T5 and the autoencoder; CLIP-L has its true size always."""

    width: int = 3072
    heads: int = 24
    axes: tuple[int, int, int] = (16, 56, 56)
    double_blocks: int = 19
    single_blocks: int = 38
    t5_heads: int = 64
    t5_inner: int = 10240
    ae_width: int = 128


FULL = Sizes()
TINY = Sizes(
    width=64, heads=2, axes=(8, 12, 12), double_blocks=2, single_blocks=2, t5_heads=1, t5_inner=32, ae_width=32
)
T5_LAYERS = 24  # ComfyUI recognises T5-XXL by its last layer
FILES = {
    "flux": "flux1-random-bf16.safetensors",
    "flux_fp8": "flux1-random-e4m3fn.safetensors",
    "clip_l": "clip_l-random.safetensors",
    "t5xxl": "t5xxl-random-bf16.safetensors",
    "t5xxl_fp8": "t5xxl-random-e4m3fn.safetensors",
    "ae": "ae-random.safetensors",
}


def flux(sizes: Sizes) -> Shapes:
    """FLUX.1-dev under its own names."""
    width = sizes.width
    shapes: Shapes = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norms(name: str) -> None:
        for kind in ("query_norm", "key_norm"):
            shapes[f"{name}.{kind}.scale"] = (width // sizes.heads,)

    linear("img_in", width, 64)
    linear("txt_in", width, CONTEXT)
    for name, inputs in {"time_in": 256, "vector_in": POOLED, "guidance_in": 256}.items():
        linear(f"{name}.in_layer", width, inputs)
        linear(f"{name}.out_layer", width, width)
    for block in (f"double_blocks.{number}" for number in range(sizes.double_blocks)):
        for side in ("img", "txt"):
            linear(f"{block}.{side}_mod.lin", 6 * width, width)
            linear(f"{block}.{side}_attn.qkv", 3 * width, width)
            norms(f"{block}.{side}_attn.norm")
            linear(f"{block}.{side}_attn.proj", width, width)
            linear(f"{block}.{side}_mlp.0", 4 * width, width)
            linear(f"{block}.{side}_mlp.2", width, 4 * width)
    for block in (f"single_blocks.{number}" for number in range(sizes.single_blocks)):
        linear(f"{block}.linear1", 7 * width, width)
        linear(f"{block}.linear2", width, 5 * width)
        norms(f"{block}.norm")
        linear(f"{block}.modulation.lin", 3 * width, width)
    linear("final_layer.linear", 64, width)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes


def t5xxl(sizes: Sizes) -> Shapes:
    inner = 64 * sizes.t5_heads
    shapes: Shapes = {"shared.weight": (32128, CONTEXT)}
    for number in range(T5_LAYERS):
        attention, feed_forward = (f"encoder.block.{number}.layer.{part}" for part in (0, 1))
        for name in "qkv":
            shapes[f"{attention}.SelfAttention.{name}.weight"] = (inner, CONTEXT)
        shapes[f"{attention}.SelfAttention.o.weight"] = (CONTEXT, inner)
        if number == 0:
            shapes[f"{attention}.SelfAttention.relative_attention_bias.weight"] = (32, sizes.t5_heads)
        shapes[f"{feed_forward}.DenseReluDense.wi_0.weight"] = (sizes.t5_inner, CONTEXT)
        shapes[f"{feed_forward}.DenseReluDense.wi_1.weight"] = (sizes.t5_inner, CONTEXT)
        shapes[f"{feed_forward}.DenseReluDense.wo.weight"] = (CONTEXT, sizes.t5_inner)
        for part in (attention, feed_forward):
            shapes[f"{part}.layer_norm.weight"] = (CONTEXT,)
    shapes["encoder.final_layer_norm.weight"] = (CONTEXT,)
    return shapes


def clip_l() -> Shapes:
    width, model = POOLED, "text_model"
    shapes: Shapes = {
        f"{model}.embeddings.token_embedding.weight": (49408, width),
        f"{model}.embeddings.position_embedding.weight": (77, width),
    }
    norms = [f"{model}.final_layer_norm"]
    for layer in (f"{model}.encoder.layers.{number}" for number in range(12)):
        linears = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        linears |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in linears.items():
            shapes[f"{layer}.{name}.weight"], shapes[f"{layer}.{name}.bias"] = shape, shape[:1]
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
    return shapes | {f"{norm}.{kind}": (width,) for norm in norms for kind in ("weight", "bias")}


def autoencoder(sizes: Sizes) -> Shapes:
    """16 channels, a step of 8 pixels."""
    shapes: Shapes = {}
    widths = tuple(sizes.ae_width * factor for factor in (1, 2, 4, 4))

    def conv(name: str, outputs: int, inputs: int, side: int = 3) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, side, side), (outputs,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def residual(name: str, outputs: int, inputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", outputs, inputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs)
        if outputs != inputs:
            conv(f"{name}.nin_shortcut", outputs, inputs, 1)

    def middle(name: str, width: int) -> None:
        residual(f"{name}.block_1", width, width)
        norm(f"{name}.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.attn_1.{part}", width, width, 1)
        residual(f"{name}.block_2", width, width)

    conv("encoder.conv_in", widths[0], 3)
    for level, (inputs, width) in enumerate(pairwise((widths[0], *widths))):
        for number in range(2):
            residual(f"encoder.down.{level}.block.{number}", width, width if number else inputs)
        if level < len(widths) - 1:
            conv(f"encoder.down.{level}.downsample.conv", width, width)
    middle("encoder.mid", widths[-1])
    norm("encoder.norm_out", widths[-1])
    conv("encoder.conv_out", 32, widths[-1])
    conv("decoder.conv_in", widths[-1], 16)
    middle("decoder.mid", widths[-1])
    for level, (width, inputs) in reversed(list(enumerate(zip(widths, (*widths[1:], widths[-1]), strict=True)))):
        for number in range(3):
            residual(f"decoder.up.{level}.block.{number}", width, width if number else inputs)
        if level:
            conv(f"decoder.up.{level}.upsample.conv", width, width)
    norm("decoder.norm_out", widths[0])
    conv("decoder.conv_out", 3, widths[0])
    return shapes


# --- writing --------------------------------------------------------------------------------------------------------

_NAMES = {torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.float32: "F32"}


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, std: float = STD) -> None:
    """A safetensors file: matrices random with this standard deviation, norms 1, biases 0."""
    size = dtype.itemsize
    entries, offset = {}, 0
    for name, shape in shapes.items():
        length = size * torch.Size(shape).numel()
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    start = 8 + len(header)
    block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)) * std
    random = _bytes(torch.cat([block, block]).to(dtype))
    one = _bytes(torch.ones(1).to(dtype))
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(start + offset)

    def fill(numbered: tuple[int, str]) -> None:
        number, name = numbered
        first, last = entries[name]["data_offsets"]
        with path.open("r+b") as file:
            file.seek(start + first)
            for part in _content(name, number, last - first, random, one, size):
                file.write(part)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, enumerate(shapes)))


def _content(name: str, number: int, length: int, random: memoryview, one: memoryview, size: int) -> Iterator[bytes]:
    if name.endswith("bias"):
        return  # the file holds zeros there already
    if "norm" in name:
        yield bytes(one) * (length // size)
        return
    begin, block = number * 99_991 % BLOCK * size, BLOCK * size
    while length > 0:
        yield random[begin : begin + min(block, length)]  # type: ignore[misc]
        length -= block


def _bytes(values: torch.Tensor) -> memoryview:
    return values.view(torch.uint8).numpy().data


def write_all(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Write every file that is not there; returns their sizes in GB."""
    folder.mkdir(parents=True, exist_ok=True)
    std = sizes.width**-0.5  # so that what goes through a layer keeps its size
    # a processor would cast the table of words at every caption
    encoders = torch.float32 if sizes is TINY else torch.bfloat16
    wanted = {
        "clip_l": (clip_l(), encoders, STD),
        "ae": (autoencoder(sizes), torch.float32, STD),
        "flux": (flux(sizes), torch.bfloat16, std),
        "flux_fp8": (flux(sizes), torch.float8_e4m3fn, std),
        "t5xxl": (t5xxl(sizes), encoders, STD),
        "t5xxl_fp8": (t5xxl(sizes), torch.float8_e4m3fn, STD),
    }
    for name, (shapes, dtype, std) in wanted.items():
        path = folder / FILES[name]
        if not path.exists():
            unfinished = path.with_name(f".{path.name}")
            write(unfinished, shapes, dtype, std)
            unfinished.replace(path)
    return {name: round((folder / file).stat().st_size / 1e9, 2) for name, file in FILES.items()}
