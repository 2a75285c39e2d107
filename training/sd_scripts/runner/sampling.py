"""Makes samples with the checkout. One that fails for lack of memory or disk space does not end the training."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from typing import Any

import torch

from ....incontext.files.atomic import rename_over
from .disk import is_full_disk
from .errors import SampleStop
from .training import Training

TOO_LARGE = (
    "A sample did not fit into memory, so the training continues without samples. To get samples, choose the preset of a "
    "smaller card, which keeps more blocks in main memory. To try none, set samples to 0."
)
_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")


class Sampler:
    """Makes the samples of a training."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._fits = True

    def is_due(self) -> bool:
        """Whether a sample is due now. Step 1 has one, to find out early whether the card is large enough."""
        step, every = self._training.step, self._training.plan.sample_every
        return bool(every) and self._fits and (self._training.is_over or step == 1 or step % every == 0)

    def sample(self, args: Any, autoencoder: Any, unet: Any, make: Callable[[], None]) -> None:
        """Let the trainer make its samples in a temporary folder, then move them to the run's samples.

        If a sample does not fit into memory, the training continues and later requests still work. A request to stop
        ends the sample.

        Args:
            make: the trainer's own function, with its arguments bound.
        """
        from accelerate.utils import gather_object
        from library.device_utils import clean_memory_on_device

        training, accelerator = self._training, self._training.accelerator
        training.events.enter("sampling")
        folder = training.run / "job-samples"
        model = accelerator.unwrap_model(unet)
        mode, device, numbers = model.training, autoencoder.device, random_state()
        output, every = args.output_dir, args.sample_every_n_steps
        args.output_dir, args.sample_every_n_steps = str(folder), 1
        watch = model.register_forward_pre_hook(self._end_if_stopping)
        cut_off, too_large = False, False
        try:
            with training.averaged():
                make()
        except SampleStop:
            cut_off = True
        except Exception as error:
            if not (is_out_of_memory(error) or is_full_disk(error)):
                raise
            traceback.print_exc()
            cut_off, too_large = True, is_out_of_memory(error)
        finally:
            watch.remove()
            args.output_dir, args.sample_every_n_steps = output, every
        if cut_off:  # not in the handler, where the error still keeps the sample's memory in use
            clean_memory_on_device(accelerator.device)
            restore_training(model, mode, autoencoder, device)
            set_random_state(numbers)
        if training.events.active:
            self._collect_pictures(folder)
        if any(gather_object([too_large])):
            self._fits = False
            training.events("note", step=training.step, text=TOO_LARGE)
        training.events.enter("training")

    def _collect_pictures(self, folder: Any) -> None:
        training = self._training
        for number, picture in enumerate(sorted(folder.glob("sample/*.png"))):
            name = f"step{training.step:06d}-{number + 1}.png"
            rename_over(picture, training.run / "samples" / name)
            training.events("sample", step=training.step, file=name)
        shutil.rmtree(folder, ignore_errors=True)

    def _end_if_stopping(self, *_: Any) -> None:
        """Called before each denoising step of a sample."""
        if self._training.stop_is_requested():
            raise SampleStop


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the card or the computer ran out of memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def random_state() -> tuple[Any, Any]:
    """The states of the random number generators on the processor and the card."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def set_random_state(state: tuple[Any, Any]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


def restore_training(model: Any, training: bool, autoencoder: Any, device: Any) -> None:
    """Return to training after an interrupted sample. The checkout does this only when a sample ends normally.

    Args:
        model: the diffusion model, unwrapped.
        training: whether it was in training mode before the sample.
        autoencoder: to move back.
        device: where the autoencoder was before the sample.
    """
    autoencoder.to(device)
    model.train(training)
    swap = getattr(model, "switch_block_swap_for_training", getattr(model, "prepare_block_swap_before_forward", None))
    if swap is not None:
        swap()
