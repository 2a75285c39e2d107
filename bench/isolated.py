"""Isolated references: how much faster sampling is when they are computed once, and how exact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .child import in_pack, measured
from .figure import Figure

ROUNDS = 4
STEPS = 20
BOUND = 2.3


def isolated_figures(base: Path) -> list[Figure]:
    """Speed on FLUX.1's width beside clean references, growth with their number, and exactness on seven families."""
    command = in_pack("bench.isolated_rounds", str(ROUNDS))
    return figures(measured(command, base, "isolated references"))


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """Of what `bench.isolated_rounds` prints."""
    rounds, growth, errors = found["rounds"], found["growth"], found["errors"]
    largest = max(errors.values())  # not rounded, as small as it is
    how = f"{STEPS} steps, 1.57 MP, FLUX.1's width in bf16, 512 text tokens"
    in_turn = f"{how}, scaled to 19 + 38 blocks; {len(rounds)} rounds in turn with clean references"
    listed = ", ".join(f"{kind} {error:.1e}" for kind, error in errors.items())
    return [
        Figure.of(
            "references.once_speedup", [_speedup(one, "2") for one in rounds], "ratio", f">= {BOUND}",
            f"{in_turn}, 2 of 3 panels given; a step takes {_share(rounds, '2', 'step')} of a plain one, the references' own "
            f"pass {_share(rounds, '2', 'own')}",
        ),
        Figure.of(
            "references.once_speedup_1_of_3", [_speedup(one, "1") for one in rounds], "ratio", "",
            f"{in_turn}; a step takes {_share(rounds, '1', 'step')} of a plain one",
        ),
        *(
            Figure.of(
                f"references.once_growth_{count}", [_speedup(growth, count)], "ratio", "",
                f"speed relative to clean references, {count} of 9 panels given, {how}; a step takes "
                f"{_share([growth], count, 'step')} of a plain one",
            )
            for count in growth if count != "clean"
        ),
        Figure(
            "references.once_max_error", largest, largest, largest, "relative", "<= 1e-5",
            f"computed once against at every step, largest of {STEPS} steps, small models in float32: {listed}",
        ),
    ]  # fmt: skip


def _speedup(one: Mapping[str, Any], given: str) -> float:
    """Of a whole sampling, with the references' own pass."""
    return STEPS * one["clean"] / (one[given]["own"] + STEPS * one[given]["step"])


def _share(rounds: list[Mapping[str, Any]], given: str, part: str) -> str:
    return f"{sum(one[given][part] for one in rounds) / sum(one['clean'] for one in rounds):.3f}"
