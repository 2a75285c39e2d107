"""The training loop: what it learns, saves and shows the model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.toy_training import (
    CHANNELS,
    HEIGHT,
    ITEMS,
    PLAIN,
    WIDTH,
    Cancelled,
    Toy,
    Watched,
    item,
    run,
    same,
    seeded,
)
from incontext_lora.training.in_host.adapters import new_adapters
from incontext_lora.training.in_host.learner import Batches
from incontext_lora.training.in_host.loop import masks
from torch import Tensor


def test_it_learns() -> None:
    losses = run(replace(PLAIN, steps=100, rank=4, learning_rate=0.05)).losses
    assert len(losses) == 100
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_the_same_seed_gives_the_same_lora_to_the_bit() -> None:
    settings = replace(PLAIN, caption_dropout=0.5, reference_share=0.5)
    first, again = run(settings), run(settings)
    assert same(first.lora, again.lora)
    assert first.losses == again.losses
    assert not same(first.lora, run(replace(settings, seed=2)).lora)


def test_the_same_seed_does_not_depend_on_torchs_global_one() -> None:
    torch.manual_seed(1)
    first = run(replace(PLAIN, reference_share=0.5, caption_dropout=0.5))
    torch.manual_seed(2)
    assert same(first.lora, run(replace(PLAIN, reference_share=0.5, caption_dropout=0.5)).lora)


def test_accumulated_batches_are_one_large_batch() -> None:
    silent = [replace(one, latent=torch.zeros_like(one.latent)) for one in ITEMS]  # so noisy = sigma · noise
    settings = replace(PLAIN, steps=1, gradient_accumulation=2, max_grad_norm=0.0)
    ran = run(settings, silent)
    assert [len(noisy) for noisy, *_ in ran.seen] == [2, 2]

    noisy = torch.cat([noisy for noisy, *_ in ran.seen])
    noise = noisy / torch.cat([sigmas for _, sigmas, _ in ran.seen]).reshape(-1, 1, 1, 1)
    adapters = new_adapters({"layer": (CHANNELS, CHANNELS)}, settings.rank, settings.alpha, seeded(settings.seed))
    optimiser = torch.optim.AdamW(adapters.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    predicted = adapters.layers["layer"](noisy.movedim(1, -1)).movedim(-1, 1)
    loss = (predicted - noise).square().mean()
    loss.backward()
    optimiser.step()
    assert ran.losses == pytest.approx([loss.item()], rel=1e-5)
    for key, value in adapters.state_dict("").items():
        torch.testing.assert_close(ran.lora[key], value, rtol=1e-4, atol=1e-5)


def test_progress_of_every_step() -> None:
    ran = run(replace(PLAIN, steps=4, warmup_steps=2))
    assert [(one.step, one.steps) for one in ran.progress] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one.learning_rate for one in ran.progress] == pytest.approx([0.005, 0.01, 0.01, 0.01])
    assert [one.loss for one in ran.progress] == ran.losses
    assert ran.progress[1].smoothed == pytest.approx(0.95 * ran.losses[0] + 0.05 * ran.losses[1])
    assert ran.progress[-1].seconds_left == 0


def test_gradients_are_clipped() -> None:
    # AdamW forgets the size of the first gradients, but not that of later ones beside them
    free, clipped = run(replace(PLAIN, max_grad_norm=0.0)), run(replace(PLAIN, max_grad_norm=1e-9))
    assert not same(free.lora, clipped.lora)


def test_checkpoints_and_samples_come_when_they_are_due_and_at_the_end() -> None:
    ran = run(replace(PLAIN, steps=5, save_every=2, sample_every=3))
    assert list(ran.saved) == [2, 4, 5]
    assert ran.sampled == [3, 5]
    assert same(ran.saved[5], ran.lora)
    assert not same(ran.saved[2], ran.saved[4])
    ran = run(replace(PLAIN, steps=4, save_every=2))
    assert (list(ran.saved), ran.sampled) == ([2, 4], [])


@pytest.mark.parametrize(("where", "calls"), [("step", 0), ("sample", 0), ("validation", 1)])
def test_what_was_learned_is_kept_when_the_user_cancels(where: str, calls: int) -> None:
    left = itertools.count(calls, -1)  # validation also comes before the first step, where nothing is learned yet

    def cancel(*_: Any) -> None:
        if next(left) == 0:
            raise Cancelled

    watched = Watched()
    with pytest.raises(Cancelled):
        run(replace(PLAIN, sample_every=1, validate_every=1), held_out=ITEMS[:1], watched=watched, **{where: cancel})
    assert list(watched.saved) == [1]
    assert watched.saved[1]["layer.lora_up.weight"].any()


def test_what_was_learned_is_kept_when_the_model_is_stopped_in_the_middle_of_a_step() -> None:
    left = itertools.count(4, -1)
    toy = Toy()

    def stopped(noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None) -> Tensor:
        if next(left) == 0:
            raise Cancelled
        return toy.predict(noisy, sigmas, conditions).requires_grad_()

    watched = Watched()
    with pytest.raises(Cancelled):
        run(replace(PLAIN, steps=9, save_every=3), predict=stopped, watched=watched)
    assert list(watched.saved) == [3, 4]


def test_nothing_is_saved_twice_or_before_anything_is_learned() -> None:
    def cancel(*_: Any) -> None:
        raise Cancelled

    watched = Watched()
    with pytest.raises(Cancelled):
        run(PLAIN, predict=cancel, watched=watched)
    assert watched.saved == {}


def test_the_moving_average_is_what_is_saved_and_training_goes_on_from_the_weights() -> None:
    averaged = run(replace(PLAIN, ema=0.9, save_every=1))
    plain = run(replace(PLAIN, save_every=1))
    assert same(averaged.lora, plain.lora)
    assert averaged.losses == plain.losses
    assert not same(averaged.saved[3], averaged.lora)
    kept = torch.zeros_like(plain.saved[1]["layer.lora_up.weight"])
    for step in (1, 2, 3):
        decay = (1 + step) / (10 + step)
        kept = decay * kept + (1 - decay) * plain.saved[step]["layer.lora_up.weight"]
    torch.testing.assert_close(averaged.saved[3]["layer.lora_up.weight"], kept)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    def broken(noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None) -> Tensor:
        return torch.full_like(noisy, torch.nan, requires_grad=True)

    watched = Watched()
    with pytest.raises(TrainingError, match=r"loss is nan at step 1\. Lower the learning rate \(0\.01\)"):
        run(predict=broken, watched=watched)
    assert watched.saved == {}


def test_without_sets_there_is_no_training() -> None:
    with pytest.raises(TrainingError, match="No set is left"):
        run(items=[])


def test_every_sample_has_its_own_caption() -> None:
    ran = run(replace(PLAIN, steps=6, learning_rate=1e-9))
    for noisy, sigmas, conditions in ran.seen:
        assert len(noisy) == len(sigmas) == len(conditions) == 2
    assert {caption for *_, captions in ran.seen for caption in captions} == {f"caption {n}" for n in range(6)}


@pytest.mark.parametrize(("share", "empty"), [(0.0, 0), (1.0, 40)])
def test_caption_dropout(share: float, empty: int) -> None:
    ran = run(replace(PLAIN, steps=20, caption_dropout=share))
    assert sum(condition == "" for *_, conditions in ran.seen for condition in conditions) == empty


def test_given_panels_enter_clean_and_carry_no_loss() -> None:
    clean = ITEMS[0].latent

    def right_where_it_counts(
        noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None
    ) -> Tensor:
        assert torch.equal(noisy[:, :, :, :4], clean[:, :, :4].expand(2, -1, -1, -1))
        assert not torch.isclose(noisy[:, :, :, 4:], clean[:, :, 4:]).all()
        velocity = (noisy - clean) / sigmas.reshape(-1, 1, 1, 1)
        velocity[:, :, :, :4] = 1e3
        return velocity.requires_grad_()

    ran = run(replace(PLAIN, reference_share=1.0), ITEMS[:1], references=[0], predict=right_where_it_counts)
    assert max(ran.losses) < 1e-6


def test_random_references_leave_a_panel_to_learn() -> None:
    ran = run(replace(PLAIN, steps=20, reference_share=1.0), ITEMS[:1])
    clean = ITEMS[0].latent
    halves = [(torch.equal(x[:, :, :4], clean[:, :, :4]), torch.equal(x[:, :, 4:], clean[:, :, 4:]))
              for noisy, *_ in ran.seen for x in noisy]  # fmt: skip
    assert set(halves) == {(True, False), (False, True)}


def test_the_datasets_mask_weighs_the_loss() -> None:
    weight = torch.ones(HEIGHT, WIDTH)
    weight[:, :4] = 0
    clean = ITEMS[0].latent

    def wrong_where_nothing_counts(
        noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None
    ) -> Tensor:
        velocity = (noisy - clean) / sigmas.reshape(-1, 1, 1, 1)
        velocity[:, :, :, :4] = 1e3
        return velocity.requires_grad_()

    ran = run(items=[replace(ITEMS[0], weight=weight)], predict=wrong_where_nothing_counts)
    assert max(ran.losses) < 1e-6


def test_masks_have_a_place_for_the_frames_of_video_latents() -> None:
    batch = [item(1, (CHANNELS, 1, HEIGHT, WIDTH))]
    given, weight = masks(batch, [(1,)], 5)
    assert given.shape == weight.shape == (1, 1, 1, HEIGHT, WIDTH)
    assert torch.equal(given[0, 0, 0], batch[0].panels[1])
    assert torch.equal(weight == 0, given)
    assert len(run(items=batch).losses) == 3


def test_batches_hold_sets_of_one_size() -> None:
    tall = [item(number, (CHANNELS, 8, 4)) for number in range(10, 13)]
    batches = list(itertools.islice(Batches([*ITEMS, *tall], 2, seeded(0)), 300))
    sizes = [{tuple(one.latent.shape) for one in batch} for batch in batches]
    assert all(len(size) == 1 for size in sizes)
    share = sum(size == {(CHANNELS, 8, 4)} for size in sizes) / 300
    assert share == pytest.approx(3 / 9, abs=0.1)
    assert len(run(replace(PLAIN, steps=5), [*ITEMS, *tall]).losses) == 5


def test_every_set_is_seen_before_any_is_seen_again() -> None:
    names = [one.name for batch in itertools.islice(Batches(ITEMS, 4, seeded(0)), 6) for one in batch]
    for start in range(0, 24, 6):
        assert sorted(names[start : start + 6]) == [one.name for one in ITEMS]
    assert names[:6] != names[6:12]
