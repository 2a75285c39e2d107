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


def fields(schema: Any) -> dict[str, dict[str, Any]]:
    """The fields of a node, as the interface is told of them."""
    return {each.id: each.as_dict() for each in schema.inputs if "default" in each.as_dict() or each.io_type == "COMBO"}


def test_no_node_shows_more_than_eleven_fields_at_first_sight(schemas: list[Any]) -> None:
    panels = [f"panel_{number}" for number in range(1, 10)]  # shown by the number of panels
    for schema in schemas:
        shown = [name for name, field in fields(schema).items() if not field.get("advanced") and name not in panels]
        assert len(shown) <= 11, f"{schema.node_id} shows {shown}"


def test_training_in_comfyui_shows_eight_fields(schemas: list[Any]) -> None:
    (training,) = (schema for schema in schemas if schema.node_id == "InContextTrainLoraInHost")
    shown = [name for name, field in fields(training).items() if not field.get("advanced")]
    assert shown == [
        "name",
        "steps",
        "batch_size",
        "learning_rate",
        "rank",
        "reference_share",
        "sample_every",
        "continue_from",
    ]
    assert len(fields(training)) > 20


def test_nodes_are_found_by_what_people_call_them(schemas: list[Any]) -> None:
    if not hasattr(schemas[0], "search_aliases"):
        pytest.skip("This ComfyUI searches nodes by their names only.")
    aliases = {schema.node_id: schema.search_aliases for schema in schemas}
    assert all("in-context lora" in words for words in aliases.values())
    assert "kohya" in aliases["InContextTrainLora"]


def test_a_renamed_node_is_replaced_where_comfyui_can(host: Any) -> None:
    from incontext_lora.nodes.renamed import RENAMED, NodeRename, register_renamed

    renamed = NodeRename("InContextFormerTask", "InContextTask", ("kind",), {"kind": "task"}, {0: 0})
    known = host.loop.run_until_complete(register_renamed([renamed]))
    if not known:
        pytest.skip("This ComfyUI does not replace renamed nodes.")
    replacements = host.prompt_server.node_replace_manager
    node = {"class_type": "InContextFormerTask", "inputs": {"kind": "font-design"}, "_meta": {"title": "Task"}}
    prompt = {"1": node}
    replacements.apply_replacements(prompt)
    assert prompt["1"]["class_type"] == "InContextTask"
    assert prompt["1"]["inputs"] == {"task": "font-design"}
    ids = {schema.GET_SCHEMA().node_id for schema in _nodes()}
    assert all(each.new in ids and each.old not in ids for each in RENAMED)


def _nodes() -> list[Any]:
    from incontext_lora.nodes import NODES

    return NODES


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


def test_what_only_a_run_needs_is_loaded_when_it_runs(host: Any) -> None:
    """ComfyUI's start waits for what a pack loads: half of the library is loaded by the first node that needs it."""
    code = """
import asyncio, os, sys
pack = sys.argv.pop()
sys.argv.append("--cpu")
sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.options
comfy.options.enable_args_parsing()
import utils.install_util
import nodes, server
server.PromptServer(asyncio.new_event_loop())
assert asyncio.run(nodes.load_custom_node(pack)), "ComfyUI could not load the pack"
loaded = [name.removeprefix(pack).removeprefix(".") for name in sys.modules if name.startswith(pack)]
print("loaded", *sorted(name.replace("_x_dot_x_", ".") for name in loaded))
"""
    ran = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    loaded = next(line for line in ran.stdout.splitlines() if line.startswith("loaded ")).split()[1:]
    assert {"nodes", "nodes.evaluate.compare", "incontext.panels.choices"} <= set(loaded)
    library = {name for name in loaded if name.startswith(("incontext.", "training."))}
    packages = {name for name in library if (ROOT / name.replace(".", "/")).is_dir()}
    assert library - packages == {
        # what all of it rests on
        "incontext.errors",
        "incontext.files.images",
        "incontext.files.names",
        "incontext.files.strict_json",
        "incontext.permissions",
        "incontext.tensors",
        # what users choose, and its defaults
        "incontext.captions.describe.options",
        "incontext.captions.fields",
        "incontext.dataset.options",
        "incontext.lora.choices",
        "incontext.panels.choices",
        "incontext.panels.colours",
        "training.choices",
        "training.in_host.choices",
        "training.runs.choices",
        "training.sd_scripts.architectures",
        "training.sd_scripts.presets",
        "training.sd_scripts.settings",
        "training.sweep.choices",
    }
