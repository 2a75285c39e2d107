"""A training that is stopped and resumed learns what it would have learned in one go."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.toy_training import CHANNELS, CPU, HEIGHT, PLAIN, Cancelled, Toy, item, same, seeded
from incontext_lora.training.in_host import learner, loop, saved_state
from incontext_lora.training.in_host.adapters import Adapters, new_adapters, restored_adapters
from incontext_lora.training.in_host.choices import Schedule
from incontext_lora.training.in_host.settings import TrainSettings
from torch import Tensor

MODULES = {"layer": (CHANNELS, CHANNELS)}
# everything that a step draws or changes: two sizes of sets, accumulation, dropout, references, warm-up, average
EVERYTHING = replace(
    PLAIN,
    steps=14,
    gradient_accumulation=2,
    schedule=Schedule.COSINE,
    warmup_steps=9,
    caption_dropout=0.3,
    reference_share=0.5,
    ema=0.9,
    rank=3,
    alpha=0.1,
)
ITEMS = [*(item(number) for number in range(5)), *(item(number, (CHANNELS, HEIGHT, 4)) for number in range(5, 8))]


@dataclass
class Result:
    """What a training did, from one start to the next stop."""

    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    pace: list[float] = field(default_factory=list)
    validated: list[int] = field(default_factory=list)
    saved: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    states: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    lora: dict[str, Tensor] = field(default_factory=dict)
    is_whole: bool = True


def run(
    settings: TrainSettings = EVERYTHING,
    *,
    resumed: Mapping[str, Any] | None = None,
    stop_after: int = 0,
    forwards: int = 0,
    items: Sequence[Any] = ITEMS,
    loss_scaling: bool = False,
) -> Result:
    """
    Args:
        stop_after: cancel once this step is done.
        forwards: cancel in the middle of this forward pass, counted from 1.
    """
    did, toy = Result(), Toy()
    adapters = make_adapters(settings, resumed)
    left = itertools.count(forwards - 1, -1)

    def predict(noisy: Tensor, *others: Any) -> Tensor:
        if next(left) == 0:
            raise Cancelled
        return toy.predict(noisy, *others)

    def on_step(progress: loop.Progress) -> None:
        did.smoothed.append(progress.smoothed)
        did.rates.append(progress.learning_rate)
        did.pace.append(progress.seconds_per_step)
        if progress.step == stop_after:
            raise Cancelled

    hooks = loop.Hooks(
        step=on_step,
        validation=lambda step, _loss: did.validated.append(step),
        checkpoint=lambda step: did.saved.update({step: adapters.state_dict("")}),
        sample=lambda _step: None,
        state=lambda step, state: did.states.update({step: deepcopy(state)}),
    )
    with adapters.attached(toy):
        try:
            did.losses = loop.train(
                settings,
                items,
                ITEMS[:1],
                adapters,
                predict,
                empty_condition="",
                references=(),
                shift=lambda position: position,
                device=CPU,
                hooks=hooks,
                loss_scaling=loss_scaling,
                resumed=resumed,
            )
        except Cancelled:
            did.is_whole = False
    did.lora = adapters.state_dict("")
    return did


def make_adapters(settings: TrainSettings, resumed: Mapping[str, Any] | None) -> Adapters:
    if resumed is None:
        return new_adapters(MODULES, settings.rank, settings.alpha, seeded(settings.seed))
    return restored_adapters(MODULES, resumed["layers"])


def through_disk(state: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    saved_state.save(folder, state)
    return saved_state.load(saved_state.latest(folder))


# four forward passes measure the loss before the first step; then there are two in every step
@pytest.mark.parametrize(
    ("stop_after", "forwards"), [(7, 0), (0, 4 + 15), (0, 4 + 16)], ids=["between", "begin", "middle"]
)
@pytest.mark.parametrize("loss_scaling", [False, True], ids=["fp32", "fp16"])
def test_stopped_and_resumed_is_as_in_one_go(
    stop_after: int, forwards: int, loss_scaling: bool, tmp_path: Path
) -> None:
    whole = run(loss_scaling=loss_scaling)
    first = run(stop_after=stop_after, forwards=forwards, loss_scaling=loss_scaling)
    assert not first.is_whole
    assert list(first.states) == [7]
    second = run(resumed=through_disk(first.states[7], tmp_path), loss_scaling=loss_scaling)
    assert same(second.lora, whole.lora)
    assert same(second.saved[14], whole.saved[14])  # the moving average
    assert not same(second.saved[14], second.lora)
    assert second.losses == whole.losses
    assert first.smoothed + second.smoothed == whole.smoothed
    assert first.rates + second.rates == whole.rates
    assert 0 not in second.validated


def test_a_training_may_be_stopped_at_every_step(tmp_path: Path) -> None:
    whole, state = run(), None
    for step in range(1, 14):
        did = run(resumed=state, stop_after=step)
        state = through_disk(did.states[step], tmp_path)
    last = run(resumed=state)
    assert same(last.lora, whole.lora)
    assert last.losses == whole.losses


def test_a_training_that_was_killed_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole = run(replace(EVERYTHING, save_every=4))
    assert list(whole.states) == [4, 8, 12]  # not at the end, where nothing is left to resume
    again = run(replace(EVERYTHING, save_every=4), resumed=through_disk(whole.states[8], tmp_path))
    assert same(again.lora, whole.lora)
    assert list(again.saved) == [12, 14]


def test_the_loss_scale_is_resumed_with_the_steps_that_it_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "LOSS_SCALE", 2.0**127)  # it overflows, and is halved until it no longer does
    loud = [replace(each, latent=1e3 * each.latent) for each in ITEMS]
    whole, first = run(loss_scaling=True, items=loud), run(stop_after=5, loss_scaling=True, items=loud)
    state = through_disk(first.states[5], tmp_path)
    assert state["scaler"]["scale"] < 2.0**127
    second = run(resumed=state, loss_scaling=True, items=loud)
    assert same(second.lora, whole.lora)
    assert first.rates + second.rates == whole.rates


def test_the_pace_of_a_resumed_training_counts_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(stop_after=7)
    clock = itertools.count(0, 1)
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    assert run(resumed=first.states[7]).pace[0] >= 1.0  # one step in one tick, not in an eighth


# --- on disk --------------------------------------------------------------------------------------------------------


def test_only_the_last_state_is_kept(tmp_path: Path) -> None:
    did = run(replace(EVERYTHING, save_every=4))
    for state in did.states.values():
        saved_state.save(tmp_path, state)
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["step000012"]
    assert saved_state.latest(tmp_path) == tmp_path / "state" / "step000012"


def test_a_state_that_was_cut_off_is_not_taken(tmp_path: Path) -> None:
    did = run(replace(EVERYTHING, save_every=4))
    saved_state.save(tmp_path, did.states[4])
    (tmp_path / "state" / ".step000008.part").mkdir()
    assert saved_state.latest(tmp_path) == tmp_path / "state" / "step000004"
    saved_state.save(tmp_path, did.states[8])
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step000008"]


def test_without_a_state_there_is_none(tmp_path: Path) -> None:
    assert saved_state.latest(tmp_path) is None


def test_a_full_disk_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    did = run(replace(EVERYTHING, save_every=4))
    saved_state.save(tmp_path, did.states[4])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_state, "save_file", full)
    with pytest.raises(TrainingError, match=r"step000008.* cannot be written: No space left"):
        saved_state.save(tmp_path, did.states[8])
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step000004"]


@pytest.mark.parametrize("name", ["progress.json", "tensors.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "gone"])
def test_a_damaged_state_is_refused_with_a_sentence(name: str, damage: str, tmp_path: Path) -> None:
    saved_state.save(tmp_path, run(stop_after=7).states[7])
    folder = saved_state.latest(tmp_path)
    assert folder is not None
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(TrainingError, match=r"step000007 cannot be used.*Continue its last checkpoint"):
        saved_state.load(folder)


@pytest.mark.parametrize(
    "strange",
    [{"tensor": "nothing"}, {"tensor": 3}, {"other": 1}, {"dict": [1]}, {"dict": [[[], 1]]}, [1]],
)
def test_a_state_that_holds_other_things_is_refused(strange: Any, tmp_path: Path) -> None:
    import json

    saved_state.save(tmp_path, run(stop_after=7).states[7])
    folder = saved_state.latest(tmp_path)
    assert folder is not None
    written = json.loads((folder / "progress.json").read_text())
    (folder / "progress.json").write_text(json.dumps({**written, "state": strange}))
    with pytest.raises(TrainingError, match="step000007 cannot be used"):
        saved_state.load(folder)


def test_a_state_of_other_sets_or_another_model_is_refused() -> None:
    state = run(stop_after=7).states[7]
    with pytest.raises(TrainingError, match=r"does not match this training \(it belongs to other sets\)"):
        run(resumed=state, items=ITEMS[:3])
    with pytest.raises(TrainingError, match=r"does not match this training"):
        run(resumed={**state, "optimiser": {"state": {}, "param_groups": []}})
    with pytest.raises(TrainingError, match=r"layer layer of 4×4, but in the model it is 8×4\. Connect the model"):
        restored_adapters({"layer": (4, 8)}, state["layers"])
    with pytest.raises(
        TrainingError, match=r"layer layer of 4×4, but in the model it does not exist\. Connect the model"
    ):
        restored_adapters({}, state["layers"])


def test_numbers_without_end_are_kept(tmp_path: Path) -> None:
    """Prodigy's growth is unlimited by default, and JSON has no such number."""
    state = {"step": 3, "groups": [{"growth_rate": float("inf"), "other": (-float("inf"), 0.5)}]}
    assert through_disk(state, tmp_path) == state


def test_a_training_that_is_cut_off_after_its_last_step_is_not_lost(tmp_path: Path) -> None:
    """A sample or a measurement still follows the last step; whoever cancels then resumes to the finished LoRA."""
    whole, last = run(), EVERYTHING.steps
    first = run(stop_after=last)
    assert not first.is_whole
    assert last in first.states
    second = run(resumed=through_disk(first.states[last], tmp_path))
    assert second.is_whole
    assert same(second.lora, whole.lora)
    assert second.losses == whole.losses
