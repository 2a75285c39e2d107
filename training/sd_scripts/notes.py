"""What the user should know before a run begins."""

from __future__ import annotations

from collections.abc import Iterator

from ..choices import ReferenceKind
from . import job, preflight
from .order import Order
from .settings import Device, Precision, SdSettings


def describe_limits(order: Order, settings: SdSettings, computes_on: Device, encoders: float) -> Iterator[str]:
    """Sentences about where a run will differ from what the user chose, and why.

    Args:
        settings: adapted to the device.
        computes_on: the device.
        encoders: size of the text encoders' files, in GB.
    """
    size = preflight.model_size(order.architecture, order.files, 4 if settings.precision is Precision.FP32 else 2)
    if computes_on is Device.CPU:
        yield (
            "The trainer's torch finds no graphics card, so the training runs on the processor, in fp32 and many times "
            f"slower; the model alone takes {size:.1f} GB of memory. If this computer has a card, `python run.py trainer "
            "check` says which torch is installed."
        )
    elif computes_on is Device.APPLE:
        yield (
            "On Apple's GPU the trainer computes in fp32, without 8-bit weights, the 8-bit optimiser and block swapping; "
            f"the model alone takes {size:.1f} GB of memory."
        )
    elif computes_on is Device.AMD:
        yield (
            "On AMD's cards the trainer has neither 8-bit weights nor the 8-bit optimiser; the model takes "
            f"{size:.1f} GB in 16 bits. If memory runs out, choose the preset of a card with half the memory."
        )
    wanted = settings.references is ReferenceKind.ISOLATED and settings.reference_share > 0
    if wanted and not job.isolates(order.architecture, settings):
        yield (
            f"References of {order.architecture.title} cannot be isolated with sd-scripts yet; they are trained clean instead."
        )
    if not job.fit_on_card(settings, encoders):
        fp8 = order.architecture.fp8_encoders
        if fp8 and fp8 in job.encoder_options(order.architecture, settings, encoders):
            yield f"The text encoders take {encoders:.1f} GB, more than fits beside the rest; they are made 8-bit."
        else:
            yield (
                f"The text encoders take {encoders:.1f} GB, and the preset's card holds {settings.encoders_on_card:.1f} GB "
                "of them. The captions are encoded on the processor, which takes up to a minute each; they are kept for "
                "the next training."
                + (" The e4m3fn file of T5-XXL needs half the memory." if "t5xxl" in order.files else "")
            )
