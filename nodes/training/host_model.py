"""ComfyUI's model, text encoder and autoencoder as the trainer wants them: encode sets, predict velocities, sample.

Nodes run in inference mode, whose tensors autograd refuses. So whatever is trained on is made or copied outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import comfy.conds
import comfy.ldm.modules.attention
import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import comfy.weight_adapter
import torch
from torch import Tensor, nn

from ...incontext.captions.joint import escape
from ...incontext.errors import TrainingError
from ...incontext.lora.keys import with_peft_names
from ...incontext.lora.recipe import Sampling
from ...training.choices import ReferenceKind
from ...training.in_host.adapters import Delta
from ...training.in_host.choices import Precision
from ...training.in_host.flow import velocity
from ...training.in_host.memory import block_sizes, repeated_blocks, step_memory
from ...training.in_host.settings import TrainSettings
from ..references.isolation import (
    OVERRIDE,
    Pass,
    Selection,
    choosing,
    picture_tokens,
    reference_conditions,
    supports_isolation,
)
from ..references.patches import patch_side
from .gradients import assign, differentiable
from .patching import copied, lasting, recomputed
from .tensors import computes_bf16, leave_inference_mode, usable

PREFIX = "diffusion_model."


def _attention_with_gradients(_fast: Callable[..., Tensor], *inputs: Any, **named: Any) -> Tensor:
    """In place of the kernel that ComfyUI was started with: Sage attention has no gradients and raises no error."""
    return comfy.ldm.modules.attention.attention_pytorch(*inputs, **named)


OPTIONS = {OVERRIDE: _attention_with_gradients}


@dataclass(frozen=True)
class Condition:
    """An encoded caption: ComfyUI's conditioning, and what the model takes from it, both on the CPU."""

    conditioning: list
    model_conds: Mapping[str, Any]


