"""The node Train In-Context LoRA (in ComfyUI): what it returns, and what its run holds when it ends, is stopped or fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.comfy_versions import progress_hook
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.tests.in_host_training import Tiny, train
from incontext_lora.training.in_host.adapters import target_modules
from incontext_lora.training.in_host.choices import Targets
from incontext_lora.training.runs import monitor
from incontext_lora.training.runs.run_folder import Run
from safetensors.torch import load_file
from torch import Tensor


def test_a_lora_is_trained_and_the_model_is_as_before(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    before = tiny.weights()
    name = f"trained-{tiny.kind}"
    lora, recipe, loss_map, run, samples, lora_name = train(
        host, tiny, vae, dataset, name=name, gradient_checkpointing=True, save_every=2, sample_every=0, ema=0.5
    )
    assert len(loss_map["loss"]) == 3
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    assert len(lora) == 3 * len(target_modules(tiny.transformer, Targets.ATTENTION_MLP))

    after = tiny.model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(module._forward_hooks or "forward" in vars(module) for module in tiny.transformer.modules())
    assert not any(parameter.grad is not None for parameter in tiny.transformer.parameters())

    assert run.state == "finished"
    assert [path.name for path in run.checkpoints] == [f"{name}-step{step:06d}.safetensors" for step in (2, 3)]
    saved = Path(host.base) / "output" / "loras" / lora_name
    assert lora_name == f"{name}.safetensors"
    assert read_recipe(saved) == recipe
    assert (recipe.prefix, recipe.layout, recipe.base) == (
        RECIPE.prefix,
        RECIPE.layout,
        type(tiny.model.model).__name__,
    )
    assert (recipe.references.clean, recipe.references.share) == (True, 0.5)
    written = load_file(saved)
    assert written.keys() == lora.keys()
    assert all(torch.equal(written[key], value) for key, value in lora.items())
    assert samples.shape == (1, 192, 128, 3)


def test_a_name_that_windows_would_refuse_later_is_refused_at_once(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is twice in the path of a checkpoint, which is written after hundreds of steps."""
    from incontext_lora.training.runs import path_length

    monkeypatch.setattr(path_length.check_length, "__defaults__", ("win32", False))
    name = "a-rather-long-name-" + "x" * 90
    with pytest.raises(TrainingError, match=r"Windows allows 259\. Choose a name of"):
        train(host, sd3, vae, dataset, name=name)
    assert not (Path(host.base) / "output" / "incontext_runs" / name[:100]).exists()


def test_the_same_seed_gives_the_same_lora(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    first, again = (train(host, sd3, vae, dataset, name="same", seed=7) for _ in range(2))
    other = train(host, sd3, vae, dataset, name="same", seed=8)
    assert all(torch.equal(first[0][key], again[0][key]) for key in first[0])
    assert not all(torch.equal(first[0][key], other[0][key]) for key in first[0])
    assert [result[5] for result in (first, again, other)] == [
        "same.safetensors", "same-2.safetensors", "same-3.safetensors"
    ]  # fmt: skip


def test_samples_are_painted_at_the_guidance_of_sampling(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[float] = set()
    hook = flux.transformer.register_forward_pre_hook(
        lambda _module, _inputs, named: seen.update(named["guidance"].tolist()), with_kwargs=True
    )
    *_, run, samples, _ = train(host, flux, vae, dataset, name="sampled", sample_every=2, guidance=1.0)
    hook.remove()
    assert seen == {1.0, RECIPE.sampling.guidance}
    assert [path.name for path in run.samples] == ["step000002.png", "step000003.png"]
    assert samples.shape == (1, 192, 128, 3)


def test_held_out_sets_are_measured(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    *_, run, _, _ = train(host, sd3, vae, dataset, name="validated", validation_sets=1, validate_every=2)
    assert [event["step"] for event in run.events() if event["event"] == "validation"] == [0, 2, 3]
    with pytest.raises(TrainingError, match=r"4 sets, and 4 are held out.*Hold out fewer"):
        train(host, sd3, vae, dataset, name="validated", validation_sets=4)


def test_cancelling_keeps_what_was_learned(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management
    import comfy.utils

    def cancel_at_step_two(done: int, total: int, _preview: Any, node_id: Any = None) -> None:
        if (done, total) == (2, 30):
            comfy.model_management.interrupt_current_processing(True)

    progress_hook(monkeypatch, cancel_at_step_two)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(host, sd3, vae, dataset, name="cancelled", steps=30, save_every=0)
    run = Run(Path(host.base) / "output" / "incontext_runs" / "cancelled")
    assert run.state == "cancelled"
    assert [path.name for path in run.checkpoints] == ["cancelled-step000002.safetensors"]
    assert not any(module._forward_hooks for module in sd3.transformer.modules())


def test_it_does_what_the_monitor_asks(
    host: Any, sd3: Tiny, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management
    import comfy.utils

    folder = Path(host.base) / "output" / "incontext_runs" / "asked-in-host"
    wishes = {2: "save", 3: "sample", 5: "stop"}

    def ask(done: int, total: int, _preview: Any, node_id: Any = None) -> None:
        if total == 30 and done in wishes:
            assert monitor.summary(Run(folder))["state"] == monitor.RUNNING
            monitor.ask(Run(folder), wishes[done])

    progress_hook(monkeypatch, ask)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(host, sd3, vae, dataset, name="asked-in-host", steps=30, save_every=0)
    run = Run(folder)
    shown = monitor.summary(run)
    assert (shown["state"], shown["step"], shown["steps"], shown["resumable"]) == ("cancelled", 5, 30, True)
    assert shown["memory"] > 0
    assert [entry["step"] for entry in monitor.checkpoints(run)] == [5, 2]
    assert [path.name for path in run.samples] == ["step000003.png"]
    assert monitor.layout(run) == dataset.recipe.to_json()["layout"]


class BrokenVae:
    def encode(self, pixels: Tensor) -> Tensor:
        return torch.full((1, 16, pixels.shape[1] // 8, pixels.shape[2] // 8), torch.nan)


def test_a_failure_is_written_down(host: Any, sd3: Tiny, dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="loss is nan at step 1"):
        train(host, sd3, BrokenVae(), dataset, name="failed")
    run = Run(Path(host.base) / "output" / "incontext_runs" / "failed")
    assert run.state == "failed"
    assert "Lower the learning rate" in (run.folder / "log.txt").read_text()
    assert run.checkpoints == []
