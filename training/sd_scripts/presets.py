"""Settings by memory of the graphics card; the first is the recipe of the method's authors.

The figures for swapping and 8 bits follow the trainer's own table for pictures of one megapixel, one rung more careful,
since composites have 1.5 to 2.4.
"""

from __future__ import annotations

from ...incontext.errors import TrainingError
from .settings import Optimiser, SdSettings, Sizes

OFFICIAL = "official (about 48 GB)"

PRESETS: dict[str, SdSettings] = {
    OFFICIAL: SdSettings(),
    "80 GB": SdSettings(fp8=False),
    "40 GB": SdSettings(batch_size=2, gradient_accumulation=2),
    "24 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.25),
    "16 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.6),
    "12 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.75),
    "10 GB": SdSettings(batch_size=1, gradient_accumulation=4, swapped=0.9, optimiser=Optimiser.ADAFACTOR),
    "8 GB": SdSettings(
        batch_size=1, gradient_accumulation=4, swapped=1.0, optimiser=Optimiser.ADAFACTOR, sizes=Sizes.FULL, samples=0
    ),
}


def preset(name: str) -> SdSettings:
    """
    Raises:
        TrainingError: naming those there are.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise TrainingError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.") from None
