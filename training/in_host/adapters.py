"""LoRA layers beside a model's linear layers, attached by forward hooks and removed without a trace.

A hook adds ``up(down(x)) · alpha / rank`` to a layer's output. The model's own weights are neither copied nor merged, in any
precision and wherever ComfyUI keeps them. The pair is cast to the precision of ``x``, in which the model computes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...incontext.errors import TrainingError
from .choices import Targets

# layers of a block, as ComfyUI's diffusion transformers name them
_ATTENTION = re.compile(
    r"(attn|attention|qkv|to_q|to_k|to_v|to_out|q_proj|k_proj|v_proj|o_proj|out_proj|add_[qkv]_proj|linear1|linear2)"
)
_MLP = re.compile(r"(mlp|ffn?\b|feed_forward|\.ff\.|ff_context|fc1|fc2|w1\b|w2\b|w3\b|linear1|linear2)")
# an llm_adapter, such as Anima's, is applied to each caption once, before training; tmlp and txtmlp are Krea 2's
# embeddings of time and text
_NEVER = re.compile(
    r"(adaln|modulation|\bmod\b|img_mod|txt_mod|embed|norm|final_layer|time_|timestep|vector_in|guidance|llm_adapter"
    r"|\b(txt|t)mlp\b)",
    re.I,
)
_IN_BLOCK = re.compile(r"\.\d+\.")
_NUMBER = re.compile(r"^(.*?\.)(\d+)\.")


class LoraLayer(nn.Module):
    """One low-rank pair in float32: ``down`` [rank, in] starts at random, ``up`` [out, rank] at zero.

    Attributes:
        was_used: whether the model has computed this layer. Some have parts that only run with reference latents.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)  # the usual Kaiming initialisation with a = √5
        self.lora_down = nn.Parameter(torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator))
        self.lora_up = nn.Parameter(torch.zeros(outputs, rank))
        self.alpha = alpha
        self.was_used = False

    @property
    def rank(self) -> int:
        return self.lora_down.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        scale = self.alpha / self.rank
        down, up = self.lora_down, self.lora_up if scale == 1 else self.lora_up * scale
        return nn.functional.linear(nn.functional.linear(x, down.to(x.dtype)), up.to(x.dtype))


@dataclass(frozen=True)
class Adapters:
    """The LoRA layers of a model, by the name of the module that they belong to."""

    layers: Mapping[str, LoraLayer]

    def parameters(self) -> list[nn.Parameter]:
        return list(self.named_parameters().values())

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """``<module>.lora_down`` or ``<module>.lora_up`` → parameter."""
        return {
            f"{name}.{part}": parameter
            for name, layer in self.layers.items()
            for part, parameter in layer.named_parameters()
        }

    def to(self, device: torch.device) -> Adapters:
        for layer in self.layers.values():
            layer.to(device)
        return self

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Within the context, the model computes with the LoRA; afterwards it is as before.

        Raises:
            TrainingError: if a layer in a forward pass computes without gradients, as most 4-bit kernels do.
        """
        handles = []
        try:
            for name, layer in self.layers.items():
                handles.append(model.get_submodule(name).register_forward_hook(partial(_add, name, layer)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def check_gradients(self) -> None:
        """After a backward pass, check that every layer that was used has a gradient.

        The text layers of the last block may lack one, since in some models nothing depends on them.

        Raises:
            TrainingError: if another layer lacks one, because something between it and the loss computes without gradients.
        """
        used = [name for name, layer in self.layers.items() if layer.was_used]
        trained = [name for name in used if _is_target(name, Targets.ATTENTION_MLP)]
        last: dict[str, int] = {}
        for name in trained:
            blocks, number = _block(name)
            last[blocks] = max(last.get(blocks, 0), number)
        without = [
            name
            for name in trained
            if self.layers[name].lora_up.grad is None and _block(name)[1] < last[_block(name)[0]]
        ]
        if without:
            raise TrainingError(
                f"{len(without)} of {len(trained)} trained layers get no gradient, the first of them {without[0]}. "
                "Part of the model computes without gradients, usually a fast attention kernel. Start ComfyUI with "
                "--use-pytorch-cross-attention, and train the model without nodes that patch its attention."
            )

    def state_dict(self, prefix: str = "diffusion_model.") -> dict[str, Tensor]:
        """The LoRA, on the CPU, with the names of ComfyUI's own trainer: ``<module>.lora_up.weight`` and so on."""
        state: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            state[f"{prefix}{name}.lora_up.weight"] = layer.lora_up.detach().cpu().clone()
            state[f"{prefix}{name}.lora_down.weight"] = layer.lora_down.detach().cpu().clone()
            state[f"{prefix}{name}.alpha"] = torch.tensor(float(layer.alpha))
        return state

    def layers_state(self) -> dict[str, dict[str, Any]]:
        """Copies of the layers for `restored_adapters`: module → down, up and alpha."""
        return {
            name: {
                "down": layer.lora_down.detach().cpu().clone(),
                "up": layer.lora_up.detach().cpu().clone(),
                "alpha": layer.alpha,
            }
            for name, layer in self.layers.items()
        }


@dataclass(frozen=True)
class Delta:
    """An existing LoRA's change of one weight: ``up @ down · scale``, from row ``start`` of the weight on.

    Attributes:
        up: [out, rank].
        down: [rank, in].
    """

    up: Tensor
    down: Tensor
    scale: float
    start: int = 0


