"""Match a LoRA's tensors to the parts of a model.

Every trainer names its tensors differently. ComfyUI maps all the names it knows to the model's weights
(`comfy.lora.model_lora_keys_unet`). This module compares a LoRA's names with that map, so that a LoRA that fits only in
part, or not at all, is reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

from ..errors import LoraError

Shape = tuple[int, ...]


class Family(Enum):
    """The naming scheme of a LoRA's tensors."""

    KOHYA = "kohya (lora_unet_…)"
    DIFFUSERS = "diffusers, PEFT or ai-toolkit (transformer.…)"
    CORE = "ComfyUI (diffusion_model.…)"
    PEFT = "PEFT (base_model.model.…)"
    DIFFUSERS_UNET = "diffusers (unet.…)"
    ONETRAINER = "OneTrainer (lora_transformer_…)"
    LYCORIS = "SimpleTuner LyCORIS (lycoris_…)"
    KOHYA_OFT = "kohya OFT (oft_unet_…)"
    BARE = "names of the model's own modules, without prefix"
    TEXT_ENCODER = "text encoder"
    UNKNOWN = "unknown"


_PEFT = "base_model.model."
# the first match wins, so a longer prefix comes before a shorter one
_PREFIXES: tuple[tuple[str, Family], ...] = (
    ("lora_te", Family.TEXT_ENCODER),
    ("lora_prior_te", Family.TEXT_ENCODER),
    ("oft_te", Family.TEXT_ENCODER),
    ("text_encoder", Family.TEXT_ENCODER),  # also text_encoder_2, text_encoders
    ("text_model.", Family.TEXT_ENCODER),
    ("clip_l.", Family.TEXT_ENCODER),
    ("clip_g.", Family.TEXT_ENCODER),
    ("t5xxl.", Family.TEXT_ENCODER),
    ("lora_unet_", Family.KOHYA),
    ("lora_prior_unet_", Family.KOHYA),
    ("lora_transformer_", Family.ONETRAINER),
    ("lycoris_text_encoder", Family.TEXT_ENCODER),
    ("lycoris_", Family.LYCORIS),
    ("oft_unet_", Family.KOHYA_OFT),
    ("diffusion_model.", Family.CORE),
    ("transformer.", Family.DIFFUSERS),
    (_PEFT + "text_", Family.TEXT_ENCODER),
    (_PEFT, Family.PEFT),
    ("unet.", Family.DIFFUSERS_UNET),
)

