"""What a user chooses for a training in the host, without what carries it out: ComfyUI's start loads this."""

from __future__ import annotations

from enum import Enum

TRAINER = "in-host"  # in run.json


class Timesteps(Enum):
    """How noise levels are drawn."""

    SIGMOID = "sigmoid"  # logit-normal, as FLUX LoRAs are trained
    SHIFTED = "sigmoid, shifted as in sampling"  # logit-normal, then the model's own shift
    UNIFORM = "uniform, shifted as in sampling"


class Targets(Enum):
    """Which linear layers get a LoRA. Never norms, biases, embeddings or modulations."""

    ATTENTION_MLP = "attention and MLP"
    ATTENTION = "attention"
    MLP = "MLP"


class Schedule(Enum):
    """How the learning rate changes after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(Enum):
    """In what precision the model computes; the LoRA's weights are always float32."""

    AUTO = "auto"  # bf16 where the device computes it natively, else as the model is loaded
    BF16 = "bf16"
    FP16 = "fp16"  # with loss scaling: small gradients would vanish without it
    FP32 = "fp32"


class Optimiser(Enum):
    """What updates the LoRA."""

    ADAMW = "AdamW"
    ADAMW_8BIT = "AdamW 8-bit"  # bitsandbytes, where it is installed
    PRODIGY = "Prodigy"  # prodigyopt; finds its own learning rate
