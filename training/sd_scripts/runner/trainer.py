"""The checkout's trainer class, extended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...average import MovingAverage
from .captions import drop_captions
from .encodings import Encodings, ProcessorAccelerator, move, placeholder_encoder
from .errors import TrainingStop
from .events import Events
from .plan import Plan
from .references import References, make_generator
from .report import Report
from .sampling import Sampler
from .saving import SAVE_AGAIN, Saver
from .training import Training


def extend_trainer(trainer: type, plan: Plan, run: Path, events: Events) -> type:
    """Make a subclass of the checkout's trainer that carries out a plan. Its methods override the trainer's own hooks."""
    from accelerate.utils import set_seed
    from library import train_util

    class ExtendedTrainer(trainer):
        def __init__(self) -> None:
            super().__init__()
            rank = os.environ.get("RANK", "0")
            self.generator = make_generator(plan.seed, plan.first_step, rank)
            self.own_metadata: dict[str, Any] = {}
            self.network: Any = None
            self.pending: set[str] = set()  # requests that came during validation or sampling
            self.training = Training(plan, run, events)
            self.encodings = Encodings(plan, events)
            self.references = References(plan, self.generator)
            self.report = Report(self.training)
            self.sampler = Sampler(self.training)
            self.saver = Saver(self.training, self.published_metadata)

        # --- before the first step

        def assert_extra_args(self, args: Any, train_dataset_group: Any, val_dataset_group: Any) -> None:
            self.encodings.take_data((train_dataset_group, val_dataset_group))
            super().assert_extra_args(args, train_dataset_group, val_dataset_group)

        def load_target_model(self, args: Any, weight_dtype: Any, accelerator: Any) -> Any:
            self.training.accelerator, self.args = accelerator, args
            events.active = accelerator.is_main_process
            self.training.enter("loading the models")
            self.encodings.load_prompts(args, self.get_text_encoder_outputs_caching_strategy(args), accelerator)
            with self.encodings.sparing_encoders():
                loaded = super().load_target_model(args, weight_dtype, accelerator)
            self.training.enter("encoding the pictures")
            return loaded

        def cache_text_encoder_outputs_if_needed(
            self, args: Any, accelerator: Any, unet: Any, vae: Any, text_encoders: Any, dataset: Any, weight_dtype: Any
        ) -> None:
            encodings = self.encodings
            if not encodings.is_first(dataset):
                return
            self.training.enter(f"encoding the captions{' on the processor' if encodings.on_processor else ''}")
            if encodings.prompts is not None:
                encodings.captions.new_cache_text_encoder_outputs(text_encoders, accelerator)  # notes where each one is
                self.sample_prompts_te_outputs = encodings.prompts
            else:
                encoding_accelerator = ProcessorAccelerator(accelerator) if encodings.on_processor else accelerator
                super().cache_text_encoder_outputs_if_needed(
                    args, encoding_accelerator, unet, vae, text_encoders, encodings.captions, weight_dtype
                )
                if accelerator.is_main_process:
                    encodings.save_prompts(self.sample_prompts_te_outputs)
                self.sample_prompts_te_outputs = move(self.sample_prompts_te_outputs, accelerator.device)
                # otherwise the network would be prepared for them
                text_encoders[:] = [placeholder_encoder() for _ in text_encoders]
            set_seed(args.seed)  # so that cached encodings do not change the random numbers of the training

        def post_process_network(
            self, args: Any, accelerator: Any, network: Any, text_encoders: Any, unet: Any
        ) -> None:
            self.training.enter("preparing")
            super().post_process_network(args, accelerator, network, text_encoders, unet)
            self.network = network
            self.saver.take_network(network)

        def prepare_unet_with_accelerator(self, args: Any, accelerator: Any, unet: Any) -> Any:
            """Keep Accelerate from wrapping the frozen model on several processors, which torch rejects."""
            if accelerator.distributed_type == "MULTI_CPU":
                return unet.to(accelerator.device)
            return super().prepare_unet_with_accelerator(args, accelerator, unet)

        def update_metadata(self, metadata: dict[str, Any], args: Any) -> None:
            super().update_metadata(metadata, args)
            self.own_metadata = metadata

        def published_metadata(self, args: Any) -> dict[str, str]:
            """The trainer's own metadata, without folder names and caption words unless the plan keeps them."""
            kept = {
                name: str(value)
                for name, value in self.own_metadata.items()
                if plan.public_metadata or name in train_util.SS_METADATA_MINIMUM_KEYS
            }
            return {**kept, **self.get_sai_model_spec(args)}

        def start(self, args: Any) -> None:
            """Called once, before the first step."""
            if plan.ema:
                parameters = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
                device = "cpu" if plan.average_in_main_memory else None
                average = MovingAverage(parameters, plan.ema, device)
                saved = Path(args.resume) / "average.safetensors" if args.resume else None
                if saved is not None and saved.exists():
                    average.load(saved)
                self.training.average = average
            self.report.begin()

        # --- each batch

        def on_step_start(
            self,
            args: Any,
            accelerator: Any,
            network: Any,
            text_encoders: Any,
            unet: Any,
            batch: Any,
            weight_dtype: Any,
            is_train: bool = True,
        ) -> None:
            super().on_step_start(args, accelerator, network, text_encoders, unet, batch, weight_dtype, is_train)
            if is_train:
                self.report.write_validation()
                empty = (getattr(self, "sample_prompts_te_outputs", None) or {}).get("")
                outputs = batch.get("text_encoder_outputs_list")
                if outputs is not None and empty is not None and plan.caption_dropout:
                    batch["text_encoder_outputs_list"] = drop_captions(
                        list(outputs), empty, plan.caption_dropout, self.generator
                    )

        def get_noise_pred_and_target(self, *args: Any, **kwargs: Any) -> Any:
            self.references.draw(args[3], training=kwargs.get("is_train", True))
            with self.references.isolated(args[1].unwrap_model(args[6])):
                result = super().get_noise_pred_and_target(*args, **kwargs)
            return self.references.finish(result, masked=args[4].get("alpha_masks") is not None)

        def process_batch(self, batch: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            # copied because Anima's trainer removes an entry and validation passes the same batch at each noise level
            batch = dict(batch)
            if kwargs.get("is_train", True):
                self.report.write_validation()
                loss = super().process_batch(batch, *args, **kwargs)
                self.report.add_loss(loss)
                return loss
            if not self.report.is_validating:
                events.enter("validating")
            self.pending |= self.requests()
            if "stop" in self.pending and not self.training.is_over:
                self.stop(self.args)
            with self.training.averaged():  # validate the weights that are saved
                loss = super().process_batch(batch, *args, **kwargs)
            self.report.add_validation(float(loss))
            return loss

        # --- each step

        def sample_images(self, accelerator: Any, args: Any, epoch: Any, global_step: int, *rest: Any) -> None:
            """Called by the trainer before the first optimiser step, after each one, and at the end of every epoch."""
            training = self.training
            if epoch is not None:
                if global_step == 0 and training.average is None:
                    self.start(args)
                self.report.write_validation()
                return
            training.step = plan.first_step + global_step
            if training.average is not None:
                training.average.update()
            self.report.write_step()
            with self.report.pause():
                requests, self.pending = self.pending | self.requests(), set()
                # save first: a sample may need more memory than is free
                training.is_stopping |= "stop" in requests
                due = bool(plan.save_every) and training.step % plan.save_every == 0
                if not training.is_over and (requests & {"stop", "save", SAVE_AGAIN} or due):
                    self.saver.save(args)
                if training.is_stopping and not self.saver.is_pending and not training.is_over:
                    raise TrainingStop
                if "sample" in requests or self.sampler.is_due():
                    self.sample(accelerator, args, rest)
            if training.is_over:
                events.enter("saving")

        def sample(self, accelerator: Any, args: Any, rest: Any) -> None:
            if self.training.is_over and accelerator.is_main_process:
                self.saver.save_final(args)
            _, autoencoder, *_, unet = rest
            make = super().sample_images
            self.sampler.sample(
                args, autoencoder, unet, lambda: make(accelerator, args, None, self.training.step, *rest)
            )
            self.pending |= self.requests()
            if "stop" in self.pending and not self.training.is_over:
                self.stop(args)

        def requests(self) -> set[str]:
            return self.training.take_requests(self.saver.request)

        def stop(self, args: Any) -> None:
            self.pending.discard("stop")
            self.saver.stop(args)

    return ExtendedTrainer
