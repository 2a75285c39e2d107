"""The real tokenizers behind a CLIP wire."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import comfy.sd1_clip

# by the start of the base's name, the longer one first; the others read with encoders that ComfyUI's FLUX does not have
_ENCODERS = {
    "flux2": frozenset[str](),
    "flux": frozenset({"clip_l", "t5xxl"}),
    "sd3": frozenset({"clip_l", "t5xxl"}),
    "stablediffusion3": frozenset({"clip_l", "t5xxl"}),
    "chroma": frozenset({"t5xxl"}),
    **dict.fromkeys(
        ("qwenimage", "lumina", "zimage", "hunyuanimage", "wan", "anima", "omnigen", "hidream"), frozenset[str]()
    ),
}


def counters(clip: Any) -> dict[str, Callable[[str], int]]:
    """Encoder name (``clip_l``, ``t5xxl`` …) → function that counts a text's tokens, start and end included.

    A tokenizer without its encoder (SD3 loaded with CLIP-L alone) is left out.
    """
    tokenizer, encoders = clip.tokenizer, clip.cond_stage_model
    parts = {"": tokenizer} if isinstance(tokenizer, comfy.sd1_clip.SDTokenizer) else vars(tokenizer)
    found = {}
    for name, part in parts.items():
        if isinstance(part, comfy.sd1_clip.SDTokenizer) and getattr(encoders, name or "clip", part) is not None:
            found[_encoder_name(name, part)] = partial(_count, part)
    return found


@cache
def bundled_counters() -> dict[str, Callable[[str], int]]:
    """Counters of the tokenizers that ComfyUI brings, CLIP-L and T5-XXL, before any model is loaded.

    The first call reads their vocabularies, which takes about a second.
    """
    from comfy.text_encoders.flux import FluxTokenizer

    return {name: partial(_count, part) for name, part in vars(FluxTokenizer()).items()}


def encoders_of(base: str) -> frozenset[str] | None:
    """Which of the bundled tokenizers a base model reads captions with; None if that is not known.

    Args:
        base: as a recipe names it, such as ``FLUX.1-dev``, or the name of a model class of ComfyUI.
    """
    name = "".join(letter for letter in base.lower() if letter.isalnum())
    return next((encoders for start, encoders in _ENCODERS.items() if name.startswith(start)), None)


def _encoder_name(attribute: str, tokenizer: Any) -> str:
    # ComfyUI names a pair of encoders by attributes (clip_l, t5xxl); a single one calls its only tokenizer "clip"
    key = getattr(tokenizer, "embedding_key", "") or attribute
    return attribute if attribute and attribute != "clip" else key


def _count(tokenizer: Any, text: str) -> int:
    from ...incontext.captions.joint import escape

    # words carry an id from 1, start, end and padding tokens 0; one start and one end token are counted per text
    try:
        chunks = tokenizer.tokenize_with_weights(text, return_word_ids=True)
    except (
        RecursionError
    ):  # ComfyUI reads nested emphasis recursively; parentheses nested this deeply are meant as text
        chunks = tokenizer.tokenize_with_weights(escape(text), return_word_ids=True)
    words = sum(1 for chunk in chunks for *_, word in chunk if word)
    return words + (tokenizer.start_token is not None) + (tokenizer.end_token is not None)
