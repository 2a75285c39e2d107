"""What newer versions of ComfyUI can be told about a node, in a way that older ones ignore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

from comfy_api.latest import io

Node = TypeVar("Node", bound=type[io.ComfyNode])


def shows_first(*names: str) -> Callable[[Node], Node]:
    """Decorate a node: its fields are marked as advanced, except for those that are named; sockets are always shown.

    The order of the inputs stays as it is, because saved workflows hold their values by position.

    Raises:
        ValueError: if a name belongs to no field, as soon as the schema is made.
    """

    def mark(schema: io.Schema) -> None:
        widgets = [each for each in schema.inputs if isinstance(each, io.WidgetInput)]
        unknown = {*names} - {each.id for each in widgets}
        if unknown:
            raise ValueError(f"{schema.node_id} has no field {', '.join(sorted(unknown))}.")
        for each in widgets:
            if each.id not in names:
                # ComfyUI 0.3.75 has no such argument, but passes on what is in here
                each.extra_dict = {**each.extra_dict, "advanced": True}

    return _after_schema(mark)


def found_by(*words: str) -> Callable[[Node], Node]:
    """Decorate a node: the search for nodes also finds it by these words, where ComfyUI has such a search."""

    def mark(schema: io.Schema) -> None:
        if "search_aliases" in {field.name for field in fields(io.Schema)}:
            schema.search_aliases = ["in-context lora", *words]  # pyright: ignore[reportAttributeAccessIssue]

    return _after_schema(mark)


def _after_schema(change: Callable[[io.Schema], None]) -> Callable[[Node], Node]:
    def decorate(node: Node) -> Node:
        define = node.define_schema.__func__  # pyright: ignore[reportFunctionMemberAccess]

        def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
            schema = define(cls)
            change(schema)
            return schema

        node.define_schema = classmethod(define_schema)  # pyright: ignore[reportAttributeAccessIssue]
        return node

    return decorate
