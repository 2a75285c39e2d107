"""Settings by memory of the graphics card. The first preset is the recipe of the method's authors.

Swapping and 8 bits follow the trainer's own table for pictures of one megapixel, one level more careful, since composites
have 1.5 to 2.4 megapixels. Cards of 10 GB and less train on composites of about one megapixel. While captions are encoded,
the trainer puts the whole text encoders on the card: T5-XXL fits on 12 GB in 16 bits, and on 8 GB as e4m3fn. If the chosen
files do not fit, the captions are encoded on the processor, once per dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...incontext.errors import TrainingError
from .settings import Optimiser, SdSettings, Sizes

OFFICIAL = "official (about 48 GB)"

PRESETS: dict[str, SdSettings] = {
    OFFICIAL: SdSettings(),
    "80 GB": SdSettings(fp8=False),
    "40 GB": SdSettings(batch_size=2, gradient_accumulation=2),
    "24 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.25, encoders_on_card=20.0),
    "16 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.6, encoders_on_card=13.0),
    "12 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.75, encoders_on_card=10.2),
    "10 GB": SdSettings(
        batch_size=1,
        gradient_accumulation=4,
        swapped=0.9,
        encoders_on_card=8.0,
        optimiser=Optimiser.ADAFACTOR,
        megapixels=1.1,
    ),
    "8 GB": SdSettings(
        batch_size=1,
        gradient_accumulation=4,
        swapped=1.0,
        encoders_on_card=6.0,
        optimiser=Optimiser.ADAFACTOR,
        sizes=Sizes.FULL,
        megapixels=1.1,
        samples=0,
    ),
}

# HunyuanImage has 32 px per latent pixel: its pictures take a quarter of FLUX's memory, its model half as much again, and
# it only works at 2 megapixels. Its own table swaps 9 of 37 blocks on 24 GB, 32 on 12 GB and 37 on 8 GB.
_WHOLE: Mapping[str, Any] = {"sizes": Sizes.FULL, "megapixels": 0.0}
_OWN: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "hunyuan-image": {
        **dict.fromkeys((OFFICIAL, "80 GB", "40 GB"), _WHOLE),
        "24 GB": {**_WHOLE, "swapped": 9 / 37},
        "16 GB": {**_WHOLE, "swapped": 24 / 37, "vae_chunk_size": 16},
        "12 GB": {**_WHOLE, "swapped": 32 / 37, "vae_chunk_size": 16},
        "10 GB": {**_WHOLE, "swapped": 35 / 37, "vae_chunk_size": 16},
        "8 GB": {**_WHOLE, "swapped": 1.0, "vae_chunk_size": 16},
    }
}


def preset(name: str, architecture: str = "") -> SdSettings:
    """The settings of a preset.

    Args:
        architecture: the model family's name; some families have their own values.

    Raises:
        TrainingError: if there is no such preset; it lists the names.
    """
    try:
        return replace(PRESETS[name], **_OWN.get(architecture, {}).get(name, {}))
    except KeyError:
        raise TrainingError(f"There is no preset {name!r}. Choose from {', '.join(PRESETS)}.") from None
