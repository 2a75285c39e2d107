"""What the registry asks of a pack, as `comfy node validate` and its specification have it."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from incontext_lora.tests.published_files import ignored, published
from incontext_lora.tests.repository_files import ROOT
from PIL import Image

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings this one
    import tomli as tomllib  # type: ignore[no-redef]

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# the registry's own pattern for the versions of ComfyUI and of its interface
RANGE = re.compile(r"(?:(?:==|>=|<=|!=|~=|>|<)\d+\.\d+\.\d+)(?:,(?:==|>=|<=|!=|~=|>|<)\d+\.\d+\.\d+)*")


def test_the_name_fits_the_registry() -> None:
    name = PROJECT["project"]["name"]
    assert re.fullmatch(r"[a-z](?:[-_.]?[a-z0-9])*", name)
    assert len(name) < 100
    assert "comfy" not in name


def test_version_licence_and_systems() -> None:
    project = PROJECT["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (
        (ROOT / project["license"]["file"])
        .read_text(encoding="utf-8")
        .lstrip()
        .startswith("GNU GENERAL PUBLIC LICENSE")
    )
    assert (ROOT / project["readme"]).is_file()
    assert "Operating System :: OS Independent" in project["classifiers"]
    assert len(project["description"]) > 40


def test_the_change_log_names_the_version() -> None:
    """A release is described before it is made."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {PROJECT['project']['version']}" in text


def test_versions_of_comfyui_and_its_interface() -> None:
    (interface,) = PROJECT["project"]["dependencies"]
    name, _, version = interface.partition(">=")
    assert name == "comfyui-frontend-package"
    assert RANGE.fullmatch(f">={version}")
    assert RANGE.fullmatch(PROJECT["tool"]["comfy"]["requires-comfyui"])


def test_addresses_are_those_of_one_repository() -> None:
    urls = PROJECT["project"]["urls"]
    assert set(urls) == {"Repository", "Documentation", "Issues"}
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    account = urls["Repository"].removeprefix("https://github.com/")
    for name in ("Icon", "Banner"):
        start = f"https://raw.githubusercontent.com/{account}/main/"
        assert PROJECT["tool"]["comfy"][name].startswith(start)
        assert (ROOT / PROJECT["tool"]["comfy"][name].removeprefix(start)).is_file()


@pytest.mark.parametrize(("name", "width", "height"), [("icon", 400, 400), ("banner", 1680, 720)])
def test_icon_and_banner_have_the_registrys_shapes(name: str, width: int, height: int) -> None:
    with Image.open(ROOT / "docs" / "pictures" / f"{name}.png") as image:
        assert image.size == (width, height)
        assert len(image.convert("RGB").getcolors(width * height) or ()) > 1000, "it is painted"


def test_what_is_left_out_is_there_and_is_not_needed() -> None:
    for entry in ignored():
        assert not re.search(r"[*?!\[]", entry), "plain paths only: the tests read this file too"
        path = ROOT / entry
        assert path.is_dir() if entry.endswith("/") else path.is_file(), entry


def test_the_pack_is_published_whole() -> None:
    """Folders that ComfyUI looks into, and the one command with what it starts."""
    names = published()
    for needed in (
        "__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "SECURITY.md", "run.py",
        "launcher/main.py", "nodes/__init__.py", "locales/zh/nodeDefs.json", "workflows/quickstart.json",
        "js/incontext_layout.js", "js/docs/InContextLayout.md", "demo/server.py", "demo/weights/transformer.safetensors",
    ):  # fmt: skip
        assert needed in names, needed
    assert not [name for name in names if name.startswith(("tests/", "bench/", "docs/"))]


def test_nothing_published_imports_what_is_left_out() -> None:
    folders = {entry.rstrip("/") for entry in ignored() if entry.endswith("/")}
    for name in published():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert (node.module or "").split(".")[0] not in folders, f"{name} imports {node.module}"
