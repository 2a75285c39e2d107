"""The identity of a model on a wire as a short text, so that pictures made by the same models are not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...incontext.evaluate.choose import ChoiceError
from .. import host

_SAMPLED = 16  # values per tensor; files that differ do so in nearly all tensors
_BLOCK = 1 << 20


def models_digest(*models: Any) -> str:
    """Of MODEL, CLIP and VAE wires: their weights, what is patched on them, and settings such as a shift.

    A few values of each tensor are read, so it takes moments for a model of any size.
    """
    digest = hashlib.blake2b(digest_size=16)
    for model in models:
        if model is None:  # loaders give it where a checkpoint holds no text encoder or autoencoder
            raise ChoiceError(
                "The connected model, CLIP or VAE is empty: the checkpoint does not hold one. Load it from a file of its own."
            )
        patcher = getattr(model, "patcher", model)
        if not hasattr(patcher, "model"):  # another pack's own kind of encoder
            digest.update(type(model).__qualname__.encode())
            continue
        digest.update(weights_digest(patcher).encode())
        settings = {**patcher.object_patches, "options": patcher.model_options}
        for name, patch in settings.items():
            for part in _parts(str(name), patch, 0):
                digest.update(part)
    return digest.hexdigest()


def weights_digest(patcher: Any) -> str:
    """Of a model's weights, and of the LoRAs and other patches on them; not of its settings."""
    digest = hashlib.blake2b(type(patcher.model).__name__.encode(), digest_size=16)
    for name, tensor in _weights(patcher):
        digest.update(_sample(name, tensor))
    for name, patch in patcher.patches.items():
        for part in _parts(str(name), patch, 0):
            digest.update(part)
    return digest.hexdigest()


def _weights(patcher: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights as they were loaded: those in place may hold the LoRA of the clone that was used last."""
    # a MODEL's other parts, such as its sampling, are replaced by patches, which are identified themselves
    prefix = "diffusion_model." if hasattr(patcher.model, "diffusion_model") else ""
    module = patcher.model.diffusion_model if prefix else patcher.model
    for name, tensor in module.state_dict().items():
        kept = patcher.backup.get(prefix + name)
        yield name, tensor if kept is None else kept.weight


def graph_digest(graph: Any, node_id: str, inputs: tuple[str, ...]) -> str:
    """Of the nodes that these inputs come from: their classes and values, whatever their ids."""
    node = graph.get_node(node_id)
    known: dict[str, str] = {}
    return _digest({name: _told(graph, node["inputs"][name], known) for name in inputs if name in node["inputs"]})


def file_digest(path: Path) -> str:
    """Of a file's content."""
    return _file_digest(path, host.file_stamp(path))


@lru_cache(maxsize=1024)
def _file_digest(path: Path, stamp: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _told(graph: Any, value: Any, known: dict[str, str]) -> Any:
    """An input's value, or the output that it is connected to. ``known``: digests by node, each computed once."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return value
    source, output = value
    if source not in known:
        known[source] = ""  # a circle ends here; ComfyUI refuses such a prompt
        node = graph.get_node(source)
        inputs = {name: _told(graph, each, known) for name, each in node["inputs"].items()}
        known[source] = _digest([node["class_type"], inputs])
    return [known[source], output]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sample(name: str, tensor: torch.Tensor) -> bytes:
    # a weight of inference mode that was moved to a card counts no versions, and only ``data`` does not ask for them
    flat = tensor.data.reshape(-1)
    some = flat[:: max(1, len(flat) // _SAMPLED)][:_SAMPLED].float().cpu()
    return f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + some.numpy().tobytes()


def _parts(name: str, value: Any, depth: int) -> Iterator[bytes]:
    """Tensors and plain values in a patch, down to the depth at which ComfyUI and packs nest them."""
    if isinstance(value, torch.Tensor):
        yield _sample(name, value)
    elif isinstance(value, str | int | float | bool | None):
        yield f"{name} {value}".encode()
    elif depth > 4:
        return
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _parts(f"{name}.{key}", each, depth + 1)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _parts(f"{name}.{number}", each, depth + 1)
    else:
        yield f"{name} {getattr(value, '__qualname__', type(value).__qualname__)}".encode()
        if isinstance(value, torch.nn.Module):
            yield from _parts(name, value.state_dict(), depth + 1)
        for attribute in ("weights", "shift", "multiplier"):  # of LoRA adapters and of samplings
            if hasattr(value, attribute):
                yield from _parts(f"{name}.{attribute}", getattr(value, attribute), depth + 1)
