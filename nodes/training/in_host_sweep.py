"""What the in-host training node does with a sweep: train its trials on the model that is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import comfy.model_management
from safetensors.torch import load_file
from torch import Tensor

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from ...incontext.lora.recipe import Recipe, Sampling
from ...training.in_host import saved_state
from ...training.in_host.choices import TRAINER
from ...training.in_host.items import TrainItem
from ...training.in_host.settings import TrainSettings
from ...training.runs.event_tail import EventTail
from ...training.runs.run_folder import Run
from ...training.sweep.folder import FOLDER, Sweep
from ...training.sweep.plan import Plan, SweepSettings, Trial
from ...training.sweep.work import Watch, work
from .. import host
from ..evaluate.identity import file_digest, models_digest
from .host_model import HostModel
from .in_host_run import StopRequested, train_in_host
from .samples import last_picture
from .sweep_best import published


@dataclass
class InHostTrainer:
    """Trains the trials of one sweep on the model that is loaded; pictures and captions are encoded once.

    Attributes:
        train_one: `train_in_host` with the arguments that all trials share.
        name: of the sweep.
        noted: called once others can see which card is taken.
    """

    train_one: Callable[..., object]
    name: str
    noted: Callable[[], None]
    encoded: dict[str, TrainItem] = field(default_factory=dict)

    def train(self, trial: Trial, earlier: Run | None, watch: Watch) -> Run:
        """See `work.Trainer`."""
        resumed = earlier if earlier is not None and saved_state.latest(earlier.folder) is not None else None
        tails: dict[Run, EventTail] = {}
        if resumed is not None:
            tails[resumed] = EventTail(resumed, from_start=False)

        enough = False

        def is_enough(run: Run) -> bool:
            nonlocal enough
            if run not in tails:
                tails[run] = EventTail(run)
            for event in tails[run]:
                enough = watch(run, event)
            return enough

        try:
            self.train_one(
                settings=TrainSettings.from_json(trial.settings),
                name=f"{self.name}-{trial.key}",
                resume=resumed.name if resumed else None,
                noted=self.noted,
                is_enough=is_enough,
                encoded=self.encoded,
            )
        except StopRequested:
            pass
        except comfy.model_management.OOM_EXCEPTION as error:
            raise TrainingError(
                f"There is not enough memory for {trial.title}. Choose a lower rank or batch size, or gradient checkpointing."
            ) from error
        (run,) = tails
        is_enough(run)
        return run


def sweep_in_host(
    model: HostModel,
    clip: Any,
    vae: Any,
    dataset: Dataset,
    settings: TrainSettings,
    sweep: SweepSettings,
    *,
    name: str,
    guidance: float,
    sampling: Sampling,
    continue_from: str | None,
    node_id: str,
    noted: Callable[[], None],
) -> tuple[Mapping[str, Tensor], Recipe, dict[str, list[float]], Run, Tensor, str, str]:
    """Train all trials of a sweep, or those that are left; returns the node's outputs for the best one.

    Raises:
        TrainingError: if no training can begin, or none makes a LoRA.
        InterruptProcessingException: if the user cancels; the same sweep continues later.
    """
    about = {
        "dataset": {"folder": str(dataset.folder), "digest": dataset.digest},
        "model": model.name,
        "models": models_digest(model.patcher, clip, vae),
        "continue_from": continue_from,
        "continued": file_digest(host.lora_path(continue_from)) if continue_from else None,
        "guidance": guidance,
        "sampling": asdict(sampling),
    }
    plan = Plan.of(TRAINER, sweep, settings.to_json(), about, len(dataset))
    begun = Sweep.begin(host.output_folder(FOLDER), name, plan)
    train_one = partial(
        train_in_host,
        model,
        clip,
        vae,
        dataset,
        guidance=guidance,
        sampling=sampling,
        continue_from=continue_from,
        node_id=node_id,
    )
    trainer = InHostTrainer(train_one, begun.name, noted)
    work(begun, trainer, host.runs_folder(), partial(host.send_text, node_id), host.stop_if_cancelled)
    best = published(begun)
    host.send_text(node_id, best.text)
    lora = load_file(host.loras_output_folder() / best.lora)
    return (
        lora,
        best.recipe,
        {"loss": best.run.losses()},
        best.run,
        last_picture(best.run, dataset),
        best.lora,
        best.text,
    )
