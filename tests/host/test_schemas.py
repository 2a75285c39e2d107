"""What every node owes to the interface, and what loading the pack may cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def schemas(host: Any) -> list[Any]:
    from incontext_lora.nodes import NODES

    return [node.GET_SCHEMA() for node in NODES]


def test_names_are_unique_and_of_this_pack(schemas: list[Any]) -> None:
    ids = [schema.node_id for schema in schemas]
    assert len(set(ids)) == len(ids)
    assert all(node_id.startswith("InContext") and node_id.isalpha() for node_id in ids)
    titles = [schema.display_name for schema in schemas]
    assert len(set(titles)) == len(titles)


def test_nodes_are_where_comfyui_finds_them(host: Any, schemas: list[Any]) -> None:
    for schema in schemas:
        assert host.node(schema.node_id).GET_SCHEMA().node_id == schema.node_id
        assert schema.category.startswith("in-context lora/")
        assert schema.category.count("/") == 1


def test_every_node_input_and_output_is_explained(schemas: list[Any]) -> None:
    for schema in schemas:
        assert schema.description.endswith("."), schema.node_id
        for part in (*schema.inputs, *schema.outputs):
            name = f"{schema.node_id}.{part.id or part.display_name}"
            assert part.tooltip, name
            assert part.tooltip.strip()[-1] in ".:", name
        assert all(output.display_name for output in schema.outputs), schema.node_id


def test_widgets_have_defaults_within_their_range(schemas: list[Any]) -> None:
    for schema in schemas:
        for part in schema.inputs:
            default = getattr(part, "default", None)
            if isinstance(default, int | float) and not isinstance(default, bool):
                assert getattr(part, "min", default) <= default <= getattr(part, "max", default), part.id
            options = getattr(part, "options", None)
            if options and default is not None:
                assert default in [getattr(option, "value", option) for option in options], part.id


def test_loading_the_pack_imports_nothing_heavy() -> None:
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("pack", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
pack = importlib.util.module_from_spec(spec)
before = set(sys.modules)
spec.loader.exec_module(pack)
assert pack.WEB_DIRECTORY == "./js" and callable(pack.comfy_entrypoint)
assert not hasattr(pack, "NODE_CLASS_MAPPINGS")
print(*sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-I", "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
