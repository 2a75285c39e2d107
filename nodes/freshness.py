"""When a node has to run again because of files.

ComfyUI asks a node for a fingerprint of its inputs before anything runs, and an input that comes over a wire is None
there. Everything after the node runs again whenever that fingerprint changes, a training of hours too, so it must change
if and only if files did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Execution:
    """The last execution of a node with certain inputs.

    Attributes:
        state: of the files that it used and wrote.
        changes: how often these have changed since.
    """

    state: object
    changes: int = 0


class Watch:
    """Notices changes of the files that earlier executions of a node used.

    Args:
        state: inputs of an execution → the state of its files now, to be compared with ``==``.
    """

    def __init__(self, state: Callable[[Mapping[str, Any]], object]) -> None:
        self._state = state
        self._executions: dict[frozenset[tuple[str, Any]], _Execution] = {}

    def executed(self, inputs: Mapping[str, Any], state: object) -> None:
        """Remember an execution and the state in which it used, or left, its files."""
        self._executions.setdefault(frozenset(inputs.items()), _Execution(state)).state = state

    def changes(self, inputs: Mapping[str, Any]) -> int:
        """How often files have changed under executions with these inputs, of which any may be None (wired)."""
        known = {(name, value) for name, value in inputs.items() if value is not None}
        total = 0
        for values, execution in self._executions.items():
            if not known <= values:
                continue
            state = self._state(dict(values))
            execution.changes += state != execution.state
            execution.state = state
            total += execution.changes
        return total
