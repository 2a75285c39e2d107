"""A prompt as ComfyUI stores it in pictures: nodes by id, each with its class and inputs. A link is ``[id, slot]``."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import InContextError
from ..files import strict_json

MOST_NODES = 5000
LARGEST = 8 << 20  # bytes
_CHANGED = '"is_changed": [NaN]'  # ComfyUI's mark on nodes that always run again; NaN is not JSON

Link = tuple[str, int]


class PromptError(InContextError):
    """The text is not a prompt."""


@dataclass(frozen=True)
class Node:
    """One node of a prompt.

    Attributes:
        id: key of the node in the prompt.
        kind: class of the node, e.g. ``KSampler``.
        inputs: name → value or link.
    """

    id: str
    kind: str
    inputs: Mapping[str, Any]

    @cached_property
    def links(self) -> dict[str, Link]:
        """Name of each connected input → the output it is connected to, in the inputs' order."""
        found = {name: as_link(value) for name, value in self.inputs.items()}
        return {name: link for name, link in found.items() if link is not None}

    def literal(self, name: str) -> Any:
        """The node's own value for an input; None if the input is connected or missing."""
        value = self.inputs.get(name)
        if isinstance(value, dict) and set(value) == {"__value__"}:  # a list that is a value, not a link
            return value["__value__"]
        return None if name in self.links else value


class Prompt:
    """A graph of nodes."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes

    @staticmethod
    def of(value: Any) -> Prompt:
        """A prompt from its JSON value. Entries that are not nodes are ignored.

        Raises:
            PromptError: if it is not a prompt.
        """
        if not isinstance(value, dict) or len(value) > MOST_NODES:
            raise PromptError("This is not a prompt: it should be an object of nodes.")
        nodes: dict[str, Node] = {}
        for node_id, entry in value.items():
            kind = entry.get("class_type") if isinstance(entry, dict) else None
            inputs = entry.get("inputs") if isinstance(entry, dict) else None
            if isinstance(kind, str) and isinstance(inputs, dict):
                nodes[str(node_id)] = Node(str(node_id), kind, inputs)
        if not nodes:
            raise PromptError("This is not a prompt: it has no nodes.")
        return Prompt(nodes)

    @staticmethod
    def parse(text: str) -> Prompt:
        """A prompt from its JSON text.

        Raises:
            PromptError: if it is not a prompt.
        """
        try:
            return Prompt.of(
                strict_json.parse(text.replace(_CHANGED, '"is_changed": []'), largest=LARGEST, long_integers=True)
            )
        except strict_json.JsonError as error:
            raise PromptError(f"The prompt in the picture cannot be read: {error}.") from None

    def at(self, link: Link | None) -> Node | None:
        """The node that a link comes from; None if there is none."""
        return self.nodes.get(link[0]) if link is not None else None

    def consumers(self, link: Link) -> Iterator[tuple[Node, str]]:
        """The nodes that an output is connected to, each with the name of the input."""
        yield from self._takers.get(link, ())

    @cached_property
    def _takers(self) -> dict[Link, list[tuple[Node, str]]]:
        found: dict[Link, list[tuple[Node, str]]] = defaultdict(list)
        for node in self.nodes.values():
            for name, origin in node.links.items():
                found[origin].append((node, name))
        return dict(found)

    def upstream(self, link: Link, closed: frozenset[str] = frozenset()) -> Iterator[tuple[Node, int]]:
        """The node of a link and all nodes upstream of it, nearest first, each with the output that is used.

        Args:
            closed: classes of nodes whose inputs are not followed.
        """
        waiting, seen = deque([link]), {link}
        while waiting:
            here = waiting.popleft()
            node = self.at(here)
            if node is None:
                continue
            yield node, here[1]
            if node.kind in closed:
                continue
            for origin in node.links.values():
                if origin not in seen:
                    seen.add(origin)
                    waiting.append(origin)

    def value(self, node: Node, name: str) -> Any:
        """The value of an input: the node's own, or that of a connected node that only holds a value. None if unknown."""
        seen: set[Link] = set()
        while (link := node.links.get(name)) is not None:
            origin = self.at(link)
            if origin is None or link in seen or origin.kind.startswith("InContext"):
                return None
            seen.add(link)
            if len(origin.inputs) > 1 and not origin.kind.startswith("Primitive"):
                return None  # the node computes its value
            node, name = origin, next((each for each in ("value", *origin.inputs) if each in origin.inputs), "")
        return node.literal(name)


def as_link(value: Any) -> Link | None:
    """The value of an input as a link; None if it is not one."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and type(value[1]) is int:
        return str(value[0]), value[1]
    return None
