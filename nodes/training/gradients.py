"""ComfyUI's faster operations have no gradients. Within `differentiable` it computes with ones that do.

ComfyUI 0.3 needs none of this. Newer versions check a flag that says whether a training runs, but some of their models do not:
they call the kernels of comfy-kitchen directly, so its pure torch versions take the kernels' place.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management
import comfy.ops
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ...incontext.errors import TrainingError

KERNELS = "comfy_kitchen"
PLAIN_FORMS = ("comfy_kitchen.backends.eager.rope", "comfy_kitchen.backends.eager.adaln")


@contextmanager
def differentiable() -> Iterator[None]:
    """Within the context gradients go through everything that ComfyUI computes."""
    with ExitStack() as undo:
        assign(undo, comfy.model_management, "in_training", True)
        # ComfyUI copies offloaded weights on streams of their own and reuses their memory once the layer is computed; it does
        # not know that the backward pass reads them again
        assign(undo, comfy.model_management, "NUM_STREAMS", 0)
        assign(undo, comfy.ops, "scaled_dot_product_attention", attention_with_gradients)
        # products of 8-bit numbers have no gradients; the same layers also compute in 16 bits
        assign(undo, comfy.ops, "fp8_linear", lambda *_: None)
        for name in PLAIN_FORMS:
            try:
                kernels, plain = importlib.import_module(KERNELS), importlib.import_module(name)
            except (
                ImportError
            ):  # another version: its operations have gradients, or autograd names the one that has none
                continue
            for function, form in inspect.getmembers(plain, inspect.isfunction):
                if not function.startswith("_") and hasattr(kernels, function):
                    assign(undo, kernels, function, form)
        yield


# in torch's words
_NO_GRADIENTS = (
    "modified by an inplace operation",
    "support automatic differentiation",
    "Inference tensors cannot be saved for backward",
    "backward through the graph a second time",
)


@contextmanager
def explained(model: str) -> Iterator[None]:
    """Turn torch's error about an operation without gradients into one for the user.

    Args:
        model: its kind, for the message.

    Raises:
        TrainingError: in place of that error.
    """
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_GRADIENTS):
            raise TrainingError(
                f"{model} computes in a way that has no gradients here, so it cannot be trained in ComfyUI "
                f"({str(error).splitlines()[0][:200]}). Take out nodes that patch the model; if there are none, train another "
                "model."
            ) from error
        raise


def attention_with_gradients(q: Tensor, k: Tensor, v: Tensor, *args: Any, **named: Any) -> Tensor:
    """torch's attention without cuDNN's kernel where queries and keys differ in number: its gradient is then NaN
    (seen on an H100 with torch 2.11). ComfyUI prefers that kernel on Windows, torch on some cards."""
    if q.shape[-2] == k.shape[-2]:
        return scaled_dot_product_attention(q, k, v, *args, **named)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        return scaled_dot_product_attention(q, k, v, *args, **named)


def assign(undo: ExitStack, place: Any, name: str, value: object) -> None:
    """Set an attribute until ``undo`` is closed; one that the place only inherits is then inherited again."""
    missing = object()
    before = vars(place).get(name, missing)
    setattr(place, name, value)
    if before is missing:
        undo.callback(delattr, place, name)
    else:
        undo.callback(setattr, place, name, before)
