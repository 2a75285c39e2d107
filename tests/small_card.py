"""A card with little memory, without a card."""

from __future__ import annotations

from typing import Any

import pytest


def small_card(monkeypatch: pytest.MonkeyPatch, free: float) -> list[Any]:
    """ComfyUI's own memory management, told that the processor is a card with so many free bytes; what was asked of it."""
    import comfy.model_management as management

    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(management, "minimum_inference_memory", lambda: 0)
    monkeypatch.setattr(management, "extra_reserved_memory", lambda: 0)
    monkeypatch.setattr(
        management,
        "get_free_memory",
        lambda device=None, torch_free_too=False: (free, free) if torch_free_too else free,
    )
    monkeypatch.setattr(management, "pin_memory", lambda tensor: False)
    load, asked = management.load_models_gpu, []

    def recorded(models: Any, memory_required: float = 0, **how: Any) -> None:
        asked.append(memory_required)
        load(models, memory_required=memory_required, **how)

    monkeypatch.setattr(management, "load_models_gpu", recorded)
    return asked
