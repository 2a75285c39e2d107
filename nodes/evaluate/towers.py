"""The two towers of a CLIP in ComfyUI: pictures and texts as vectors that can be compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

TOWERS = ("clip_l", "clip_g", "clip_h")

_CHUNK = 16  # pictures per batch
# plain pictures that every CLIP can name; see `_speak_alike`
_PROBES: dict[str, tuple[float, float, float]] = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.6, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}
_PROBES_NEEDED = 4  # of 6, in both directions; towers that do not belong together get about one by chance


_ENCODERS = {
    "CLIPVisionModelProjection": "CLIP or SigLIP; DINOv2 sees a changed identity that they miss",
    "Dinov2Model": "DINOv2",
    "DINOv3ViTModel": "DINOv3",
}


def encoder_name(clip_vision: Any) -> str:
    """What kind of image encoder it is, in words."""
    kind = type(clip_vision.model).__name__
    return _ENCODERS.get(kind, kind)


def image_embeddings(clip_vision: Any, images: Tensor) -> Tensor:
    """[batch, height, width, channels] → [batch, size]. The whole picture is seen, not only its middle."""
    images = images.expand(*images.shape[:3], 3) if images.shape[-1] == 1 else images[..., :3]
    found = [clip_vision.encode_image(chunk, crop=False).image_embeds for chunk in images.split(_CHUNK)]
    embeddings = torch.cat(found).float()
    return embeddings if embeddings.ndim == 2 else embeddings.flatten(1, -2).mean(dim=1)  # SigLIP: one per patch


def text_embedding(clip: Any, tower: str, text: str) -> tuple[Tensor, bool]:
    """A text in the space of its CLIP's pictures.

    Returns:
        [size], and whether the text was longer than the tower reads.
    """
    clip.load_model()
    encoder = getattr(clip.cond_stage_model, tower)
    pieces = clip.tokenize(text)[tower.removeprefix("clip_")]
    encoder.reset_clip_options()
    encoder.set_clip_options({"projected_pooled": True})  # FLUX and SD3 use the vector before its projection
    try:
        pooled = encoder.encode_token_weights(pieces)[1]
    finally:
        encoder.reset_clip_options()
    return pooled[0].float(), len(pieces) > 1


def matching_tower(clip: Any, clip_vision: Any, size: int) -> tuple[str | None, str]:
    """The text tower whose vectors compare with the pictures' vectors.

    Args:
        size: of the pictures' vectors.

    Returns:
        Its name, or None and why there is none.
    """
    projections = {name: _projection(clip, name) for name in TOWERS}
    sizes = {name: weight.shape[0] for name, weight in projections.items() if weight is not None}
    if not sizes:
        return None, "the text encoder has no CLIP tower (CLIP-L, CLIP-G or CLIP-H)."
    fitting = [name for name, length in sizes.items() if length == size]
    if not fitting:
        listed = ", ".join(f"{name} {length}" for name, length in sizes.items())
        return None, (
            f"CLIP vision gives vectors of {size}, the text encoder of other sizes ({listed}). "
            "CLIP ViT-L goes with clip_l, ViT-bigG with clip_g."
        )
    for name in fitting:
        if _speak_alike(clip, name, clip_vision):
            return name, ""
    return None, (
        f"{fitting[0]} and the CLIP vision disagree on plain colours: they belong to different CLIPs, or "
        "the text encoder's file lacks the text projection. Load a full CLIP text model."
    )


def _projection(clip: Any, tower: str) -> Tensor | None:
    encoder = getattr(clip.cond_stage_model, tower, None)
    projection = getattr(getattr(encoder, "transformer", None), "text_projection", None)
    return getattr(projection, "weight", None)


def _speak_alike(clip: Any, tower: str, clip_vision: Any) -> bool:
    """Whether texts and pictures lie in one space. Equal sizes prove nothing, and a file without the projection (the
    usual one for FLUX) leaves it uninitialised in ComfyUI without an error, so plain colours are matched as a trial."""
    pictures = torch.tensor([*_PROBES.values()])[:, None, None].expand(-1, 64, 64, -1)
    shown = normalize(image_embeddings(clip_vision, pictures), dim=-1)
    texts = [text_embedding(clip, tower, f"a plain {colour} picture")[0] for colour in _PROBES]
    cosines = shown @ normalize(torch.stack(texts).to(shown), dim=-1).T
    own = torch.arange(len(_PROBES), device=cosines.device)
    return all(int((cosines.argmax(dim=side) == own).sum()) >= _PROBES_NEEDED for side in (0, 1))