class HostModel:
    """A MODEL wire, for training.

    Raises:
        TrainingError: if it is not a flow-matching model, since its velocity would mean something else, or if
            its weights cannot be kept in place.
    """

    def __init__(self, patcher: Any) -> None:
        if not isinstance(patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST):
            raise TrainingError(
                f"{type(patcher.model).__name__} is not a flow-matching model. In-Context LoRA is trained on diffusion "
                "transformers such as FLUX, SD3, Chroma or Lumina."
            )
        self.patcher = lasting(patcher)
        self.model = self.patcher.model
        self.device: torch.device = patcher.load_device

    def load(self, memory: int = 0) -> None:
        """Bring the model to its device, with this many bytes left for computing; ComfyUI offloads what does not fit."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory)
        leave_inference_mode(self.transformer)

    def unload_others(self) -> None:
        """Take every other model off the device: text encoders and autoencoder are not needed while training."""
        ours = [loaded for loaded in comfy.model_management.current_loaded_models if self._is_ours(loaded)]
        comfy.model_management.free_memory(1e30, self.device, keep_loaded=ours)
        comfy.model_management.soft_empty_cache()

    def _unload(self) -> None:
        """Take the model off the device, with its layers as ComfyUI made them."""
        others = [loaded for loaded in comfy.model_management.current_loaded_models if not self._is_ours(loaded)]
        comfy.model_management.free_memory(1e30, self.device, keep_loaded=others)
        for module in self.model.modules():
            # ComfyUI takes a layer that still says it was cast for one in main memory, and adds no LoRA to it
            comfy.model_patcher.wipe_lowvram_weight(module)

    def _is_ours(self, loaded: Any) -> bool:
        return loaded.model is not None and self.patcher.is_clone(loaded.model)

    def step_memory(
        self, latents: Sequence[Tensor], conditions: Sequence[Condition], trained: int, settings: TrainSettings
    ) -> int:
        """Bytes that a training step needs beside the model's weights, for the largest of these sets."""
        picture = max(latent[0].numel() for latent in latents) // patch_side(self.transformer) ** 2
        isolated = settings.references is ReferenceKind.ISOLATED and settings.reference_share > 0
        text = max((_text_tokens(condition) for condition in conditions), default=0)
        return step_memory(
            block_sizes(self.transformer),
            settings.batch_size * (picture + text),
            value_bytes=self.compute_dtype(settings.precision).itemsize,
            checkpointing=settings.gradient_checkpointing,
            trained=trained,
            averaged=settings.ema > 0,
            recorded=settings.batch_size * picture if isolated else 0,
        )

    @property
    def transformer(self) -> nn.Module:
        return self.model.diffusion_model

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def shift(self, position: float) -> float:
        """The noise level at an even position of the schedule, 0 … 1, with the shift that sampling uses."""
        return float(self.patcher.get_model_object("model_sampling").percent_to_sigma(1 - position))

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise that sampling starts from; some models, such as HiDream-O1, begin with more than 1."""
        one = torch.ones(1)
        return float(self.patcher.get_model_object("model_sampling").noise_scaling(one, one, torch.zeros(1)))

    @torch.no_grad()
    def encode_picture(self, vae: Any, picture: Tensor) -> Tensor:
        """[H, W, 3] in 0…1 → latent [channels, …, h, w], scaled as the model wants it."""
        latent = self.model.process_latent_in(vae.encode(picture[None, ..., :3]))
        return latent[0].float().cpu().clone()

    @torch.no_grad()
    def encode_caption(self, clip: Any, caption: str, guidance: float, latent: Tensor) -> Condition:
        """Encode a caption, its parentheses as text; ``latent`` stands for the size that the model will be asked for."""
        tokens = clip.tokenize(escape(caption))
        conditioning = clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": guidance})
        converted = comfy.sampler_helpers.convert_cond(conditioning)
        (encoded,) = comfy.samplers.encode_model_conds(
            self.model.extra_conds, converted, latent[None], torch.device("cpu"), "positive"
        )
        return Condition(conditioning, encoded["model_conds"])

    def predict(
        self, noisy: Tensor, sigmas: Tensor, conditions: Sequence[Condition], isolated: Tensor | None = None
    ) -> Tensor:
        """Velocity for each sample under its own caption, float32. Captions of different lengths are computed separately.

        Args:
            isolated: bool [batch, 1, (1,) height, width], the latent pixels of isolated references, which are clean in
                ``noisy``; their velocity is 0.
        """
        tokens = None if isolated is None else picture_tokens(self.model, isolated.cpu())
        keys = [
            (_together_key(condition), 0 if tokens is None else int(tokens[row].sum()))
            for row, condition in enumerate(conditions)
        ]
        parts: list[Tensor] = [noisy] * len(conditions)
        for key, group in groupby(sorted(range(len(conditions)), key=keys.__getitem__), key=keys.__getitem__):
            rows = list(group)
            x, t = noisy[rows], sigmas[rows].to(noisy)
            arguments = comfy.samplers.cond_cat(
                [
                    {name: cond.process_cond(batch_size=1, device=self.device, area=None) for name, cond in c.items()}
                    for c in (conditions[i].model_conds for i in rows)
                ]
            )
            arguments = {name: usable(value, self.device) for name, value in arguments.items()}
            with self._autocast():
                if tokens is None or not key[1]:
                    denoised = self.model.apply_model(x, t, transformer_options=dict(OPTIONS), **arguments)
                else:
                    denoised = self._isolated(x, t, arguments, tokens[rows])
            predicted = velocity(x, denoised, t)
            for row, part in zip(rows, predicted, strict=True):
                parts[row] = part
        return torch.stack(parts)

    def _isolated(self, x: Tensor, t: Tensor, arguments: Mapping[str, Any], references: Tensor) -> Tensor:
        """Denoised latents of a batch whose references are the given tokens, bool [batch, tokens]."""

        def run(one: Pass, t: Tensor, arguments: Mapping[str, Any]) -> Tensor:
            with choosing(self.model, one):
                return self.model.apply_model(x, t, transformer_options={OVERRIDE: one}, **arguments)

        own = Pass(Selection.of(references, x.device), inner=_attention_with_gradients)
        run(own, torch.zeros_like(t), reference_conditions(self.model, arguments))
        painted = Pass(Selection.of(~references, x.device), own.recorded, _attention_with_gradients)
        denoised = run(painted, t, arguments)
        # the graph and the passes refer to each other, a cycle that Python cannot collect
        own.recorded.pairs.clear()
        return denoised

    @property
    def isolates(self) -> bool:
        """Whether references can be isolated in this model."""
        return supports_isolation(self.model)

    @contextmanager
    def prepared(self, *, gradient_checkpointing: bool, precision: Precision, memory: int = 0) -> Iterator[None]:
        """Within the context the model is on its device and can be trained on; afterwards it is as before.

        Args:
            precision: what it computes in.
            memory: bytes to keep free for computing (`step_memory`).
        """
        with ExitStack() as undo:
            undo.enter_context(differentiable())
            undo.enter_context(self._computing_in(self.compute_dtype(precision)))
            self.load(memory)
            trained = {name: p.requires_grad for name, p in self.model.named_parameters()}
            undo.callback(
                lambda: [p.requires_grad_(trained.get(name, False)) for name, p in self.model.named_parameters()]
            )
            self.model.requires_grad_(False)
            for block in repeated_blocks(self.transformer):
                for part in block.children():
                    if "norm" in type(part).__name__.lower():
                        undo.callback(part.register_forward_pre_hook(copied).remove)
                if gradient_checkpointing:
                    assign(undo, block, "forward", partial(recomputed, block.forward))
            yield

    def compute_dtype(self, precision: Precision) -> torch.dtype:
        """What the model computes in: float32, bfloat16 or float16."""
        chosen = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16, Precision.FP32: torch.float32}
        if precision is not Precision.AUTO:
            return chosen[precision]
        if computes_bf16(self.device):
            return torch.bfloat16
        return torch.float16 if self._own_dtype is torch.float16 else torch.float32

    @property
    def _own_dtype(self) -> torch.dtype:
        """What ComfyUI computes this model in."""
        return self.model.manual_cast_dtype or self.model.get_dtype()

    @contextmanager
    def _computing_in(self, dtype: torch.dtype) -> Iterator[None]:
        """Within the context the model computes in this precision.

        Where it is loaded in float32, autocast does it: residuals and norms stay float32. Everywhere else ComfyUI casts each
        layer's weights to the precision of its input, which it can also do from 8 bits or main memory; autocast would cast
        them to float32 first. ComfyUI itself switches casting on and off for the layers that it moves, so it has to know; what
        it loaded that way is unloaded again, so that the next sampling finds the model as it was.
        """
        own = self._own_dtype
        with ExitStack() as undo:
            if own is torch.float32 and dtype is not own and self.model.get_dtype() is torch.float32:
                self._autocast = partial(torch.autocast, self.device.type, dtype)
                undo.callback(delattr, self, "_autocast")
            elif dtype is not own:
                computing = self.patcher.clone()
                computing.set_model_compute_dtype(dtype)
                assign(undo, self, "patcher", computing)
                undo.callback(self._unload)
            yield

    _autocast: Callable[[], AbstractContextManager] = staticmethod(nullcontext)

    @torch.no_grad()
    def sample(
        self, condition: Condition, empty: Condition, shape: Sequence[int], seed: int, sampling: Sampling
    ) -> Tensor:
        """A latent from noise by ComfyUI's own sampler; ``shape`` is that of one latent without the batch."""
        latent = torch.zeros(1, *shape)
        return comfy.sample.sample(
            self.patcher,
            comfy.sample.prepare_noise(latent, seed),
            sampling.steps,
            sampling.cfg,
            sampling.sampler,
            sampling.scheduler,
            condition.conditioning,
            empty.conditioning,
            latent,
            seed=seed,
            disable_pbar=True,
        )

    def deltas(self, lora: Mapping[str, Tensor]) -> dict[str, list[Delta]]:
        """An existing LoRA, of any key family that ComfyUI reads, as changes of the transformer's layers.

        Raises:
            TrainingError: if it holds anything but plain LoRA pairs, or nothing for this model.
        """
        key_map = with_peft_names(comfy.lora.model_lora_keys_unet(self.model, {}))
        patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(dict(lora)), key_map, log_missing=False)
        found: dict[str, list[Delta]] = {}
        for key, adapter in patches.items():
            weight, offset = (key, None) if isinstance(key, str) else (key[0], key[1])
            if not isinstance(adapter, comfy.weight_adapter.LoRAAdapter):
                raise TrainingError(
                    f"{weight} is changed by {type(adapter).__name__}; only plain LoRA can be continued."
                )
            up, down, alpha, *others = adapter.weights  # the others belong to Tucker, DoRA and reshaped LoRAs
            if any(other is not None for other in others) or (offset is not None and offset[0] != 0):
                raise TrainingError(f"The LoRA's form for {weight} cannot be continued; only plain LoRA pairs can.")
            scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
            name = weight.removeprefix(PREFIX).removesuffix(".weight")
            start = 0 if offset is None else int(offset[1])
            found.setdefault(name, []).append(Delta(up.flatten(1), down.flatten(1), scale, start))
        if not found:
            raise TrainingError(
                f"None of the LoRA's {len(lora)} tensors matches {self.name}. It was made for another model."
            )
        return found


def _together_key(condition: Condition) -> str:
    """Conditions with the same key can be computed in one batch: same shapes, same constants."""
    return repr(
        [
            (name, cond.cond if isinstance(cond, comfy.conds.CONDConstant) else cond.size())
            for name, cond in sorted(condition.model_conds.items())
        ]
    )


def _text_tokens(condition: Condition) -> int:
    """Tokens of the caption, if the model takes them as a sequence."""
    text = condition.model_conds.get("c_crossattn")
    return text.cond.shape[1] if text is not None else 0