def _add(name: str, layer: LoraLayer, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """Forward hook: a layer's output plus the LoRA's."""
    x = inputs[0]
    layer.was_used = True
    if torch.is_grad_enabled() and x.requires_grad and not output.requires_grad:
        raise TrainingError(
            f"{name} is a {type(module).__name__}, which computes without gradients, so no layer before it can learn. Load "
            "the model in bf16, fp16 or fp8; the LoRA will work with the quantised model too."
        )
    return output + layer(x).to(output.dtype)


def target_modules(model: nn.Module, targets: Targets) -> dict[str, tuple[int, int]]:
    """Names of the linear layers to train and their (inputs, outputs), in the model's order.

    Raises:
        TrainingError: if the model has none.
    """
    found = {name: shape for name, shape in linear_modules(model).items() if _is_target(name, targets)}
    if found:
        return found
    candidates = (type(module).__name__ for name, module in model.named_modules() if _is_target(name, targets))
    kinds = sorted({kind for kind in candidates if kind not in dir(nn)})
    raise TrainingError(
        f"{type(model).__name__} has no {targets.value} layers that can be trained. "
        + (f"It has layers of other types instead: {', '.join(kinds)}. " if kinds else "")
        + "Use a diffusion transformer such as FLUX or SD3 in bf16, fp16 or fp8, or other target layers."
    )


def linear_modules(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Names of all linear layers, which an existing LoRA may change, and their (inputs, outputs)."""
    return {name: shape for name, module in model.named_modules() if (shape := linear_shape(module))}


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer; None for other modules.

    Quantised layers are often not an `nn.Linear`, but have its attributes ``in_features`` and ``out_features``.
    """
    inputs, outputs = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(inputs, int) and isinstance(outputs, int) and not hasattr(module, "num_experts"):
        return inputs, outputs
    return None


def _block(name: str) -> tuple[str, int]:
    """The module list that a layer's block is in, and the block's index there."""
    found = _NUMBER.match(name)
    return (found[1], int(found[2])) if found else (name, 0)


def _is_target(name: str, targets: Targets) -> bool:
    if not _IN_BLOCK.search(f".{name}.") or _NEVER.search(name):
        return False
    attention, mlp = bool(_ATTENTION.search(name)), bool(_MLP.search(name))
    return {Targets.ATTENTION: attention, Targets.MLP: mlp, Targets.ATTENTION_MLP: attention or mlp}[targets]


def new_adapters(
    modules: Mapping[str, tuple[int, int]], rank: int, alpha: float, generator: torch.Generator
) -> Adapters:
    """New LoRA layers for these modules: name → (inputs, outputs). The rank is at most the smaller side of a layer."""
    return Adapters(
        {
            name: LoraLayer(inputs, outputs, min(rank, inputs, outputs), alpha, generator)
            for name, (inputs, outputs) in modules.items()
        }
    )


def continued_adapters(
    modules: Mapping[str, tuple[int, int]], deltas: Mapping[str, Sequence[Delta]], generator: torch.Generator
) -> Adapters:
    """LoRA layers that start as an existing LoRA, with its layers, ranks and strength.

    Several deltas of one weight become exactly one pair of their summed rank. A LoRA has several if it keeps query, key and
    value apart and the model does not.

    Args:
        modules: name → (inputs, outputs), from `linear_modules`.
        deltas: module → changes of its weight.

    Raises:
        TrainingError: if the LoRA changes none of these modules, another module, or one of another shape.
    """
    layers: dict[str, LoraLayer] = {}
    for name, parts in deltas.items():
        if name not in modules:
            raise TrainingError(
                f"The LoRA to continue changes {name}, which is not a linear layer of the model. It was made for another "
                "model, or is of a kind that cannot be continued; start a new LoRA."
            )
        inputs, outputs = modules[name]
        rank = sum(part.down.shape[0] for part in parts)
        layer = LoraLayer(inputs, outputs, rank, float(rank), generator)
        up = torch.zeros(outputs, rank)
        column = 0
        for part in parts:
            if part.down.shape[1] != inputs or part.start + part.up.shape[0] > outputs:
                raise TrainingError(
                    f"The LoRA to continue has {tuple(part.up.shape)} and {tuple(part.down.shape)} for {name}, but the layer "
                    f"is {outputs}×{inputs}. The LoRA was made for another model; connect that model, or start a new LoRA."
                )
            columns = slice(column, column + part.down.shape[0])
            up[part.start : part.start + part.up.shape[0], columns] = part.up.float() * part.scale
            layer.lora_down.data[columns] = part.down.float()
            column = columns.stop
        layer.lora_up.data.copy_(up)
        layers[name] = layer
    if not layers:
        raise TrainingError(
            "The LoRA to continue changes none of the model's trained layers. It was made for another model; connect that "
            "model, or start a new LoRA."
        )
    return Adapters(layers)


def restored_adapters(modules: Mapping[str, tuple[int, int]], state: Mapping[str, Mapping[str, Any]]) -> Adapters:
    """The layers of `Adapters.layers_state`, to continue training them.

    Raises:
        TrainingError: if the model does not have these layers.
    """
    layers: dict[str, LoraLayer] = {}
    for name, saved in state.items():
        down, up = saved["down"], saved["up"]
        inputs, outputs = modules.get(name, (0, 0))
        if down.shape != (len(down), inputs) or up.shape != (outputs, len(down)):
            raise TrainingError(
                f"The saved state has a layer {name} of {up.shape[0]}×{down.shape[1]}, but in the model "
                + (f"it is {outputs}×{inputs}. " if name in modules else "it does not exist. ")
                + "Connect the model that the training began with."
            )
        layer = LoraLayer(inputs, outputs, len(down), float(saved["alpha"]), torch.Generator())
        layer.lora_down.data.copy_(down)
        layer.lora_up.data.copy_(up)
        layers[name] = layer
    return Adapters(layers)
