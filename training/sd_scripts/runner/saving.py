"""Saves checkpoints and states. If the disk is full, the training continues and saves as soon as there is space."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .disk import is_full_disk, keep_state, write_lora
from .errors import TrainingStop
from .patches import convert
from .training import Training

RECIPE_KEY = "incontext_lora"
SAVE_AGAIN = "save again"  # a request that the runner makes itself after the disk was full
RETRY_SECONDS = 5.0  # between attempts to save while the disk is full


class Saver:
    """Saves a training.

    Args:
        metadata: takes the trainer's arguments and returns its own metadata for the LoRA.
    """

    def __init__(self, training: Training, metadata: Callable[[Any], dict[str, str]]) -> None:
        self._training = training
        self._metadata = metadata
        self._network: Any = None
        self._next_try = 0.0
        self._has_reported_waiting = False
        self.is_pending = False  # whether the last save failed because the disk was full

    @property
    def request(self) -> str | None:
        """`SAVE_AGAIN` when it is time to repeat a save that failed on a full disk."""
        return SAVE_AGAIN if self.is_pending and time.monotonic() >= self._next_try else None

    def take_network(self, network: Any) -> None:
        """Make a network save its averaged weights with the recipe, in files that appear only once complete."""
        plan, save = self._training.plan, network.save_weights

        def save_with_recipe(file: str, dtype: Any, metadata: dict[str, str] | None) -> None:
            notes = {**(metadata or {}), "ss_steps": str(self._training.step), RECIPE_KEY: plan.recipe}

            def write(unfinished: Path) -> None:
                with self._training.averaged():
                    save(str(unfinished), dtype, notes)
                if plan.converter:
                    convert(plan.converter, unfinished)

            write_lora(Path(file), write, self._wait_for_space)

        network.save_weights = save_with_recipe
        self._network = network

    def save(self, args: Any) -> None:
        """Save a checkpoint, and the state from which this step can be resumed."""
        training, accelerator = self._training, self._training.accelerator
        training.events.enter("saving")
        accelerator.wait_for_everyone()
        unfinished = training.run / "state" / f".step{training.step:06d}.part"
        refusal: Exception | None = None

        def attempt(act: Callable[[], object]) -> None:
            nonlocal refusal
            try:
                if refusal is None:
                    act()
            except Exception as error:
                if not is_full_disk(error):
                    raise
                refusal = error

        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.parent.mkdir(exist_ok=True)  # not its parents: if the run's folder is gone, the run must end
            attempt(unfinished.mkdir)
        accelerator.wait_for_everyone()
        attempt(lambda: accelerator.save_state(str(unfinished)))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            attempt(lambda: self._complete(args, unfinished))
            shutil.rmtree(unfinished, ignore_errors=True)  # if the disk is full, it is left over
        self._note_result(refusal)
        training.events.enter("training")

    def stop(self, args: Any) -> None:
        """Save and end. If the disk is full, continue until the state can be saved.

        Raises:
            TrainingStop: if the state could be saved.
        """
        self._training.is_stopping = True
        self.save(args)
        if not self.is_pending:
            raise TrainingStop

    def save_final(self, args: Any) -> None:
        """Save the LoRA under the name that the trainer uses at the end."""
        self._save_weights(args, Path(args.output_dir) / f"{args.output_name}.safetensors")

    def _complete(self, args: Any, unfinished: Path) -> None:
        """Complete a state and move it to its final name, then write the checkpoint of the same step."""
        training, plan = self._training, self._training.plan
        if training.average is not None:
            training.average.save(unfinished / "average.safetensors")
        (unfinished / "progress.json").write_text(json.dumps({"step": training.step}), encoding="utf-8")
        keep_state(unfinished, training.run / "state" / f"step{training.step:06d}")
        checkpoint = Path(args.output_dir) / f"{plan.name}-step{training.step:06d}.safetensors"
        self._save_weights(args, checkpoint)
        training.events("checkpoint", step=training.step, file=checkpoint.name)
        if plan.keep:
            complete = [path for path in checkpoint.parent.glob("*.safetensors") if not path.name.startswith(".")]
            for old in sorted(complete)[: -plan.keep]:
                old.unlink(missing_ok=True)

    def _save_weights(self, args: Any, file: Path) -> None:
        from library import train_util

        _, precision = train_util.prepare_dtype(args)
        self._network.save_weights(str(file), precision, self._metadata(args))

    def _note_result(self, refusal: Exception | None) -> None:
        """Note whether everything was saved. All processes must agree: one that ends early would end the others."""
        from accelerate.utils import gather_object

        was_pending = self.is_pending
        self.is_pending = any(gather_object([refusal is not None]))
        self._next_try = time.monotonic() + RETRY_SECONDS
        step = self._training.step
        if refusal is not None and not was_pending:
            self._report_full_disk(refusal, "The training continues and tries to save again")
        elif was_pending and not self.is_pending:
            self._training.events("note", step=step, text=f"The disk has space again, and step {step} is saved.")

    def _wait_for_space(self, error: Exception) -> bool:
        """Called when a LoRA does not fit on the disk. The final one waits for space; others are tried again later."""
        if not self._training.is_over:
            return False
        if not self._has_reported_waiting:
            self._has_reported_waiting = True
            self._report_full_disk(error, "The training is over and waits for space")
        if self._training.stop_is_requested():
            raise TrainingStop from error
        time.sleep(RETRY_SECONDS)
        return True

    def _report_full_disk(self, error: Exception, consequence: str) -> None:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        step = self._training.step
        text = f"The disk was full, so step {step} could not be saved. {consequence}."
        self._training.events("note", step=step, text=f"{text} Free some space on the disk with the run's folder.")
