"""Trust: hostile inputs for every parser, hostile tensors for every node, faults for every training; what comes of them.

Nothing is downloaded, and no model is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .child import in_pack, measured
from .figure import Figure

CASES = 100_000
TENSOR_CASES = 5_000


def trust_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Hostile inputs: how many were tried, how many ended in an error that is not ours, and the slowest of them."""
    say(f"hostile inputs: {CASES:,} cases")
    found = measured(in_pack("bench.hostile", "0", str(CASES)), base, "trust")
    cases = sum(found["cases"].values())
    seconds, number, parser = found["slowest"]
    growth, hungry, hungry_parser = found["hungriest"]
    say(f"hostile tensors: {TENSOR_CASES:,} cases")
    tensors = measured(in_pack("bench.trust_tensors", str(TENSOR_CASES)), base, "tensors")
    foreign = len(found["foreign"]) + len(tensors["foreign"])
    first = "; ".join(f"case {n}, {name}: {error}" for n, name, error in found["foreign"][:3])
    first += "; ".join(f"{node}, case {n}: {error}" for node, n, error in tensors["foreign"][:3])
    kinds = f"{len(found['cases'])} parsers, {found['refused']:,} refused"
    tensor_cases, taken = (sum(tensors[name].values()) for name in ("cases", "taken"))
    tensor_kinds = f"{len(tensors['cases'])} nodes, {tensor_cases - taken:,} refused"
    return [
        Figure.of("trust.hostile_tensor_cases", [tensor_cases], "cases", f">= {TENSOR_CASES}", tensor_kinds),
        Figure.of("trust.hostile_cases", [cases], "cases", f">= {CASES}", kinds),
        Figure.of("trust.foreign_errors", [foreign], "cases", "<= 0", first),
        Figure.of("trust.slowest_case_seconds", [seconds], "s", "<= 1", f"processor time; case {number}, {parser}"),
        Figure.of("trust.hungriest_case_mb", [growth / (1 << 20)], "MB", "<= 256", f"case {hungry}, {hungry_parser}"),
    ]


def fault_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Kills of the trainer, of ComfyUI and of both at random moments, and other faults: what was left after each."""
    say("faults: 104 kills")
    found = measured(in_pack("bench.trust_faults"), base, "faults")
    wrong = "; ".join(found["wrong"][:3])
    others = (
        f"of {found['kills']}, and {found['faults']} other faults; the truth is said {found['slowest']:.1f} s after"
    )
    return [
        Figure.of("trust.kills_survived", [found["survived"]], "kills", ">= 100", wrong or others),
        Figure.of("trust.wrong_after_faults", [len(found["wrong"])], "cases", "<= 0", wrong),
        Figure.of("trust.orphans", [found["orphans"]], "cases", "<= 0", "processes that no run is shown to have"),
        Figure.of("trust.half_files", [found["half_files"]], "files", "<= 0", "LoRAs in lists that are not whole"),
        Figure.of("trust.lost_steps", [found["lost"]], "share", "<= 1", "of the steps between two saves, at most"),
    ]
