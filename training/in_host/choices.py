"""The user's choices for training in ComfyUI. ComfyUI loads this module when it starts, so it imports nothing heavy."""

from __future__ import annotations

from enum import Enum

TRAINER = "in-host"  # in run.json


class Timesteps(Enum):
    """How noise levels are drawn."""

    SIGMOID = "sigmoid"  # logit-normal, as FLUX LoRAs are trained
    SHIFTED = "sigmoid, shifted as in sampling"  # logit-normal, then the model's own shift
    UNIFORM = "uniform, shifted as in sampling"


class Targets(Enum):
    """Which linear layers get a LoRA. Norms, biases, embeddings and modulations never do."""

    ATTENTION_MLP = "attention and MLP"
    ATTENTION = "attention"
    MLP = "MLP"


class Schedule(Enum):
    """How the learning rate changes after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(Enum):
    """The precision that the model computes in. The LoRA's weights are always float32."""

    AUTO = "auto"  # bf16 if the device supports it natively, else the precision that the model is loaded in
    BF16 = "bf16"
    FP16 = "fp16"  # with loss scaling: small gradients would vanish without it
    FP32 = "fp32"


class Optimiser(Enum):
    """What updates the LoRA."""

    ADAMW = "AdamW"
    ADAMW_8BIT = "AdamW 8-bit"  # from bitsandbytes
    PRODIGY = "Prodigy"  # from prodigyopt; finds its own learning rate
