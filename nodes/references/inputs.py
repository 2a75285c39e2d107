"""Inputs that several nodes on references have."""

from __future__ import annotations

from comfy_api.latest import io

from ...incontext.panels.choices import ColourMatch

CATEGORY = "in-context lora/references"


def feather_input() -> io.Int.Input:
    return io.Int.Input(
        "feather",
        default=8,
        min=0,
        max=128,
        tooltip=(
            "Pixels over which the painted part fades in, inwards from the mask's edge. Outside the mask nothing "
            "changes."
        ),
    )


def colour_match_input(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("colour_match", options=ColourMatch, default=ColourMatch.OFF.value, tooltip=tooltip)
