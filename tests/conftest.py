"""What all tests share: the pack as an importable package, the real ComfyUI in process, and its real server."""

from __future__ import annotations

import asyncio
import importlib
import importlib.abc
import importlib.machinery
import os
import runpy
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "incontext_lora"
FOLDER = "incontext-lora"

settings.register_profile("default", deadline=None)
settings.register_profile("CI", deadline=None, derandomize=True)
settings.load_profile("CI" if os.environ.get("CI") else "default")


# Make the checkout importable as ``incontext_lora``, without running anything of it and without ComfyUI. ComfyUI imports
# the pack under its path as a name, so inside the pack every import is relative and works here too.
runpy.run_path(str(ROOT / "launcher" / "pack.py"))["register"]()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark every test with the folder it is in."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in ("unit", "host", "e2e", "training", "browser"):
            item.add_marker(folder)


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the real ComfyUI; tests that need it are skipped where there is none."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip("COMFYUI_PATH is not set; `python run.py test` sets it, and brings a ComfyUI where there is none.")
    return Path(path).resolve()


@pytest.fixture(scope="session")
def demo_models() -> Path | None:
    """The ``models`` folder with the demo models, where run.py has written them."""
    base = os.environ.get("INCONTEXT_LORA_BASE")
    return Path(base).resolve() / "models" if base else None


@pytest.fixture(scope="session")
def server(comfyui: Path, demo_models: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A started ComfyUI with the pack, on a work folder of its own that also finds the demo models."""
    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.launcher.work import model_paths, prepare_base

    base = tmp_path_factory.mktemp("server")
    prepare_base(base, ROOT)
    arguments: list[str] = []
    if demo_models:
        paths = base / "demo-models.yaml"
        paths.write_text(model_paths(demo_models), encoding="utf-8")
        arguments = ["--extra-model-paths-config", str(paths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCONTEXT_LORA_DATA", str(base / "data"))  # never the user's own trainer
        with ComfyServer(base, comfyui, extra_arguments=arguments) as started:
            yield started


@dataclass
class HostPack:
    """The pack, loaded by the real ComfyUI in this process; nodes are called as ComfyUI's executor calls them."""

    base: Path
    """The work folder: ``input``, ``output``, ``models``, …"""
    loop: asyncio.AbstractEventLoop
    prompt_server: Any
    _nodes: Any

    def node(self, node_id: str) -> type[Any]:
        """The class of a node of the pack or of ComfyUI."""
        mappings = self._nodes.NODE_CLASS_MAPPINGS
        if node_id not in mappings:
            # comfy_extras, a few seconds: only for tests that use them
            self.loop.run_until_complete(self._nodes.init_builtin_extra_nodes())
        if node_id not in mappings:
            raise KeyError(f"ComfyUI knows no node {node_id!r}; did the pack load?")
        return mappings[node_id]

    def call(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Execute a node; returns its outputs. See `output`."""
        result = self.output(node_id, **inputs)
        if isinstance(result, dict):
            result = result.get("result", ())
        return tuple(getattr(result, "result", result) or ())

    def output(self, node_id: str, **inputs: Any) -> Any:
        """Execute a node; returns what it returned (for nodes of the pack a ``NodeOutput``, with its ``ui``).

        Widgets that are not given have their default, as in the interface. A node that takes lists gets a list for
        every input: lists are passed as they are, anything else as a list of one.
        """
        import execution
        import torch

        node = self.node(node_id)
        values = {**_widget_defaults(node), **inputs}
        takes_lists = getattr(node, "INPUT_IS_LIST", False)
        wrapped = {
            name: value if takes_lists and isinstance(value, list) else [value] for name, value in values.items()
        }
        with torch.inference_mode():  # as ComfyUI's executor does
            results = self.loop.run_until_complete(self._execute(execution, node, node_id, wrapped))
        return results[0]

    def sent(self) -> list[tuple[Any, Any]]:
        """Event and data of everything that nodes have sent to the browser since the last call."""
        self.loop.run_until_complete(asyncio.sleep(0))
        messages = []
        while not self.prompt_server.messages.empty():
            event, data, *_ = self.prompt_server.messages.get_nowait()
            messages.append((event, data))
        return messages

    async def _execute(self, execution: Any, node: type[Any], node_id: str, inputs: dict[str, list[Any]]) -> list[Any]:
        from comfy_execution.graph import DynamicPrompt
        from comfy_execution.progress import reset_progress_state
        from incontext_lora.tests import comfy_versions

        prompt = {"1": {"class_type": node_id, "inputs": {}}}
        reset_progress_state("test", DynamicPrompt(prompt))
        _, _, given = execution.get_input_data({}, node, "1", dynprompt=DynamicPrompt(prompt))
        is_v3 = issubclass(node, execution._ComfyNodeInternal)
        results = await comfy_versions.map_node(execution, node if is_v3 else node(), inputs, given)
        return await execution.resolve_map_node_over_list_results(results)


def _widget_defaults(node: type[Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    described = node.INPUT_TYPES()
    for group in ("required", "optional"):
        for name, (kind, *options) in described.get(group, {}).items():
            if options and "default" in options[0]:
                defaults[name] = options[0]["default"]
            elif group == "required" and isinstance(kind, list) and kind:
                defaults[name] = kind[0]  # the interface shows the first choice
    return defaults


class _OnePackage(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the pack's modules under ComfyUI's name for it the very modules that tests import.

    Otherwise every class of the library would exist twice, and a node would not know the layout a test hands to it.
    """

    def __init__(self, name: str) -> None:
        self._prefix = name + "."
        self._specs: dict[str, Any] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(f"{PACKAGE}.{spec.name[len(self._prefix) :]}")
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = self._specs[module.__spec__.name]  # importing under the second name has replaced it


@pytest.fixture(scope="session")
def host(comfyui: Path, demo_models: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostPack]:
    """The real ComfyUI in this process, on the CPU and on a work folder of its own, with the pack loaded by it."""
    from incontext_lora.launcher.work import prepare_base

    base = tmp_path_factory.mktemp("host")
    prepare_base(base, ROOT)
    sys.path.insert(0, str(comfyui))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # ComfyUI parses the command line when imported
    try:
        from comfy.cli_args import args
    finally:
        sys.argv = arguments
    args.cpu = True
    args.use_pytorch_cross_attention = True
    args.base_directory = str(base)
    args.disable_api_nodes = True

    # as ComfyUI's main.py does: importing nodes puts comfy/utils.py in front of this package
    importlib.import_module("utils.extra_config")
    import folder_paths
    import server

    import nodes

    # as ComfyUI's main.py does, so that what is saved can be loaded
    for name in ("checkpoints", "clip", "vae", "diffusion_models", "loras"):
        folder_paths.add_model_folder_path(name, str(base / "output" / name))
    if demo_models:
        for folder in sorted(demo_models.iterdir()):
            if folder.is_dir():
                folder_paths.add_model_folder_path(folder.name, str(folder))

    loop = asyncio.new_event_loop()
    prompt_server = server.PromptServer(loop)
    pack = base / "custom_nodes" / FOLDER
    finder = _OnePackage(str(pack).replace(".", "_x_"))
    sys.meta_path.insert(0, finder)
    loaded = loop.run_until_complete(nodes.load_custom_node(str(pack)))
    assert loaded, "ComfyUI could not load the pack; its log above says why"
    yield HostPack(base, loop, prompt_server, nodes)
    sys.meta_path.remove(finder)
    loop.close()
