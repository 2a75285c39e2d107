"""The benchmark of isolated references on small models of ComfyUI's own classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.bench import isolated_rounds
from incontext_lora.tests import tiny_models


@pytest.mark.parametrize("kind", isolated_rounds.KINDS)
def test_computed_once_is_exact(host: Any, kind: str) -> None:
    assert isolated_rounds.largest_error(kind, steps=2) <= 1e-5


def test_the_error_of_keys_that_are_kept_inexactly_is_seen(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from incontext_lora.nodes.references import isolated_sampling

    class Inexact(isolated_sampling.KeyValueCache):
        made = 0

        def __init__(self, device: torch.device) -> None:
            super().__init__(device)
            Inexact.made += 1
            if Inexact.made == 1:  # what is computed once, not what is computed at every step
                self.pairs = Rounded(device)

    class Rounded(isolated_sampling._Pairs):
        def __setitem__(self, number: int, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
            key, value = pair
            super().__setitem__(number, (key.bfloat16().float(), value.bfloat16().float()))

    monkeypatch.setattr(isolated_sampling, "KeyValueCache", Inexact)
    assert isolated_rounds.largest_error("sd3", steps=2) > 1e-4
    assert Inexact.made == 1 + 2


def test_speeds_tell_the_references_own_pass_from_a_step(host: Any) -> None:
    model, words = tiny_models.flux(), tiny_models.Words.of("flux")
    captions = words.encode_from_tokens_scheduled(words.tokenize("a shape"), {"guidance": 3.5})
    found = isolated_rounds.speeds(model, captions, isolated_rounds.SMALL, (2, 1))
    assert list(found) == ["clean", "2", "1"]
    assert found["clean"] > 0
    assert all(found[count][part] > 0 for count in ("1", "2") for part in ("own", "step"))
    step, own = isolated_rounds.sampled(isolated_rounds.kept_clean(model), captions, isolated_rounds.SMALL, 2)
    assert step > 0
    assert own == 0