# the two halves of a low-rank pair, as endings: (up, down)
PAIRS: tuple[tuple[str, str], ...] = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
)
_OTHER_ENDINGS = (
    *(".lora_mid.weight", ".alpha", ".dora_scale", ".reshape_weight"),
    *(".diff", ".diff_b", ".set_weight", ".w_norm", ".b_norm"),
    *(".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2"),
    *(".lokr_w1", ".lokr_w2", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2"),
    *(".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".oft_blocks", ".rescale"),
)
# written by PEFT, but not read by ComfyUI
_IGNORED_ENDINGS = (
    *(".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".lora_magnitude_vector.default.weight"),
    *(".lora_A.bias", ".lora_B.bias"),
)
_ENDINGS = sorted({*(half for pair in PAIRS for half in pair), *_OTHER_ENDINGS, *_IGNORED_ENDINGS}, key=len)[::-1]

# module names that only one kind of model has; the first match wins
_MODELS: tuple[tuple[str, str], ...] = (
    (r"single_transformer_blocks|double_blocks|single_blocks", "FLUX or a relative of it"),
    (r"joint_blocks", "Stable Diffusion 3"),
    (r"transformer_blocks_\d+_(?:img_mod|txt_mod|img_mlp|txt_mlp)", "Qwen-Image"),
    (r"input_blocks|down_blocks|up_blocks|output_blocks|mid_block|middle_block", "Stable Diffusion 1, 2 or XL"),
    (r"noise_refiner|context_refiner|layers_\d+_(?:attention|feed_forward)", "Lumina 2 or Z-Image"),
    (r"blocks_\d+_(?:cross_attn|self_attn)", "Wan"),
    (r"transformer_blocks", "Stable Diffusion 3 or Qwen-Image"),
)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A module that has another size in the model."""

    module: str
    lora: Shape
    model: Shape


@dataclass(frozen=True, slots=True)
class MatchReport:
    """How much of a LoRA fits a model.

    Attributes:
        family: the naming scheme of most tensors.
        matched: the LoRA's names of modules that the model has in the same size.
        unmatched: the LoRA's names of modules that the model lacks.
        misfits: modules that have another size in the model.
        text_encoder: number of modules for text encoders; they are in none of the above.
        ignored: names of tensors in matched modules that ComfyUI does not read.
    """

    family: Family
    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...] = ()
    text_encoder: int = 0
    ignored: tuple[str, ...] = ()

    @property
    def modules(self) -> int:
        """Number of the LoRA's modules, without those for text encoders."""
        return len(self.matched) + len(self.unmatched) + len(self.misfits)

    def describe(self) -> str:
        """A summary for users, one fact per line."""
        lines = [f"{len(self.matched)} of {self.modules} modules matched; names: {self.family.value}."]
        if self.unmatched:
            lines.append(f"Not matched: {_some(self.unmatched)}.")
        if self.misfits:
            sizes = [f"{m.module} ({_size(m.lora)}, the model has {_size(m.model)})" for m in self.misfits]
            lines.append(f"Different in size from this model: {_some(sizes)}.")
        if self.ignored:
            lines.append(f"{len(self.ignored)} tensors that ComfyUI does not read: {_some(self.ignored)}.")
        if self.text_encoder:
            lines.append(
                f"{self.text_encoder} modules are for a text encoder and were left out; this loader changes the model "
                "only. Use core's Load LoRA for them."
            )
        return "\n".join(lines)


def with_peft_names(key_map: Mapping[str, Any]) -> dict[str, Any]:
    """Add PEFT's names to a map as `match` takes it: the prefix ``base_model.model.`` before the model's or diffusers' names.

    ComfyUI's own map has them for some models only, and not for FLUX.
    """
    added = {}
    for name, target in key_map.items():
        bare = name.removeprefix("transformer.").removeprefix("diffusion_model.")
        if bare != name:
            added[_PEFT + bare] = added[_PEFT + name] = target
    return {**added, **key_map}


def family_of(key: str) -> Family:
    """The naming scheme of one tensor."""
    for prefix, family in _PREFIXES:
        if key.startswith(prefix):
            return family
    return Family.BARE if module_of(key)[1] else Family.UNKNOWN


def module_of(key: str) -> tuple[str, str]:
    """A tensor's module, and its role there, e.g. ``.lora_up.weight``; the role is empty if it is unknown."""
    ending = next((ending for ending in _ENDINGS if key.endswith(ending) and len(key) > len(ending)), "")
    return (key[: -len(ending)], ending) if ending else (key, "")


def is_lora(keys: Iterable[str]) -> bool:
    """Whether any tensor has a role in a LoRA. The tensors of a whole model have none."""
    return any(module_of(key)[1] for key in keys)


def guess_model(modules: Iterable[str]) -> str:
    """The model that these module names belong to, for messages; empty if it is unclear."""
    names = " ".join(module.replace(".", "_") for module in modules)
    return next((model for pattern, model in _MODELS if re.search(pattern, names)), "")


def match(
    lora: Iterable[str] | Mapping[str, Shape],
    key_map: Mapping[str, Any],
    weights: Mapping[str, Shape] | None = None,
) -> MatchReport:
    """Compare a LoRA's tensors with a model's weights.

    Args:
        lora: names of its tensors; if it maps them to shapes, sizes are compared too.
        key_map: a LoRA's name of a module → the model's weight: its name, or a tuple of its name and the part of it
            as (dimension, start, length). This is the result of `comfy.lora.model_lora_keys_unet`.
        weights: name → shape of the model's weights; a weight that is not listed is not compared.

    Raises:
        LoraError: if one half of a low-rank pair is missing.
    """
    shapes: Mapping[str, Shape | None] = lora if isinstance(lora, Mapping) else dict.fromkeys(lora)
    modules: dict[str, list[str]] = {}
    text_encoder: set[str] = set()
    families: Counter[Family] = Counter()
    for key in shapes:
        family = family_of(key)
        module, role = module_of(key)
        if family is Family.TEXT_ENCODER:
            text_encoder.add(module)
            continue
        families[family] += 1
        modules.setdefault(module, []).append(role)
    matched: list[str] = []
    unmatched: list[str] = []
    misfits: list[Misfit] = []
    ignored: list[str] = []
    for module, roles in modules.items():
        _check_pairs(module, roles)
        if module not in key_map or set(roles) <= {"", ".alpha", *_IGNORED_ENDINGS}:
            unmatched.append(module)
            continue
        misfit = _misfit(module, shapes, key_map[module], weights or {})
        if misfit is None:
            matched.append(module)
            ignored += [module + role for role in roles if role in _IGNORED_ENDINGS]
        else:
            misfits.append(misfit)
    default = Family.TEXT_ENCODER if text_encoder else Family.UNKNOWN
    common = families.most_common(1)[0][0] if families else default
    return MatchReport(common, tuple(matched), tuple(unmatched), tuple(misfits), len(text_encoder), tuple(ignored))


def check_matched(report: MatchReport, lora: str, model: str) -> None:
    """Refuse a LoRA that would change nothing.

    Args:
        report: the result of `match`.
        lora, model: the LoRA's file name and the model's kind, for the message.

    Raises:
        LoraError: if no module matched; it names the naming scheme, the model that the names look like, and the
            connected one.
    """
    if report.matched:
        return
    remedy = "Connect the model that the LoRA was trained on, or choose a LoRA for this model."
    if not report.modules and report.text_encoder:
        raise LoraError(
            f"{lora} changes a text encoder only ({report.text_encoder} modules); this loader changes the model only. "
            "Use core's Load LoRA."
        )
    if not report.modules:
        raise LoraError(f"{lora} holds no tensors that belong to a LoRA. Choose another file.")
    if report.misfits:
        misfit = report.misfits[0]
        raise LoraError(
            f"{lora} is for another size of model: the connected model ({model}) has {len(report.misfits)} of its "
            f"{report.modules} modules, but {misfit.module} is {_size(misfit.lora)} in the LoRA and "
            f"{_size(misfit.model)} in the model. {remedy}"
        )
    looks = guess_model(report.unmatched)
    looks = f" and look like {looks}" if looks else ""
    raise LoraError(
        f"None of the {report.modules} modules of {lora} is in the connected model ({model}). Its names are written as "
        f"{report.family.value}{looks}, for example {report.unmatched[0]}. {remedy}"
    )


def _check_pairs(module: str, roles: list[str]) -> None:
    for up, down in PAIRS:
        if (up in roles) != (down in roles):
            there, missing = (up, down) if up in roles else (down, up)
            raise LoraError(
                f"The LoRA has {module}{there} but not {module}{missing}; both halves are needed. "
                "The file was not saved completely: get it, or save it, again."
            )


def _misfit(
    module: str, shapes: Mapping[str, Shape | None], target: Any, weights: Mapping[str, Shape]
) -> Misfit | None:
    """The misfit, if the size of a change is known and differs from its weight's; ComfyUI would only log it and skip it."""
    name, part = (target, None) if isinstance(target, str) else (target[0], target[1])
    weight = weights.get(name)
    change = _change(module, shapes)
    if weight is None or change is None or shapes.get(f"{module}.reshape_weight") is not None:
        return None  # a LoRA with reshape_weight enlarges its weight
    if part is not None:
        weight = (*weight[: part[0]], part[2], *weight[part[0] + 1 :])
    fits = prod(change) == prod(weight) and change[0] == weight[0]
    return None if fits else Misfit(module, change, weight)


def _change(module: str, shapes: Mapping[str, Shape | None]) -> Shape | None:
    """Shape of the change of a weight: the rows of ``up``, the columns of ``down``. None if it is unknown."""
    for up, down in PAIRS:
        first, second = shapes.get(module + up), shapes.get(module + down)
        if first and second and len(first) > 1 and len(second) > 1:
            has_middle = shapes.get(f"{module}.lora_mid.weight") is not None
            return None if has_middle else (first[0], *second[1:])
    return shapes.get(f"{module}.diff") or None


def _size(shape: Shape) -> str:
    return "×".join(str(side) for side in shape)


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
