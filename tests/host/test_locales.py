"""Help pages and translations against the nodes as ComfyUI describes them to the interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.unit.test_docs import page, page_path, rows

if TYPE_CHECKING:
    from conftest import HostPack

# choices of these are files and runs that the user has
OWN = {
    "lora_name",
    "run",
    "run_name",
    "continue_from",
    "resume",
    "model",
    "vae",
    "text_encoder_1",
    "text_encoder_2",
    "text_encoder_3",
}
# choices that are names, the same in every language
NAMES = {"FLUX.1", "Chroma", "Stable Diffusion 3 and 3.5", "Lumina-Image 2.0", "HunyuanImage 2.1", "Anima"} | {
    "AdamW",
    "Prodigy",
    "bf16",
    "fp16",
    "fp32",
}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
WORDS = {
    "en": {"needed": "required", "not needed": "optional", "nothing": "empty", True: "on", False: "off"},
    "zh": {"needed": "必需", "not needed": "可选", "nothing": "空", True: "开", False: "关"},
}


@dataclass(frozen=True)
class Input:
    """An input as ComfyUI describes it."""

    id: str
    kind: str
    options: dict[str, Any]
    required: bool


@dataclass(frozen=True)
class Described:
    """A node as ComfyUI describes it."""

    info: dict[str, Any]

    @property
    def id(self) -> str:
        return self.info["name"]

    @property
    def inputs(self) -> Iterator[Input]:
        for group in ("required", "optional"):
            for name, (kind, *options) in self.info["input"].get(group, {}).items():
                yield Input(name, kind, options[0] if options else {}, group == "required")

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """Name and type of each."""
        return list(zip(self.info["output_name"], self.info["output"], strict=True))


@pytest.fixture(scope="module")
def described(host: HostPack) -> list[Described]:
    from incontext_lora.nodes import NODES

    nodes = [host.node(node.GET_SCHEMA().node_id) for node in NODES]
    return [Described(dict(node.GET_NODE_INFO_V1())) for node in nodes]


@pytest.fixture(scope="module")
def translations(host: HostPack) -> dict[str, Any]:
    """What ComfyUI answers to ``/i18n``."""
    from app.custom_node_manager import CustomNodeManager  # pyright: ignore

    return CustomNodeManager().build_translations()


def default_cell(given: Input, language: str) -> str:
    """What an entry of the list says of its default."""
    words = WORDS[language]
    if given.kind not in WIDGETS:
        return words["needed" if given.required else "not needed"]
    value = given.options.get("default")
    if isinstance(value, bool):
        return words[value]
    if value is None or value == "":
        return "–" if given.kind == "COMBO" else words["nothing"]
    if isinstance(value, float) and 0 < value < 0.001:
        return f"`{value:.10f}".rstrip("0") + "`"
    return f"`{value}`"


def test_tooltips_are_on_everything(described: list[Described]) -> None:
    for node in described:
        assert node.info["description"], node.id
        assert all(node.info["output_tooltips"]), node.id
        for given in node.inputs:
            assert given.options.get("tooltip"), f"{node.id}.{given.id}"


def test_pages_are_those_of_the_nodes_and_lie_where_the_interface_looks(
    host: HostPack, described: list[Described]
) -> None:
    import nodes

    for node in described:
        folder = node.info["python_module"].split(".")[1]
        served = Path(nodes.EXTENSION_WEB_DIRS[folder]) / "docs"  # pyright: ignore[reportAttributeAccessIssue]
        for language in ("en", "zh"):
            path = page_path(node.id, language)
            assert path.is_file(), f"{node.id} has no help page: {path}"
            assert (served / path.relative_to(path.parents[1])).is_file()
    pages = {path.stem for path in page_path("any", "en").parents[1].glob("*.md")}
    assert pages == {node.id for node in described}, "pages of nodes that do not exist"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_name_every_input_as_it_is(described: list[Described], language: str) -> None:
    for node in described:
        written = {name: row for row in rows(node.id, language, 0) for name in row.ids}
        assert list(written) == [given.id for given in node.inputs], node.id
        for given in node.inputs:
            kind, default, text = written[given.id].cells
            where = f"{node.id}.{given.id} ({language})"
            assert kind == given.kind, where
            assert default == default_cell(given, language), where
            choices = [str(choice) for choice in given.options.get("options") or ()]
            if given.id not in OWN:
                assert [choice for choice in choices if f"`{choice}`" not in page(node.id, language)] == [], where
            for choice in re.findall(r"<br>`([^`]+)`", text):
                assert choice in choices, where


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_name_every_output_as_it_is(described: list[Described], language: str) -> None:
    for node in described:
        written = [(row.ids[0], row.cells[0]) for row in rows(node.id, language, 1)]
        assert written == node.outputs, node.id


def test_chinese_has_the_keys_of_the_schemas(described: list[Described], translations: dict[str, Any]) -> None:
    chinese = translations["zh"]["nodeDefs"]
    assert set(chinese) == {node.id for node in described}
    for node in described:
        texts = chinese[node.id]
        assert set(texts) == {"display_name", "description", "inputs", "outputs"}, node.id
        assert set(texts["inputs"]) == {given.id for given in node.inputs}, node.id
        assert list(texts["outputs"]) == [str(index) for index, _ in enumerate(node.outputs)], node.id
        for key, entry in (*texts["inputs"].items(), *texts["outputs"].items()):
            assert set(entry) == {"name", "tooltip"}, f"{node.id}.{key}"


def test_chinese_names_differ_as_the_nodes_do(described: list[Described], translations: dict[str, Any]) -> None:
    names = [translations["zh"]["nodeDefs"][node.id]["display_name"] for node in described]
    assert len(set(names)) == len(names)


def test_choices_have_chinese_labels(described: list[Described], translations: dict[str, Any]) -> None:
    choices = {
        choice
        for node in described
        for given in node.inputs
        if given.id not in OWN
        for choice in map(str, given.options.get("options") or ())
    }
    missing = choices - set(translations["zh"]["choices"]) - NAMES
    assert not {choice for choice in missing if not re.fullmatch(r"\d+( GB)?", choice)}
    labels = [label for choice, label in translations["zh"]["choices"].items() if choice in choices]
    assert all(labels)


def test_categories_and_wires_are_translated(described: list[Described], translations: dict[str, Any]) -> None:
    parts = {part for node in described for part in node.info["category"].split("/")}
    assert set(translations["zh"]["nodeCategories"]) == parts
    kinds = {kind for node in described for kind in (*(given.kind for given in node.inputs), *node.info["output"])}
    assert set(translations["zh"]["dataTypes"]) == {kind for kind in kinds if kind.startswith("INCONTEXT_")}
